package wire

import (
	"encoding/json"
	"reflect"
	"slices"
	"testing"

	"tidemark/store"
)

// modelSub is the plainest client that follows the protocol's rules for one subscription. It exists to keep the vectors
// honest; the clients of this repository have code of their own and run the same vectors.
type modelSub struct {
	log    store.ID
	from   From
	cursor *store.Cursor
	base   store.Seq                  // the cursor that the current chain of every stream started from
	chain  map[store.Stream]store.Seq // the last event since then
	done   map[store.Stream]store.Seq // the last event applied at all
	live   bool
	docs   map[string]modelDoc // nil: not shown
	fresh  map[string]modelDoc // of a snapshot that is not complete yet
	upto   *store.Seq          // of that snapshot, once known

	applied     []store.Seq
	resubscribe *store.Seq
}

type modelDoc struct {
	Seq  store.Seq
	Data json.RawMessage
}

func (c *modelSub) receive(m Message) {
	c.applied, c.resubscribe = []store.Seq{}, nil
	switch m := m.(type) {
	case *Subscribed:
		c.begin(m.Since)
	case *Events:
		if m.Sub == 1 {
			c.events(m)
		}
	case *Live:
		if m.Sub == 1 {
			c.goLive(m)
		}
	case *Pong:
		if c.live {
			c.move(store.Cursor{Seq: m.Seq, Mark: m.Mark, Log: c.log})
		}
	case *Reset:
		c.reset(m)
	case *Snapshot:
		c.snapshot(m)
	}
}

func (c *modelSub) begin(at store.Seq) {
	c.base, c.live = at, false
	c.chain = map[store.Stream]store.Seq{}
}

// move moves the cursor, never back.
func (c *modelSub) move(to store.Cursor) {
	if c.cursor == nil || to.Seq > c.cursor.Seq {
		c.cursor = &to
	}
}

func (c *modelSub) goLive(m *Live) {
	c.live = true
	if c.fresh != nil {
		c.complete(store.Cursor{Seq: m.Seq, Mark: m.Mark, Log: c.log})
		return
	}
	if c.cursor == nil {
		c.base = m.Seq
	}
	c.move(store.Cursor{Seq: m.Seq, Mark: m.Mark, Log: c.log})
}

func (c *modelSub) events(m *Events) {
	for _, e := range m.Events {
		if !c.linked(&e) {
			return
		}
	}
}

// linked applies an event if it is the next one of its stream, and else asks for what is missing.
func (c *modelSub) linked(e *store.Event) bool {
	last, known := c.chain[e.Stream]
	if known && e.Prev != last || !known && e.Prev > c.base {
		back := c.base
		if known {
			back = last
		}
		c.resubscribe = &back
		if c.cursor != nil && back < c.cursor.Seq {
			// What lies between may be missing: whoever is cut off now must begin there.
			c.cursor = &store.Cursor{Seq: back, Mark: modelMark(back), Log: c.log}
		}
		return false
	}
	c.chain[e.Stream] = e.Seq
	if e.Seq > c.done[e.Stream] {
		c.done[e.Stream] = e.Seq
		c.apply(e)
	}
	return true
}

// modelMark is the id of the event at a seq: the vectors number their ids so.
func modelMark(seq store.Seq) (id store.ID) {
	id, _ = store.ParseID("0192a0b1-0000-7000-8000-000000000000")
	id[14], id[15] = byte(seq>>8), byte(seq)
	return id
}

func (c *modelSub) apply(e *store.Event) {
	c.applied = append(c.applied, e.Seq)
	docs := c.docs
	if c.fresh != nil {
		docs = c.fresh
	}
	foldModel(docs, e)
	at := store.Cursor{Seq: e.Seq, Mark: e.ID, Log: c.log}
	switch {
	case c.fresh == nil:
		c.move(at)
	case c.upto != nil && e.Seq >= *c.upto:
		c.complete(at)
	}
}

func docName(stream store.Stream, key string) string {
	if stream == "" {
		return key
	}
	return string(stream) + " " + key
}

func foldModel(docs map[string]modelDoc, e *store.Event) {
	name := docName(e.Stream, e.Key)
	old, ok := docs[name]
	if ok && e.Seq <= old.Seq {
		return
	}
	switch e.Op {
	case store.OpPut:
		docs[name] = modelDoc{e.Seq, json.RawMessage(e.Data)}
	case store.OpPatch:
		data, _ := store.MergePatch(nil, old.Data, e.Data)
		docs[name] = modelDoc{e.Seq, data}
	case store.OpDelete:
		delete(docs, name)
	}
}

func (c *modelSub) reset(m *Reset) {
	c.forget()
	c.cursor = nil
	c.begin(m.Floor)
	if c.from == FromStart {
		c.cursor = &store.Cursor{Seq: m.Floor, Log: m.Log}
	}
	c.log = m.Log
}

