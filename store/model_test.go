package store

import (
	"fmt"
	"slices"
	"strings"
)

// model is a store as a plain slice and maps: what a store must answer, without any of the ways in which it does.
type model struct {
	log     ID
	lineage []ancestor
	events  []Event // all that ever were, the trimmed ones, too
	floor   Seq
	now     int64
	limits  Limits

	heads map[Stream]Seq
	docs  map[DocKey]modelDoc
	ids   map[ID]modelID
	undo  []func()
}

type modelDoc struct {
	seq  Seq
	data []byte // nil: no document
}

type modelID struct {
	seq     Seq
	content string
}

func newModel(log ID, l Limits) *model {
	return &model{log: log, limits: l, heads: map[Stream]Seq{}, docs: map[DocKey]modelDoc{}, ids: map[ID]modelID{}}
}

func (m *model) head() Seq { return Seq(len(m.events)) }

func contentOf(u *Mutation) string {
	t := u.Type
	if t == "" {
		t = u.Op.String()
	}
	return fmt.Sprintf("%q %q %q %d %t %t %q", u.Stream, t, u.Key, u.Op, u.Bytes, u.Data == nil, u.Data)
}

// push judges a push and changes the model accordingly.
func (m *model) push(p *Push, src *modelSource) []Verdict {
	if src != nil && src.blocked != "" {
		if p.Mutations[0].ID != src.first {
			return slices.Repeat([]Verdict{{Refusal: &Refusal{Code: src.blocked}}}, len(p.Mutations))
		}
		src.blocked = ""
	}
	m.undo = nil
	start := len(m.events)
	var vs []Verdict
	refused := -1
	var later *Refusal
	for i := range p.Mutations {
		v := Verdict{Refusal: later}
		if later == nil {
			v = m.judge(p, i)
		}
		if v.Refusal != nil && v.Refusal.Code.Later() && src != nil && !p.Atomic {
			later = v.Refusal
		}
		if v.Refusal != nil && refused < 0 {
			refused = i
		}
		vs = append(vs, v)
	}
	if p.Atomic && refused >= 0 {
		m.abort(p, vs, start, refused)
	} else if p.Atomic {
		for i := start; i < len(m.events)-1; i++ {
			m.events[i].Flags |= FlagMore
		}
	}
	if src != nil {
		src.lock(p, vs)
	}
	return vs
}

func (m *model) abort(p *Push, vs []Verdict, start, refused int) {
	for _, undo := range slices.Backward(m.undo) {
		undo()
	}
	m.events = m.events[:start]
	if u := &p.Mutations[refused]; vs[refused].Refusal.Code == CodeConflict && (p.Refused == nil || p.Refused[refused] == nil) {
		vs[refused].Refusal = m.standing(u, DocKey{u.Stream, u.Key})
	}
	why := vs[refused].Refusal
	for i := range vs {
		own := p.Refused != nil && p.Refused[i] != nil || p.Mutations[i].Refusal(&m.limits) != nil
		switch {
		case vs[i].Dup && vs[i].Seq <= Seq(start):
		case why.Code.Later():
			vs[i] = Verdict{Refusal: why}
		case !own && i != refused:
			vs[i] = Verdict{Refusal: &Refusal{Code: CodeAborted}}
		}
	}
}

// modelSource is the order lock of one source.
type modelSource struct {
	blocked Code
	first   ID
}

func (s *modelSource) lock(p *Push, vs []Verdict) {
	for i, v := range vs {
		if v.Refusal != nil && v.Refusal.Code.Later() {
			s.blocked, s.first = v.Refusal.Code, p.Mutations[i].ID
			if p.Atomic {
				s.first = p.Mutations[0].ID
			}
			return
		}
	}
}

