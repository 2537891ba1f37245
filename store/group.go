package store

import (
	"encoding/binary"
	"fmt"

	bolt "go.etcd.io/bbolt"
)

// A group is a list of pushes that are judged and committed together. Until its commit has returned, what it changes lives
// here and nowhere else: a failed commit forgets the group and nothing more.
//
// A mutation is judged in the order of docs/protocol.md: known id, expectation, document, place.
type group struct {
	s        *Store
	tx       *bolt.Tx // write transaction; a read transaction when nothing can be written
	readOnly *Refusal // what every new event gets when nothing can be written

	pushes  []*Push
	events  []Event
	places  []place
	heads   map[Stream]*groupHead
	docs    map[DocKey]*groupDoc
	ids     map[ID]int // index in events
	sources map[*Source]Source
	undo    []undoStep // of the atomic push that is being judged
	atomic  bool
	next    Seq
	at      int64
	last    *groupHead // the stream of the event before: most pushes stay on one
	err     error      // a failure to read; ends the group
}

// place is what an event needs beside itself until it is published.
type place struct {
	head         *groupHead
	doc          *groupDoc // nil: no key
	fp           uint64
	skip1, skip2 Seq
	size         int32 // of the record
}

type groupHead struct {
	headState
	name    Stream
	flushed Seq
}

type groupDoc struct {
	docState
	at      DocKey
	flushed Seq
}

type undoStep struct {
	head      *groupHead
	headState headState
	doc       *groupDoc
	docState  docState
}

func (s *Store) newGroup(tx *bolt.Tx, pushes []*Push, readOnly *Refusal) *group {
	n := 0
	for _, p := range pushes {
		n += len(p.Mutations)
	}
	return &group{
		s: s, tx: tx, pushes: pushes, readOnly: readOnly,
		events:  make([]Event, 0, n),
		places:  make([]place, 0, n),
		heads:   make(map[Stream]*groupHead),
		docs:    make(map[DocKey]*groupDoc),
		ids:     make(map[ID]int, n),
		sources: make(map[*Source]Source),
		next:    s.Head() + 1,
		at:      max(s.opts.now().UnixMilli(), s.lastAt),
	}
}

// judge gives every push its verdicts.
func (g *group) judge() error {
	for _, p := range g.pushes {
		g.judgePush(p)
		if g.err != nil {
			return g.err
		}
	}
	return nil
}

func (g *group) judgePush(p *Push) {
	p.Verdicts = p.Verdicts[:0]
	if r := g.locked(p); r != nil {
		for range p.Mutations {
			p.Verdicts = append(p.Verdicts, Verdict{Refusal: r})
		}
		return
	}
	mark := len(g.events)
	g.atomic, g.undo = p.Atomic, g.undo[:0]
	refused := -1
	var later *Refusal
	for i := range p.Mutations {
		v := Verdict{Refusal: later}
		if later == nil {
			v = g.judgeOne(p, i)
		}
		if v.Refusal != nil && v.Refusal.Code.Later() && !p.Atomic && (p.Source != nil || g.readOnly != nil) {
			later = v.Refusal // what comes after it must not overtake it, nor be judged without it
		}
		if v.Refusal != nil && refused < 0 {
			refused = i
		}
		p.Verdicts = append(p.Verdicts, v)
		if g.err != nil {
			return
		}
	}
	if p.Atomic {
		g.finishAtomic(p, mark, refused)
	}
	g.lock(p)
}

// locked returns the refusal that a push gets because an earlier one of its source was refused with "later".
func (g *group) locked(p *Push) *Refusal {
	if p.Source == nil {
		return nil
	}
	if _, seen := g.sources[p.Source]; !seen {
		g.sources[p.Source] = *p.Source
	}
	if p.Source.blocked == "" {
		return nil
	}
	if len(p.Mutations) > 0 && p.Mutations[0].ID == p.Source.first {
		p.Source.blocked = ""
		return nil
	}
	return &Refusal{Code: p.Source.blocked, Message: "an earlier mutation was refused; send it again first"}
}

// lock remembers the first mutation that was refused with "later".
func (g *group) lock(p *Push) {
	if p.Source == nil {
		return
	}
	for i, v := range p.Verdicts {
		if v.Refusal != nil && v.Refusal.Code.Later() {
			if p.Atomic {
				i = 0
			}
			p.Source.blocked, p.Source.first = v.Refusal.Code, p.Mutations[i].ID
			return
		}
	}
}

// forget puts the sources back to where they stood before the group was judged.
func (g *group) forget() {
	for src, was := range g.sources {
		*src = was
	}
}

