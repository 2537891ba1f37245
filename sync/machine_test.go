package sync

import (
	"testing"

	"tidemark/store"
)

// following returns a machine with one live subscription at a cursor.
func following(cursor, news store.Seq) (*machine, *sub) {
	m := &machine{phase: open, rules: &rules{limits: Limits{}.WithDefaults(), registry: newRegistry(), signals: &gauge{}}}
	m.subscribe(&Subscribe{Sub: 1, Filter: store.Only("s"), Resume: true, Cursor: store.Cursor{Seq: cursor}})
	m.answers.pop()
	s := m.subs[0]
	m.resumed(s, store.Standing{Head: cursor, LogHead: cursor}, nil)
	m.urgent.pop()
	m.calls.pop()
	s.topic.raise(news)
	s.live = true
	return m, s
}

// TestPongBeforeAReset: the log has lost what comes next, the client has not been told yet. It still takes the subscription
// for live, and a pong must not promise it what it will never get.
func TestPongBeforeAReset(t *testing.T) {
	m, s := following(10, 20)
	m.trimmed(s)
	m.receive(&Ping{})
	if pong, ok := m.next(30).reply.(*Pong); !ok || pong.Seq != 10 {
		t.Fatalf("%+v", pong)
	}
	if e := m.next(30); e.do != doResume {
		t.Fatalf("what comes next is %d", e.do)
	}
	m.resumed(s, store.Standing{Head: 20, LogHead: 30, Floor: 15}, nil)
	if r, ok := m.next(30).reply.(*Reset); !ok || r.Reason != store.ResetTrimmed || s.live {
		t.Fatalf("%+v, live %v", r, s.live)
	}
}

// TestArmSeesWhatCameMeanwhile: an event may come between the last look at the topic and the wish to be woken.
func TestArmSeesWhatCameMeanwhile(t *testing.T) {
	tp := &topic{}
	a, b := &waiter{}, &waiter{}
	tp.raise(5)
	if tp.arm(a, 4) || !tp.arm(b, 5) {
		t.Fatal("one that has 4 of 5 waits, or one that has all does not")
	}
	tp.raise(6)
	if ws := tp.rouse(); len(ws) != 1 || ws[0] != b || b.pos != 0 {
		t.Fatalf("%v were woken", ws)
	}
}

// TestOnlyEventsRaiseTopicsOfManyStreams: the head that the log gives for many streams is that of all. One more subscriber must not let those
// who are up to date wait for events that there are not: their pongs would stay behind the log.
func TestOnlyEventsRaiseTopicsOfManyStreams(t *testing.T) {
	below, err := store.ParseFilter("x/**")
	if err != nil {
		t.Fatal(err)
	}
	wide, exact := &topic{filter: below}, &topic{filter: store.Only("x")}
	for _, tp := range []*topic{wide, exact} {
		if tp.begin(100); tp.news() != 100 {
			t.Errorf("%s begins at %d", tp.filter, tp.news())
		}
		tp.begin(1000)
	}
	if wide.news() != 100 || exact.news() != 1000 {
		t.Errorf("another one comes: news at %d of many streams, %d of one", wide.news(), exact.news())
	}
	if wide.raise(200); wide.news() != 200 {
		t.Errorf("an event: news at %d", wide.news())
	}
}

// TestWhatWaitsBehindAPushIsBounded: answers that are there but must wait for a push count as much as those that the client does not read.
func TestWhatWaitsBehindAPushIsBounded(t *testing.T) {
	m, _ := following(10, 10)
	push := &Push{Store: &store.Push{Mutations: []store.Mutation{{ID: store.NewID(), Stream: "s", Data: []byte(`"long"`)}}}}
	if !m.push(push) {
		t.Fatal("the push was not taken")
	}
	n := 0
	for m.room(0) && n < 1_000_000 {
		m.fault(&Error{Code: store.CodeStreamInvalid})
		n++
	}
	if n < maxAnswers || n > 10*maxAnswers {
		t.Errorf("%d answers wait", n)
	}
	push.Store.Verdicts = make([]store.Verdict, 1)
	m.answered(push.Store)
	if m.pending.len() != 0 || push.Store.Mutations[0].Data != nil {
		t.Errorf("%d wait still, with data %q", m.pending.len(), push.Store.Mutations[0].Data)
	}
}