func (m *model) judge(p *Push, i int) Verdict {
	u := &p.Mutations[i]
	no := func(c Code) Verdict { return Verdict{Refusal: &Refusal{Code: c}} }
	if p.Refused != nil && p.Refused[i] != nil {
		return Verdict{Refusal: p.Refused[i]}
	}
	if r := u.Refusal(&m.limits); r != nil {
		return no(r.Code)
	}
	if was, ok := m.ids[u.ID]; ok {
		if was.content != contentOf(u) {
			return no(CodeIDReused)
		}
		return Verdict{Seq: was.seq, Dup: true}
	}
	at := DocKey{u.Stream, u.Key}
	if r := m.conflict(u, at); r != nil {
		return Verdict{Refusal: r}
	}
	doc := m.docs[at]
	if u.Key != "" {
		if doc = m.apply(doc, u.Op, u.Data); len(doc.data) > m.limits.Doc {
			return no(CodeTooLarge)
		}
	}
	return m.accept(p, u, at, doc)
}

func (m *model) accept(p *Push, u *Mutation, at DocKey, doc modelDoc) Verdict {
	e := Event{Seq: m.head() + 1, Prev: m.heads[u.Stream], At: m.now, ID: u.ID, Stream: u.Stream, Type: u.Type, Key: u.Key,
		By: p.By, Op: u.Op, Data: u.Data, Extra: u.Extra}
	if n := len(m.events); n > 0 {
		e.At = max(e.At, m.events[n-1].At)
	}
	if u.Type == "" {
		e.Type = u.Op.String()
	}
	if u.Bytes {
		e.Flags |= FlagBytes
	}
	if u.Stream.Reserved() {
		e.Flags |= FlagControl
	}
	if u.Key != "" {
		was, had := m.docs[at]
		e.KPrev = was.seq
		doc.seq = e.Seq
		m.docs[at] = doc
		m.undo = append(m.undo, func() {
			if m.docs[at] = was; !had {
				delete(m.docs, at)
			}
		})
	}
	m.heads[u.Stream] = e.Seq
	m.ids[u.ID] = modelID{e.Seq, contentOf(u)}
	m.undo = append(m.undo, func() { m.heads[e.Stream] = e.Prev; delete(m.ids, e.ID) })
	m.events = append(m.events, e)
	return Verdict{Seq: e.Seq, Prev: e.Prev, At: e.At}
}

// apply folds one event into a document; the functions that it uses are compared with encoding/json elsewhere.
func (m *model) apply(d modelDoc, op Op, data []byte) modelDoc {
	var err error
	switch op {
	case OpPut:
		d.data, err = AppendDocument(nil, data)
	case OpPatch:
		d.data, err = MergePatch(nil, d.data, data)
	case OpDelete:
		d.data = nil
	}
	if err != nil {
		panic(err)
	}
	return d
}

func (m *model) conflict(u *Mutation, at DocKey) *Refusal {
	last, exists := m.heads[u.Stream], m.heads[u.Stream] != 0
	if u.Key != "" {
		last, exists = m.docs[at].seq, m.docs[at].data != nil
	}
	x := u.Expect
	switch {
	case x.Kind == ExpectNone,
		x.Kind == ExpectID && m.ids[x.ID].seq == last && last != 0,
		x.Kind == ExpectSeq && x.Seq == 0 && !exists,
		x.Kind == ExpectSeq && x.Seq != 0 && x.Seq == last && m.known(x.Log, x.Seq):
		return nil
	}
	return m.standing(u, at)
}

// standing is the conflict of a mutation whose expectation does not hold.
func (m *model) standing(u *Mutation, at DocKey) *Refusal {
	switch doc := m.docs[at]; {
	case u.Key == "":
		return &Refusal{Code: CodeConflict, Seq: m.heads[u.Stream]}
	case doc.data == nil:
		return &Refusal{Code: CodeConflict}
	default:
		return &Refusal{Code: CodeConflict, Seq: doc.seq, Data: doc.data}
	}
}

// known tells whether a seq of a log means the same in this one.
func (m *model) known(log ID, seq Seq) bool {
	if log.IsZero() || log == m.log {
		return true
	}
	for _, a := range m.lineage {
		if a.log == log {
			return seq <= a.cut
		}
	}
	return false
}

// matching lists the events of a filter in (after, through].
func (m *model) matching(f Filter, after, through Seq) (out []Event) {
	for _, e := range m.events[after:through] {
		if f.Match(e.Stream) {
			out = append(out, e)
		}
	}
	return out
}

