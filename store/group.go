package store

import (
	"fmt"
	"slices"

	bolt "go.etcd.io/bbolt"
)

// A group is a list of pushes that are judged and committed together. Until its commit has returned, what it changes lives
// here and nowhere else: a failed commit forgets the group and nothing more.
//
// What a group holds in memory is bounded: by what the queue gives it, and by groupDocs for the documents that it needs beside.
// Where that bound is reached the group ends, between two pushes or inside one that is not atomic, and what is left over
// becomes the next group.
//
// A mutation is judged in the order of docs/protocol.md: known id, expectation, document, place.
type group struct {
	s        *Store
	tx       *bolt.Tx // that it is judged in
	readOnly *Refusal // what every new event gets when nothing can be written

	pushes  []*Push // those that it judges to their end
	rest    []*Push // those that are left over; of the first, mutations may have been judged
	held    int     // bytes of documents that were read from the bucket, or folded
	events  []Event
	places  []place
	heads   map[Stream]*groupHead
	docs    map[DocKey]*groupDoc
	ids     map[ID]int // index in events
	fresh   []idEntry  // the same for the index of ids, once the group is durable
	sources map[*Source]Source
	undo    []undoStep // of the atomic push that is being judged
	push    int        // number of the push that is being judged, from 1
	atomic  bool
	next    Seq
	at      int64
	last    *groupHead // the stream of the event before: most pushes stay on one
	err     error      // a failure to read; ends the group

	records []rawRecord // of the events
	crc     uint32      // what the next record is chained to
	bytes   int         // of them
	small   bool        // they go into the journal
}

// place is what an event needs beside itself until it is published.
type place struct {
	head         *groupHead
	doc          *groupDoc // nil: no key
	fp           uint64
	skip1, skip2 Seq
	size         int32 // of the record
}

func (s *Store) newGroup(tx *bolt.Tx, pushes []*Push, readOnly *Refusal) *group {
	n := 0
	for _, p := range pushes {
		n += len(p.Mutations) - p.judged
	}
	g := s.spare
	s.spare = nil
	if g == nil {
		g = &group{
			heads:   make(map[Stream]*groupHead),
			docs:    make(map[DocKey]*groupDoc),
			ids:     make(map[ID]int, n),
			sources: make(map[*Source]Source),
		}
	}
	*g = group{
		s: s, tx: tx, pushes: pushes, readOnly: readOnly,
		events: make([]Event, 0, n), // the tail keeps them
		places: slices.Grow(g.places[:0], n),
		fresh:  g.fresh[:0], records: g.records[:0],
		heads: g.heads, docs: g.docs, ids: g.ids, sources: g.sources,
		next: s.Head() + 1,
		at:   max(s.opts.now().UnixMilli(), s.lastAt),
	}
	return g
}

// keepGroup is how many events a group may have had whose memory the next one uses again: a large one would be kept for nothing.
const keepGroup = 4096

// reuse gives the memory of a group that has ended to the next one.
func (s *Store) reuse(g *group) {
	if len(g.places) > keepGroup || len(g.heads) > keepGroup || len(g.docs) > keepGroup {
		return
	}
	clear(g.places)
	clear(g.records)
	clear(g.heads)
	clear(g.docs)
	clear(g.ids)
	clear(g.sources)
	*g = group{places: g.places[:0], fresh: g.fresh[:0], records: g.records[:0], heads: g.heads, docs: g.docs, ids: g.ids, sources: g.sources}
	s.spare = g
}

// groupDocs bounds the documents, in bytes, that a group reads from the bucket or folds: a small patch may need a large
// one, and a push has a thousand patches. An atomic push that needs more is refused.
const groupDocs = 16 << 20

// judge gives the pushes their verdicts, as far as its bound allows; at least one mutation is judged.
func (g *group) judge() error {
	for i, p := range g.pushes {
		whole := g.judgePush(p)
		if g.err != nil {
			return g.err
		}
		if !whole {
			g.pushes, g.rest = g.pushes[:i], g.pushes[i:]
			break
		}
	}
	return nil
}

// left returns the pushes that the next group begins with. It is called once the group is durable: verdicts of a part of a
// push stand then.
func (g *group) left() []*Push {
	if len(g.rest) > 0 {
		g.rest[0].judged = len(g.rest[0].Verdicts)
		g.s.counters.groupsCut.Add(1)
	}
	return g.rest
}

