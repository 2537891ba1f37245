package store

import (
	"context"
	"fmt"

	bolt "go.etcd.io/bbolt"
)

// Apply adds events that have their seq already, given by a sequencer elsewhere: the other half of Append. The log must
// have been created with Options.Sparse; seqs rise and may have holes. Prev and KPrev are set here, At must not run
// backwards, and an atomic push must be whole. Events up to the head are skipped, so that Apply may be repeated.
func (s *Store) Apply(ctx context.Context, events []Event) error {
	if s.opts.ReadOnly {
		return ErrReadOnly
	}
	if !s.identity.sparse {
		return fmt.Errorf("store: this log gives seqs itself; Apply needs one created with Options.Sparse")
	}
	if n := len(events); n > 0 && events[n-1].Flags.Has(FlagMore) {
		return fmt.Errorf("store: the last event belongs to an atomic push that is not whole")
	}
	return s.onWriter(ctx, func() error { return s.applyGroup(events) })
}

func (s *Store) applyGroup(events []Event) error {
	var g *group
	err := s.view(func(tx *bolt.Tx) error {
		g = s.newGroup(tx, nil, nil)
		for i := range events {
			if err := g.place(&events[i]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil || len(g.events) == 0 {
		return err
	}
	g.encode()
	if err := s.save(g); err != nil {
		return err
	}
	s.counters.commits.Add(1)
	s.publish(g)
	s.count(g)
	if s.lagOver(s.opts.flush.target, s.opts.flush.bytes/2) {
		s.startFlush()
	}
	return nil
}

// place takes an event that has its seq into the group.
func (g *group) place(e *Event) error {
	if e.Seq < g.next {
		return nil
	}
	m := Mutation{ID: e.ID, Stream: e.Stream, Type: e.Type, Key: e.Key, Op: e.Op, Data: e.Data, Bytes: e.Flags.Has(FlagBytes)}
	if e.Seq > MaxSeq || m.ID.IsZero() || m.Stream == "" {
		return fmt.Errorf("store: event %d has no valid place, id or stream", e.Seq)
	}
	at := g.s.lastAt
	if n := len(g.events); n > 0 {
		at = g.events[n-1].At
	}
	if e.At < at {
		return fmt.Errorf("store: event %d: its time %d is before %d", e.Seq, e.At, at)
	}
	ev := *e
	h := g.head(e.Stream)
	ev.Prev, ev.Stream, ev.Type = h.last, h.name, g.s.intern(e.Type)
	pl := place{head: h}
	if e.Key != "" {
		if pl.doc = g.doc(h.name, e.Key); g.err == nil && e.Op != OpPut && e.Op != OpDelete {
			g.fetch(pl.doc)
		}
		if g.err != nil {
			return g.err
		}
		ev.KPrev = pl.doc.seq
		if _, err := pl.doc.apply(e.Seq, e.Op, e.Data, maxDoc, nil); err != nil {
			return fmt.Errorf("store: event %d: %w", e.Seq, err)
		}
	}
	if g.err != nil {
		return g.err
	}
	pl.fp, _ = fingerprint(&m, nil)
	pl.skip1, pl.skip2 = h.advance(e.Seq)
	g.events = append(g.events, ev)
	g.places = append(g.places, pl)
	g.ids[e.ID] = len(g.events) - 1
	g.next = e.Seq + 1
	return nil
}
