package store

import bolt "go.etcd.io/bbolt"

// What a group needs to know of streams and documents: read once, from the overlays or the views' buckets, and changed here as its
// mutations are accepted.

// groupHead is a stream as the group leaves it.
type groupHead struct {
	headState
	name    Stream
	flushed Seq // what the view's bucket has
	saved   int // the push for which undo has it
}

// groupDoc is a document as the group leaves it.
type groupDoc struct {
	docState
	at      DocKey
	flushed Seq
	saved   int
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

// doc returns the group's state of a document. One that comes from the bucket is not read yet: most mutations need no more
// of it than its seq.
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
	st, err := peekDoc(g.tx.Bucket(bucketDocs), at)
	if err != nil {
		g.err = err
	}
	return &groupDoc{docState: st, at: at, flushed: st.seq}
}

// fetch reads a document that has not been read yet.
func (g *group) fetch(d *groupDoc) {
	if d.unread == 0 {
		return
	}
	st, err := getDoc(g.tx.Bucket(bucketDocs), d.at)
	if err != nil {
		g.err = err
		return
	}
	d.docState = st
	g.hold(nil, st.data)
}

// hold counts a document that is new in memory. What it replaces may still be needed, to undo or by a sizer, so that nothing
// is taken off.
func (g *group) hold(before, now []byte) {
	if len(now) == 0 || len(before) > 0 && &before[0] == &now[0] {
		return
	}
	g.held += len(now)
	if most := &g.s.counters.groupDocsMost; int64(g.held) > most.Load() {
		most.Store(int64(g.held))
	}
}
