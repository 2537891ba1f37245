package client

import (
	"tidemark/internal/wire"
	"tidemark/store"
)

// feed is what one subscription knows of where it stands: a pure state machine that takes the server's messages and knows
// how to subscribe again. It belongs to the goroutine that reads the connection.
type feed struct {
	filter store.Filter
	from   From

	cursor store.Cursor // where to go on
	placed bool         // cursor holds
	log    store.ID     // the log that the next move of the cursor belongs to
	chain  chain
	begun  bool // chain has a start
	live   bool

	// Documents are consistent, and the cursor is placed, only when everything up to upto has come.
	partial bool
	upto    store.Seq
	first   bool // the next snapshot frame begins a snapshot

	stats FeedStats
}

// FeedStats counts what ought not to happen in the life of a subscription.
type FeedStats struct {
	Gaps       uint64 // a prev that did not match: subscribed again from before it
	Duplicates uint64 // events that had come before, and were left out
	Resets     uint64
}

func newFeed(s *Spec) feed {
	f := feed{filter: s.Filter, from: s.From, first: true}
	f.chain.wide = s.Filter.Wide()
	if s.Since != nil {
		f.cursor, f.placed = *s.Since, true
	}
	return f
}

// request returns how to subscribe from where the feed stands. A snapshot that was cut off comes anew.
func (f *feed) request(sub uint64) wire.Subscribe {
	f.live, f.first, f.partial, f.upto = false, true, false, 0
	at := f.cursor
	if at.Seq == 0 {
		at = store.Cursor{}
	}
	return wire.Subscribe{Sub: sub, Filter: f.filter, From: wire.From(f.from), Resume: f.placed, Cursor: at}
}

// subscribed begins the chain where the server starts. One that goes on keeps what it knows of the streams: that proves
// more, and tells what came before.
func (f *feed) subscribed(m *wire.Subscribed, log store.ID) {
	f.log = log
	if !f.placed || !f.begun {
		at := place{seq: m.Since}
		if f.placed && f.cursor.Seq == m.Since {
			at.id = f.cursor.Mark
		}
		f.chain.begin(at)
		f.begun = true
	}
}

// reset drops what is confirmed. With FromStart the events after the floor come next, so that is the cursor.
func (f *feed) reset(m *wire.Reset) {
	f.stats.Resets++
	f.log, f.live, f.first, f.partial, f.upto = m.Log, false, true, false, 0
	f.cursor, f.placed = store.Cursor{}, false
	f.chain.begin(place{seq: m.Head})
	if f.from == FromStart {
		f.chain.begin(place{seq: m.Floor})
		f.move(store.Cursor{Seq: m.Floor})
	}
}

// snapshot takes a frame of documents and reports whether it is the first of its snapshot.
func (f *feed) snapshot(m *wire.Snapshot) (first bool) {
	first, f.first = f.first, m.Done
	f.partial, f.upto = true, store.MaxSeq
	if m.Done {
		f.chain.begin(place{m.Seq, m.Mark})
		f.upto = m.Upto
		f.reach(store.Cursor{Seq: m.Seq, Mark: m.Mark})
	}
	return first
}

// events checks the chain and returns the events that are new, in evs' own memory. When the chain breaks, broken is true,
// what comes after the break is left out, and the cursor goes back to before it.
func (f *feed) events(evs []store.Event) (fresh []store.Event, broken bool) {
	fresh = evs[:0]
	for i := range evs {
		switch f.chain.add(&evs[i]) {
		case linkSeen:
			f.stats.Duplicates++
		case linkBroken:
			f.stats.Gaps++
			at := f.chain.resume(evs[i].Stream)
			f.cursor = store.Cursor{Seq: at.seq, Mark: at.id, Log: f.log}
			return fresh, true
		case linkNext:
			if len(fresh) != i {
				evs[len(fresh)] = evs[i]
			}
			fresh = evs[:len(fresh)+1]
		}
	}
	if n := len(evs); n > 0 {
		f.reach(store.Cursor{Seq: evs[n-1].Seq, Mark: evs[n-1].ID})
	}
	return fresh, false
}

// liveAt takes a live message: at the latest now the documents are consistent.
func (f *feed) liveAt(m *wire.Live) {
	f.live, f.upto = true, 0
	f.reach(store.Cursor{Seq: m.Seq, Mark: m.Mark})
}

// pong takes what the server says about all live subscriptions.
func (f *feed) pong(m *wire.Pong) {
	if f.live {
		f.reach(store.Cursor{Seq: m.Seq, Mark: m.Mark})
	}
}

// reach moves the cursor forward, unless documents wait for more than c.
func (f *feed) reach(c store.Cursor) {
	if f.partial && c.Seq < f.upto {
		return
	}
	f.partial, f.upto = false, 0
	f.move(c)
}

// move places the cursor, forward only.
func (f *feed) move(c store.Cursor) {
	if f.placed && c.Seq <= f.cursor.Seq {
		return
	}
	c.Log = f.log
	f.cursor, f.placed = c, true
}