// finishAtomic takes back a refused atomic push, or ties an accepted one together.
func (g *group) finishAtomic(p *Push, mark, refused int) {
	if refused < 0 {
		for i := mark; i < len(g.events)-1; i++ {
			g.events[i].Flags |= FlagMore
		}
		return
	}
	for i := len(g.undo) - 1; i >= 0; i-- {
		u := g.undo[i]
		u.head.headState = u.headState
		if u.doc != nil {
			u.doc.docState = u.docState
		}
	}
	for _, e := range g.events[mark:] {
		delete(g.ids, e.ID)
	}
	g.next -= Seq(len(g.events) - mark)
	g.events, g.places = g.events[:mark], g.places[:mark]
	g.retell(p, refused)
	later := p.Verdicts[refused].Refusal.Code.Later()
	for i := range p.Verdicts {
		v := &p.Verdicts[i]
		switch {
		case v.Dup && v.Seq < g.next: // it was there before this push
		case later:
			*v = Verdict{Refusal: p.Verdicts[refused].Refusal}
		case p.Refused != nil && p.Refused[i] != nil: // keeps its own reason
		case i == refused:
		default:
			*v = Verdict{Refusal: aborted}
		}
	}
}

// retell makes the conflict that refused an atomic push tell what is there, not what the push would have made of it: a seq
// that was taken back goes to another event, and whoever expected it then would overwrite that one.
func (g *group) retell(p *Push, refused int) {
	if p.Verdicts[refused].Refusal.Code != CodeConflict || (p.Refused != nil && p.Refused[refused] != nil) {
		return
	}
	m := &p.Mutations[refused]
	h := g.head(m.Stream)
	var d *groupDoc
	if m.Key != "" {
		d = g.doc(m.Stream, m.Key)
	}
	if g.err == nil {
		p.Verdicts[refused].Refusal = g.conflict(h, d)
	}
}

var aborted = &Refusal{Code: CodeAborted, Message: "another mutation of this atomic push was refused"}

func (g *group) judgeOne(p *Push, i int) Verdict {
	if p.Refused != nil && p.Refused[i] != nil {
		return Verdict{Refusal: p.Refused[i]}
	}
	m := &p.Mutations[i]
	fp := p.prints[i]
	seq, known, ok := g.lookup(m.ID)
	switch {
	case g.err != nil:
		return Verdict{}
	case ok && known == fp:
		return Verdict{Seq: seq, Dup: true}
	case ok:
		return refuse(CodeIDReused, "this id was used for a mutation with other content")
	}
	h := g.head(m.Stream)
	var d *groupDoc
	if m.Key != "" {
		d = g.doc(m.Stream, m.Key)
	}
	if g.err != nil {
		return Verdict{}
	}
	if r := g.expect(m, h, d); r != nil {
		return Verdict{Refusal: r}
	}
	if g.readOnly != nil {
		return Verdict{Refusal: g.readOnly}
	}
	return g.accept(p, m, fp, h, d)
}

func refuse(code Code, format string, a ...any) Verdict {
	return Verdict{Refusal: &Refusal{Code: code, Message: fmt.Sprintf(format, a...)}}
}

// accept gives the mutation its place.
func (g *group) accept(p *Push, m *Mutation, fp uint64, h *groupHead, d *groupDoc) Verdict {
	if g.next > MaxSeq {
		return refuse(CodeReadOnly, "the log is at its last seq")
	}
	e := Event{
		Seq: g.next, Prev: h.last, At: g.at, ID: m.ID, Stream: h.name, Type: g.s.intern(m.Type), Key: m.Key, By: p.By,
		Op: m.Op, Data: m.Data, Extra: m.Extra,
	}
	if m.Bytes {
		e.Flags |= FlagBytes
	}
	if h.name.Reserved() {
		e.Flags |= FlagControl
	}
	step := undoStep{head: h, headState: h.headState, doc: d}
	if d != nil {
		step.docState = d.docState
		e.KPrev = d.seq
		ok, err := d.apply(e.Seq, m.Op, m.Data, g.s.opts.Limits.Doc)
		if err != nil {
			return refuse(CodeMutationInvalid, "data: %v", err)
		}
		if !ok {
			return refuse(CodeTooLarge, "the document would have more than %d bytes", g.s.opts.Limits.Doc)
		}
	}
	if g.atomic {
		g.undo = append(g.undo, step)
	}
	pl := place{head: h, doc: d, fp: fp}
	pl.skip1, pl.skip2 = h.advance(e.Seq)
	g.ids[e.ID] = len(g.events)
	g.events = append(g.events, e)
	g.places = append(g.places, pl)
	g.next++
	return Verdict{Seq: e.Seq, Prev: e.Prev, At: e.At}
}

// expect returns the conflict if the mutation's expectation does not hold.
func (g *group) expect(m *Mutation, h *groupHead, d *groupDoc) *Refusal {
	if m.Expect.Kind == ExpectNone {
		return nil
	}
	last, exists := h.last, h.last != 0
	if d != nil {
		last, exists = d.seq, d.exists
	}
	if g.holds(m.Expect, last, exists) || g.err != nil {
		return nil
	}
	return g.conflict(h, d)
}

