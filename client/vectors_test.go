package client

import (
	"encoding/json"
	"os"
	"slices"
	"testing"

	"tidemark/internal/wire"
	"tidemark/store"
)

// readVectors reads a file of testdata/protocol.
func readVectors[Case any](t *testing.T, name string) []Case {
	t.Helper()
	text, err := os.ReadFile("../testdata/protocol/" + name)
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Cases []Case }
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Cases) < 10 {
		t.Fatalf("%s has %d cases", name, len(file.Cases))
	}
	return file.Cases
}

type vectorCursor struct {
	Seq  store.Seq
	Mark string
	Log  string
}

func (c *vectorCursor) cursor(t *testing.T) (out store.Cursor) {
	out.Seq = c.Seq
	for _, f := range []struct {
		text string
		id   *store.ID
	}{{c.Mark, &out.Mark}, {c.Log, &out.Log}} {
		if f.text != "" {
			id, err := store.ParseID(f.text)
			if err != nil {
				t.Fatal(err)
			}
			*f.id = id
		}
	}
	return out
}

type ruleCase struct {
	Name  string
	Log   string
	Start struct {
		Stream  string
		From    string
		Cursor  *vectorCursor
		Applied *store.Seq
	}
	Steps []struct {
		Frame     json.RawMessage
		Reconnect bool
		Want      struct {
			Cursor      json.RawMessage
			Live        *bool
			Applied     []store.Seq
			Resubscribe *store.Seq
		}
	}
}

// TestClientRules runs the vectors of how cursors move and gaps are found. What they say of documents is for clients that
// fold them; this one leaves that to the app.
func TestClientRules(t *testing.T) {
	for _, c := range readVectors[ruleCase](t, "client-rules.json") {
		t.Run(c.Name, func(t *testing.T) {
			if c.Start.Applied != nil {
				return // an app that persists them apart skips what it has applied; this client's cursor comes with the events
			}
			runRules(t, &c)
		})
	}
}

func runRules(t *testing.T, c *ruleCase) {
	filter, err := store.ParseFilter(c.Start.Stream)
	if err != nil {
		t.Fatal(err)
	}
	spec := Spec{Filter: filter, From: map[string]From{"start": FromStart, "now": FromNow}[c.Start.From]}
	if c.Start.Cursor != nil {
		at := c.Start.Cursor.cursor(t)
		spec.Since = &at
	}
	feed := newFeed(&spec)
	feed.request(1)
	logID, _ := store.ParseID(c.Log)
	for i, step := range c.Steps {
		applied, broken := []store.Seq{}, false
		if step.Reconnect {
			feed.request(1)
		} else {
			applied, broken = feedFrame(t, &feed, step.Frame, logID)
		}
		checkCursor(t, i, &feed, step.Want.Cursor)
		if step.Want.Live != nil && feed.live != *step.Want.Live {
			t.Errorf("step %d: live %v", i, feed.live)
		}
		if step.Want.Applied != nil && !slices.Equal(applied, step.Want.Applied) {
			t.Errorf("step %d: applied %v, want %v", i, applied, step.Want.Applied)
		}
		switch want := step.Want.Resubscribe; {
		case broken != (want != nil):
			t.Errorf("step %d: gap found: %v", i, broken)
		case broken && feed.request(1).Cursor.Seq != *want:
			t.Errorf("step %d: subscribes again from %d, want %d", i, feed.request(1).Cursor.Seq, *want)
		}
	}
}

// feedFrame does what the dispatcher of a connection does with one frame.
func feedFrame(t *testing.T, f *feed, frame []byte, log store.ID) (applied []store.Seq, broken bool) {
	m, err := wire.DecodeServer(frame)
	if err != nil {
		t.Fatal(err)
	}
	applied = []store.Seq{}
	if p, ok := m.(*wire.Pong); ok {
		f.pong(p)
	}
	if e, ok := m.(*wire.Events); ok && e.Sub == 1 {
		var fresh []store.Event
		fresh, broken = f.events(e.Events)
		for i := range fresh {
			applied = append(applied, fresh[i].Seq)
		}
	}
	if subOf(m) != 1 {
		return applied, broken
	}
	switch m := m.(type) {
	case *wire.Subscribed:
		f.subscribed(m, log)
	case *wire.Live:
		f.liveAt(m)
	case *wire.Reset:
		f.reset(m)
	case *wire.Snapshot:
		f.snapshot(m)
	}
	return applied, broken
}

