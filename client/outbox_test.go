package client

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"tidemark/internal/wire"
	"tidemark/store"
)

// modelServer judges pushes as a server does: ids once, order kept, now and then "later", with the order lock of the
// protocol.
type modelServer struct {
	t       *testing.T
	rng     *rand.Rand
	dec     wire.Decoder
	log     []store.ID
	places  map[store.ID]store.Seq
	blocked store.ID // the mutation refused first with "later" on this connection
	waiting []*wire.Push
}

func (s *modelServer) take(text []byte) {
	m, fault := s.dec.Decode(text)
	if fault != nil {
		s.t.Fatalf("%v: %s", fault, text)
	}
	s.waiting = append(s.waiting, m.(*wire.Push))
}

// judge answers the oldest push.
func (s *modelServer) judge() *wire.Ack {
	p := s.waiting[0]
	s.waiting = s.waiting[1:]
	if p.Mutations[0].ID == s.blocked {
		s.blocked = store.ID{}
	}
	a := &wire.Ack{Ref: p.Ref}
	broken := s.blocked.IsZero() && s.rng.IntN(8) == 0
	at := s.rng.IntN(len(p.Mutations))
	for i := range p.Mutations {
		id := p.Mutations[i].ID
		if broken && (i == at || p.Atomic && i == 0) {
			s.blocked = id
			broken = false
		}
		a.Results = append(a.Results, s.result(id))
	}
	return a
}

func (s *modelServer) result(id store.ID) wire.Result {
	switch seq, known := s.places[id]; {
	case !s.blocked.IsZero():
		return wire.Result{ID: id, Err: &wire.Error{Code: store.CodeReadOnly}}
	case known:
		return wire.Result{ID: id, Seq: seq, Dup: true}
	}
	s.log = append(s.log, id)
	s.places[id] = store.Seq(len(s.log))
	return wire.Result{ID: id, Seq: s.places[id]}
}

// reconnect forgets what a server forgets with a connection: some pushes in flight were lost, others were judged, but their
// answers were lost.
func (s *modelServer) reconnect() {
	for range s.rng.IntN(len(s.waiting) + 1) {
		s.judge()
	}
	s.waiting, s.blocked = nil, store.ID{}
}

// TestOutboxAgainstModel drives an outbox at random: whatever is lost, held back or cut, in the end the server has every
// mutation once, in the order in which they were queued, and every mutation got one answer.
func TestOutboxAgainstModel(t *testing.T) {
	for seed := range uint64(300) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { driveOutbox(t, seed) })
	}
}

func driveOutbox(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 1))
	limits := wire.Limits{Mutations: 1 + rng.IntN(20), Inflight: 20 + rng.IntN(40)}.WithDefaults()
	s := &modelServer{t: t, rng: rng, dec: wire.Decoder{Limits: limits}, places: map[store.ID]store.Seq{}}
	size := 300 + rng.IntN(3000)
	var o outbox
	var queued, answered []store.ID
	finish := func(done []*entry) {
		for _, e := range done {
			for _, r := range e.results {
				if r.Err != nil || s.log[r.Seq-1] != r.ID {
					t.Fatalf("%+v", r)
				}
				answered = append(answered, r.ID)
			}
			e.release()
		}
	}
	add := func() {
		e := newEntry()
		n := 1
		if rng.IntN(5) == 0 {
			n, e.atomic = 1+rng.IntN(min(4, limits.Mutations)), true
		}
		for range n {
			m := mutation(len(queued))
			m.Stream = store.Stream(fmt.Sprint("s", rng.IntN(3)))
			e.add(&m)
			queued = append(queued, m.ID)
			if !e.atomic {
				e.lone(m.Stream)
			}
		}
		o.add(e)
	}
	for step := 0; step < 400 || !o.empty(); step++ {
		switch r := rng.IntN(100); {
		case r < 25 && step < 400:
			add()
		case r < 60:
			if o.sendable(limits) {
				s.take(o.fill(nil, size, limits, testLog))
			}
		case r < 90 && len(s.waiting) > 0:
			done, err := o.ack(s.judge(), nil)
			if err != nil {
				t.Fatal(err)
			}
			finish(done)
		case r < 95:
			o.resume()
		case r == 99 && step < 400:
			s.reconnect()
			o.lost()
		}
	}
	if !slices.Equal(s.log, queued) || !slices.Equal(answered, queued) || o.bytes != 0 || o.unanswered != 0 {
		t.Errorf("queued %d, in the log %d, answered %d; %d bytes, %d unanswered left",
			len(queued), len(s.log), len(answered), o.bytes, o.unanswered)
	}
}

func TestOutboxRefusesAnswersToNothing(t *testing.T) {
	limits := wire.Limits{}.WithDefaults()
	id := mutation(1).ID
	for name, a := range map[string]*wire.Ack{
		"no ref":     {Results: []wire.Result{{ID: id, Seq: 1}}},
		"other ref":  {Ref: wire.IntRef(7), Results: []wire.Result{{ID: id, Seq: 1}}},
		"too few":    {Ref: wire.IntRef(1)},
		"too many":   {Ref: wire.IntRef(1), Results: make([]wire.Result, 2)},
		"another id": {Ref: wire.IntRef(1), Results: []wire.Result{{ID: mutation(2).ID, Seq: 1}}},
	} {
		var o outbox
		e := newEntry()
		m := mutation(1)
		e.add(&m)
		e.lone(m.Stream)
		o.add(e)
		o.fill(nil, 1000, limits, testLog)
		if done, err := o.ack(a, nil); err == nil || len(done) > 0 {
			t.Errorf("%s was taken", name)
		}
		if o.lost(); o.queue.len() != 1 || o.unanswered != 0 {
			t.Errorf("%s: the mutation is lost", name)
		}
	}
}