// judgePush reports false when the group has to end before the push does.
func (g *group) judgePush(p *Push) (whole bool) {
	p.Verdicts = p.Verdicts[:p.judged]
	if r := g.locked(p); r != nil {
		for range p.Mutations[p.judged:] {
			p.Verdicts = append(p.Verdicts, Verdict{Refusal: r})
		}
		return true
	}
	g.push++
	g.atomic, g.undo = p.Atomic, g.undo[:0]
	if p.Atomic {
		whole = g.judgeAtomic(p)
	} else {
		whole = g.judgeEach(p)
	}
	if whole && g.err == nil {
		g.lock(p)
	}
	return whole
}

// judgeEach judges the mutations of a push that is not atomic, from where the group before came to.
func (g *group) judgeEach(p *Push) (whole bool) {
	var later *Refusal
	for i := p.judged; i < len(p.Mutations) && g.err == nil; i++ {
		v, fits := Verdict{Refusal: later}, true
		if later == nil {
			v, fits = g.judgeOne(p, i, g.held > 0)
		}
		if !fits {
			return false
		}
		if v.Refusal != nil && v.Refusal.Code.Later() && (p.Source != nil || g.readOnly != nil) {
			later = v.Refusal // what comes after it must not overtake it, nor be judged without it; nothing of it needs room
		}
		p.Verdicts = append(p.Verdicts, v)
	}
	return true
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

// judgeOne judges one mutation; fits is false if it needs a document for which the group has no room. Unless bounded, the
// first document has room in any case.
func (g *group) judgeOne(p *Push, i int, bounded bool) (v Verdict, fits bool) {
	if p.Refused != nil && p.Refused[i] != nil {
		return Verdict{Refusal: p.Refused[i]}, true
	}
	m := &p.Mutations[i]
	fp := p.prints[i]
	seq, known, ok := g.lookup(m.ID)
	switch {
	case g.err != nil:
		return Verdict{}, true
	case ok && known == fp:
		return Verdict{Seq: seq, Dup: true}, true
	case ok:
		return refuse(CodeIDReused, "this id was used for a mutation with other content"), true
	}
	h := g.head(m.Stream)
	var d *groupDoc
	if m.Key != "" {
		d = g.doc(m.Stream, m.Key)
	}
	if g.err != nil {
		return Verdict{}, true
	}
	if r := g.expect(m, h, d); r != nil {
		return Verdict{Refusal: r}, true
	}
	if g.readOnly != nil {
		return Verdict{Refusal: g.readOnly}, true
	}
	if d != nil && m.Op != OpPut && m.Op != OpDelete {
		if bounded && g.held+d.unread > g.s.opts.docs {
			return Verdict{}, false
		}
		if g.fetch(d); g.err != nil {
			return Verdict{}, true
		}
	}
	return g.accept(p, m, fp, h, d), true
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
	g.save(h, d)
	if d != nil {
		e.KPrev = d.seq
		before := d.data
		ok, err := d.apply(e.Seq, m.Op, m.Data, g.s.opts.Limits.Doc, &g.s.sizes)
		g.hold(before, d.data)
		if err != nil {
			return refuse(CodeMutationInvalid, "data: %v", err)
		}
		if !ok {
			return refuse(CodeTooLarge, "the document would have more than %d bytes", g.s.opts.Limits.Doc)
		}
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
	log, st, key := g.s, h.name, cloneString(d.at.Key)
	r.current = func() (Doc, bool, error) { return log.Doc(st, key) }
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

// encode makes the records of the new events. Afterwards the events' bytes point into the records, so that what they came
// from can go.
func (g *group) encode() {
	buf := make([]byte, 0, g.recordBytes())
	g.records = slices.Grow(g.records, len(g.events))
	g.crc = g.s.lastCRC
	for i := range g.events {
		e, pl := &g.events[i], &g.places[i]
		r := record{Event: *e, Skip1: pl.skip1, Skip2: pl.skip2, PrevCRC: g.crc}
		start := len(buf)
		buf = appendRecord(buf, &r)
		rec := buf[start:len(buf):len(buf)]
		g.crc = r.chain()
		pl.size = int32(len(rec))
		g.bytes += len(rec)
		rehome(e, rec)
		g.records = append(g.records, rawRecord{e.Seq, rec})
	}
	g.small = !g.s.identity.sparse && g.s.journal.room(len(g.records), g.bytes)
}

// add puts the records into the log's bucket.
func (g *group) add(*bolt.Tx) error {
	for _, r := range g.records {
		g.s.logWriter.add(r.seq, r.v)
	}
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