// conflict tells what is there instead of what was expected.
func (g *group) conflict(h *groupHead, d *groupDoc) *Refusal {
	r := &Refusal{Code: CodeConflict, Message: "the expectation does not hold"}
	switch {
	case d == nil:
		r.Seq = h.last
		return r
	case !d.exists:
		return r
	}
	r.Seq = d.seq
	if err := d.fold(); err != nil { // here, so that the next conflict on this document costs nothing
		g.err = err
	}
	r.Data = d.data
	return r
}

func (g *group) holds(x Expect, last Seq, exists bool) bool {
	if x.Kind == ExpectID {
		seq, _, ok := g.lookup(x.ID)
		return ok && seq == last
	}
	if x.Seq == 0 {
		return !exists
	}
	return x.Seq == last && g.s.sameHistory(x.Log, x.Seq)
}

// lookup finds a mutation by its id: in this group, in memory, on disk.
func (g *group) lookup(id ID) (Seq, uint64, bool) {
	if i, ok := g.ids[id]; ok {
		return g.events[i].Seq, g.places[i].fp, true
	}
	e, ok, err := g.s.ids.lookup(g.view, id)
	if err != nil {
		g.err = err
	}
	return e.Seq, e.FP, ok
}

// view reads in the group's own transaction.
func (g *group) view(fn func(*bolt.Tx) error) error { return fn(g.tx) }

// head returns the group's state of a stream.
func (g *group) head(name Stream) *groupHead {
	if g.last != nil && g.last.name == name {
		return g.last
	}
	h := g.heads[name]
	if h == nil {
		h = g.loadHead(name)
		g.heads[h.name] = h
	}
	g.last = h
	return h
}

// loadHead reads a stream's state from the overlay, else from the bucket. Only the writer changes overlays, and this is
// the writer, so no lock is needed to read them.
func (g *group) loadHead(name Stream) *groupHead {
	if e := g.s.heads[name]; e != nil {
		return &groupHead{headState: e.headState, name: e.name, flushed: e.flushed}
	}
	st, err := getHead(g.tx.Bucket(bucketHeads), name)
	if err != nil {
		g.err = err
	}
	return &groupHead{headState: st, name: Stream(string(append([]byte(nil), name...))), flushed: st.last}
}

func (g *group) doc(st Stream, key string) *groupDoc {
	at := DocKey{Stream: st, Key: key}
	d := g.docs[at]
	if d == nil {
		d = g.loadDoc(at)
		g.docs[at] = d
	}
	return d
}

func (g *group) loadDoc(at DocKey) *groupDoc {
	if e := g.s.docs[at.Stream][at.Key]; e != nil {
		return &groupDoc{docState: e.docState, at: e.at, flushed: e.flushed}
	}
	st, err := getDoc(g.tx.Bucket(bucketDocs), at)
	if err != nil {
		g.err = err
	}
	return &groupDoc{docState: st, at: at, flushed: st.seq}
}

// write encodes the new events and puts them into the log. Afterwards the events' bytes point into the records, so that
// what they came from can go.
func (g *group) write() error {
	if len(g.events) == 0 {
		return nil
	}
	buf := make([]byte, 0, g.recordBytes())
	log := g.tx.Bucket(bucketLog)
	log.FillPercent = 1
	crc := g.s.lastCRC
	var key [8]byte
	for i := range g.events {
		e, pl := &g.events[i], &g.places[i]
		r := record{Event: *e, Skip1: pl.skip1, Skip2: pl.skip2, PrevCRC: crc}
		start := len(buf)
		buf = appendRecord(buf, &r)
		rec := buf[start:len(buf):len(buf)]
		crc = r.chain()
		pl.size = int32(len(rec))
		rehome(e, rec)
		binary.BigEndian.PutUint64(key[:], uint64(e.Seq))
		if err := log.Put(key[:], rec); err != nil {
			return err
		}
	}
	g.s.lastCRC = crc
	return nil
}

// recordBytes is an upper bound of what the group's records take.
func (g *group) recordBytes() (n int) {
	for i := range g.events {
		e := &g.events[i]
		n += 96 + len(e.Stream) + len(e.Type) + len(e.Key) + len(e.By) + len(e.Data) + len(e.Extra)
	}
	return n
}

// rehome points the event's key, data and extra into its record, counting from the record's end.
func rehome(e *Event, rec []byte) {
	end := len(rec) - 8
	if e.Flags.Has(FlagStub) {
		end -= 4
	}
	if e.Extra != nil {
		e.Extra = rec[end-len(e.Extra) : end : end]
		end -= len(e.Extra) + uvarintLen(len(e.Extra))
	}
	if e.Data != nil {
		e.Data = rec[end-len(e.Data) : end : end]
		end -= len(e.Data) + uvarintLen(len(e.Data))
	}
	if e.By != "" {
		end -= len(e.By) + uvarintLen(len(e.By))
	}
	if e.Key != "" {
		e.Key = viewString(rec[end-len(e.Key) : end])
	}
}

func uvarintLen(n int) int {
	l := 1
	for ; n >= 0x80; n >>= 7 {
		l++
	}
	return l
}
