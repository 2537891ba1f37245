package wire

import (
	"encoding/json"
	"slices"
	"testing"

	"tidemark/store"
)

// modelOutbox is the plainest queue that follows the protocol's rules for writing: everything in it has been sent.
type modelOutbox struct {
	queue       []store.ID
	outstanding int
	gate        store.ID // the first mutation that was refused with "later"; zero: none
	send        []store.ID
	rejected    []store.ID
}

func (o *modelOutbox) receive(m Message) {
	o.send, o.rejected = nil, nil
	switch m := m.(type) {
	case *Events:
		for _, e := range m.Events {
			o.settle(e.ID)
		}
	case *Ack:
		for _, r := range m.Results {
			o.result(&r)
		}
		if o.outstanding == 0 && !o.gate.IsZero() {
			o.resend()
		}
	}
}

func (o *modelOutbox) settle(id store.ID) {
	o.queue = slices.DeleteFunc(o.queue, func(have store.ID) bool { return have == id })
}

func (o *modelOutbox) result(r *Result) {
	o.outstanding--
	switch {
	case r.Err == nil:
		o.settle(r.ID)
	case !r.Err.Later:
		o.settle(r.ID)
		o.rejected = append(o.rejected, r.ID)
	case o.gate.IsZero():
		o.gate = r.ID
	}
}

// resend sends the queue in order, from the first refused on, which the server waits for even if it is settled.
func (o *modelOutbox) resend() {
	if !o.gate.IsZero() && !slices.Contains(o.queue, o.gate) {
		o.send = append(o.send, o.gate)
	}
	o.send = append(o.send, o.queue...)
	o.outstanding, o.gate = len(o.send), store.ID{}
}

func TestVectorsOutbox(t *testing.T) {
	type vector struct {
		Name  string
		Queue []string
		Steps []struct {
			Frame     json.RawMessage
			Reconnect bool
			Want      struct{ Queue, Send, Rejected []string }
		}
	}
	for _, v := range vectors[vector](t, "outbox.json") {
		t.Run(v.Name, func(t *testing.T) {
			o := &modelOutbox{outstanding: len(v.Queue)}
			for _, id := range v.Queue {
				o.queue = append(o.queue, mustID(t, id))
			}
			for i, step := range v.Steps {
				if step.Reconnect {
					o.send, o.rejected, o.gate = nil, nil, store.ID{}
					o.resend()
				} else if m, err := DecodeServer(compactJSON(t, step.Frame)); err != nil {
					t.Fatal(err)
				} else {
					o.receive(m)
				}
				checkIDs(t, i, "queue", o.queue, step.Want.Queue)
				checkIDs(t, i, "send", o.send, step.Want.Send)
				checkIDs(t, i, "rejected", o.rejected, step.Want.Rejected)
			}
		})
	}
}

func checkIDs(t *testing.T, step int, what string, got []store.ID, want []string) {
	t.Helper()
	texts := []string{}
	for _, id := range got {
		texts = append(texts, id.String())
	}
	if !slices.Equal(texts, want) {
		t.Errorf("step %d: %s %v, want %v", step, what, texts, want)
	}
}
