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