func checkCursor(t *testing.T, step int, f *feed, want json.RawMessage) {
	t.Helper()
	switch {
	case want == nil:
	case string(want) == "null":
		if f.placed {
			t.Errorf("step %d: the cursor is %+v, want none", step, f.cursor)
		}
	default:
		var c vectorCursor
		if err := json.Unmarshal(want, &c); err != nil {
			t.Fatal(err)
		}
		if at := c.cursor(t); !f.placed || f.cursor != at {
			t.Errorf("step %d: the cursor is %+v (%v), want %+v", step, f.cursor, f.placed, at)
		}
	}
}

type outboxCase struct {
	Name  string
	Queue []string
	Steps []struct {
		Frame     json.RawMessage
		Reconnect bool
		Want      struct{ Queue, Send, Rejected []string }
	}
}

// TestOutboxVectors runs the vectors of the outbox, but for those in which an event stands for an answer: this client waits
// for the answer, or for that of its duplicate.
func TestOutboxVectors(t *testing.T) {
	for _, c := range readVectors[outboxCase](t, "outbox.json") {
		t.Run(c.Name, func(t *testing.T) { runOutbox(t, &c) })
	}
}

func runOutbox(t *testing.T, c *outboxCase) {
	var acks []*wire.Ack // of each step; nil: it is no ack
	for _, s := range c.Steps {
		m := wire.Message(&wire.Unknown{})
		if !s.Reconnect {
			var err error
			if m, err = wire.DecodeServer(s.Frame); err != nil {
				t.Fatal(err)
			}
		}
		if _, isEvents := m.(*wire.Events); isEvents {
			return
		}
		a, _ := m.(*wire.Ack)
		acks = append(acks, a)
	}
	var o outbox
	for _, q := range c.Queue {
		m := mutation(0)
		m.ID, _ = store.ParseID(q)
		e := newEntry()
		e.add(&m)
		e.lone(m.Stream)
		o.add(e)
	}
	sendFor(t, &o, acks)
	for i, s := range c.Steps {
		var rejected, sent []string
		if s.Reconnect {
			o.lost()
		} else if a := acks[i]; a != nil {
			a.Ref = wire.IntRef(o.flying.at(0).ref)
			done, err := o.ack(a, nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range done {
				if r := e.results[0]; r.Err != nil {
					rejected = append(rejected, r.ID.String())
				}
			}
		}
		o.resume()
		sent = sendFor(t, &o, acks[i+1:])
		if !slices.Equal(rejected, s.Want.Rejected) || !slices.Equal(sent, s.Want.Send) || !slices.Equal(inOrder(&o), s.Want.Queue) {
			t.Errorf("step %d: rejected %v, sent %v, queue %v; want %+v", i, rejected, sent, inOrder(&o), s.Want)
		}
	}
}

// sendFor sends what may be sent, in pushes as large as the answers that will come.
func sendFor(t *testing.T, o *outbox, acks []*wire.Ack) (sent []string) {
	for n := 0; o.sendable(wire.Limits{}.WithDefaults()); n++ {
		l := wire.Limits{}.WithDefaults()
		for n < len(acks) && acks[n] == nil {
			n++
		}
		if n < len(acks) {
			l.Mutations = len(acks[n].Results)
		}
		o.fill(nil, 1<<20, l, testLog)
		for _, e := range o.flying.at(o.flying.len() - 1).entries {
			sent = append(sent, e.ids[0].String())
		}
	}
	return sent
}

// inOrder lists what waits for an answer.
func inOrder(o *outbox) (ids []string) {
	for _, e := range o.again {
		ids = append(ids, e.ids[0].String())
	}
	for i := range o.flying.len() {
		for _, e := range o.flying.at(i).entries {
			ids = append(ids, e.ids[0].String())
		}
	}
	for i := range o.queue.len() {
		ids = append(ids, o.queue.at(i).ids[0].String())
	}
	return ids
}