// forget drops the confirmed state.
func (c *modelSub) forget() {
	c.docs, c.fresh, c.upto = nil, nil, nil
	c.done = map[store.Stream]store.Seq{}
}

func (c *modelSub) snapshot(m *Snapshot) {
	if c.fresh == nil {
		c.forget()
		c.begin(m.Seq)
		c.fresh = map[string]modelDoc{}
	}
	for _, d := range m.Docs {
		c.fresh[docName(d.Stream, d.Key)] = modelDoc{d.Seq, json.RawMessage(d.Data)}
	}
	if m.Done {
		c.upto = &m.Upto
		if m.Upto <= m.Seq {
			c.complete(store.Cursor{Seq: m.Seq, Mark: m.Mark, Log: c.log})
		}
	}
}

// complete shows the documents of a snapshot, and sets the cursor with them.
func (c *modelSub) complete(at store.Cursor) {
	c.docs, c.fresh, c.upto = c.fresh, nil, nil
	c.cursor = &at
}

// cut is what a lost connection leaves: what was persisted.
func (c *modelSub) cut() {
	c.fresh, c.upto, c.live = nil, nil, false
	c.applied, c.resubscribe = []store.Seq{}, nil
}

type cursorVector struct {
	Seq  store.Seq `json:"seq"`
	Mark string    `json:"mark,omitempty"`
	Log  string    `json:"log,omitempty"`
}

type rulesVector struct {
	Name  string
	Log   string
	Start struct {
		Stream  string
		From    string
		Cursor  *cursorVector
		Docs    map[string]modelDoc
		Applied store.Seq
	}
	Steps []struct {
		Frame     json.RawMessage
		Reconnect bool
		Want      map[string]json.RawMessage
	}
}

// compactJSON makes a text as a server would have sent it.
func compactJSON(t testing.TB, text []byte) []byte {
	t.Helper()
	out, _, err := store.CompactValue(nil, text)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func mustID(t testing.TB, s string) store.ID {
	t.Helper()
	if s == "" {
		return store.ID{}
	}
	id, err := store.ParseID(s)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func (v *rulesVector) model(t *testing.T) *modelSub {
	c := &modelSub{log: mustID(t, v.Log), docs: map[string]modelDoc{}, done: map[store.Stream]store.Seq{}}
	c.from = From(max(0, slices.Index(fromNames[:], v.Start.From)))
	if cur := v.Start.Cursor; cur != nil {
		c.cursor = &store.Cursor{Seq: cur.Seq, Mark: mustID(t, cur.Mark), Log: mustID(t, cur.Log)}
	} else {
		c.docs = nil
	}
	for key, d := range v.Start.Docs {
		c.docs[key] = modelDoc{d.Seq, compactJSON(t, d.Data)}
	}
	if v.Start.Applied != 0 {
		c.done[""] = v.Start.Applied
	}
	return c
}

func TestVectorsClientRules(t *testing.T) {
	for _, v := range vectors[rulesVector](t, "client-rules.json") {
		t.Run(v.Name, func(t *testing.T) {
			c := v.model(t)
			for i, step := range v.Steps {
				if step.Reconnect {
					c.cut()
				} else {
					m, err := DecodeServer(compactJSON(t, step.Frame))
					if err != nil {
						t.Fatalf("step %d: %v", i, err)
					}
					c.receive(m)
				}
				checkStep(t, i, c, step.Want)
			}
		})
	}
}

func checkStep(t *testing.T, step int, c *modelSub, want map[string]json.RawMessage) {
	t.Helper()
	for name, w := range want {
		got, known := map[string]any{
			"cursor": c.cursorVector(), "live": c.live, "docs": c.docsVector(), "applied": c.applied, "resubscribe": c.resubscribe,
		}[name]
		text, err := json.Marshal(got)
		if !known || err != nil {
			t.Fatalf("step %d: %s: %v", step, name, err)
		}
		if !reflect.DeepEqual(parseJSON(t, text), parseJSON(t, w)) {
			t.Errorf("step %d: %s is %s, want %s", step, name, text, w)
		}
	}
	if _, ok := want["resubscribe"]; !ok && c.resubscribe != nil {
		t.Errorf("step %d: subscribes again from %d", step, *c.resubscribe)
	}
}

func (c *modelSub) cursorVector() *cursorVector {
	if c.cursor == nil {
		return nil
	}
	v := &cursorVector{Seq: c.cursor.Seq}
	if !c.cursor.Mark.IsZero() {
		v.Mark = c.cursor.Mark.String()
	}
	if !c.cursor.Log.IsZero() {
		v.Log = c.cursor.Log.String()
	}
	return v
}

func (c *modelSub) docsVector() map[string]json.RawMessage {
	if c.docs == nil {
		return nil
	}
	docs := map[string]json.RawMessage{}
	for k, d := range c.docs {
		docs[k] = d.Data
	}
	return docs
}