// floorOf is the highest seq that any stream of the filter has lost; of everything, the log's floor.
func (m *model) floorOf(f Filter) (floor Seq) {
	if f == All {
		return m.floor
	}
	for _, e := range m.matching(f, 0, m.floor) {
		floor = e.Seq
	}
	return floor
}

// pushEnd returns the highest end of a push that is not above a seq.
func (m *model) pushEnd(seq Seq) Seq {
	for seq > 0 && m.events[seq-1].Flags.Has(FlagMore) {
		seq--
	}
	return seq
}

// documents folds everything up to a seq.
func (m *model) documents(f Filter, at Seq) (out []Doc) {
	docs := map[DocKey]modelDoc{}
	for _, e := range m.events[:at] {
		if e.Key != "" && f.Match(e.Stream) {
			k := DocKey{e.Stream, e.Key}
			d := m.apply(docs[k], e.Op, e.Data)
			d.seq = e.Seq
			docs[k] = d
		}
	}
	for k, d := range docs {
		if d.data != nil {
			out = append(out, Doc{Stream: k.Stream, Key: k.Key, Seq: d.seq, Data: d.data})
		}
	}
	slices.SortFunc(out, func(a, b Doc) int {
		if c := strings.Compare(string(a.Stream), string(b.Stream)); c != 0 {
			return c
		}
		return strings.Compare(a.Key, b.Key)
	})
	return out
}

func (m *model) streams(prefix string) (out []StreamInfo) {
	all := map[Stream]*StreamInfo{}
	for _, e := range m.events {
		if strings.HasPrefix(string(e.Stream), prefix) && (!e.Stream.Reserved() || Stream(prefix).Reserved()) {
			s := all[e.Stream]
			if s == nil {
				s = &StreamInfo{Stream: e.Stream}
				all[e.Stream] = s
			}
			s.Head = e.Seq
			s.Count++
			if e.Seq <= m.floor {
				s.Floor = e.Seq
			}
		}
	}
	for _, s := range all {
		out = append(out, *s)
	}
	slices.SortFunc(out, func(a, b StreamInfo) int { return strings.Compare(string(a.Stream), string(b.Stream)) })
	return out
}

func (m *model) resume(f Filter, c Cursor) Standing {
	st := Standing{Head: m.head(), LogHead: m.head(), Floor: m.floorOf(f)}
	if name, exact := f.Stream(); exact {
		st.Head = m.heads[name]
	}
	switch {
	case c.Seq == 0:
	case !m.known(c.Log, c.Seq):
		st.Reset = ResetLogChanged
	case c.Seq > m.head():
		st.Reset = ResetAhead
	case c.Seq < st.Floor:
		st.Reset = ResetTrimmed
	case !c.Mark.IsZero() && m.ids[c.Mark].seq != c.Seq:
		st.Reset = ResetLogChanged
	}
	return st
}

// cut forgets what lies above a seq, as a restore does, and goes on as another log.
func (m *model) cut(seq Seq, log ID) {
	m.lineage = append(m.lineage, ancestor{m.log, seq})
	for i := range m.lineage {
		m.lineage[i].cut = min(m.lineage[i].cut, seq)
	}
	m.log = log
	kept := m.events[:seq]
	m.heads, m.docs = map[Stream]Seq{}, map[DocKey]modelDoc{}
	for id, was := range m.ids {
		if was.seq > seq {
			delete(m.ids, id)
		}
	}
	for _, e := range kept {
		m.heads[e.Stream] = e.Seq
		if e.Key != "" {
			k := DocKey{e.Stream, e.Key}
			d := m.apply(m.docs[k], e.Op, e.Data)
			d.seq = e.Seq
			m.docs[k] = d
		}
	}
	m.events = kept
}

func sameVerdict(a, b Verdict) bool {
	if (a.Refusal == nil) != (b.Refusal == nil) || a.Seq != b.Seq || a.Prev != b.Prev || a.At != b.At || a.Dup != b.Dup {
		return false
	}
	return a.Refusal == nil || a.Refusal.Code == b.Refusal.Code && a.Refusal.Seq == b.Refusal.Seq && a.Refusal.HasDocument() == b.Refusal.HasDocument()
}
