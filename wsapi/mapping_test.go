package wsapi

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"tidemark/internal/wire"
	"tidemark/store"
	eventsync "tidemark/sync"
)

// fill gives every field of a value something that is not its zero value, another thing each.
func fill(v reflect.Value, n *int) {
	*n++
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n)
	case reflect.Struct:
		if f, ok := v.Addr().Interface().(*store.Filter); ok {
			*f, _ = store.ParseFilter("room/**")
			return
		}
		for _, field := range v.Fields() {
			fill(field, n)
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			v.SetBytes([]byte("12"))
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), n)
	case reflect.Array: // an id
		v.Index(0).SetUint(uint64(*n))
	case reflect.String:
		v.SetString("1" + strings.Repeat("0", *n%7))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(*n))
	case reflect.Uint64, reflect.Uint8:
		v.SetUint(uint64(*n))
	}
}

// TestRepliesAreWhole encodes every reply with all its fields, and finds all of them in what a client decodes.
func TestRepliesAreWhole(t *testing.T) {
	enc := NewEncoder(eventsync.Limits{})
	for _, r := range []eventsync.Reply{
		&eventsync.Welcome{}, &eventsync.Subscribed{}, &eventsync.Unsubscribed{}, &eventsync.Live{}, &eventsync.Reset{},
		&eventsync.Snapshot{}, &eventsync.Signal{}, &eventsync.Presence{}, &eventsync.Pong{}, &eventsync.Authenticated{},
		&eventsync.Error{}, &eventsync.Goodbye{},
	} {
		n := 0
		fill(reflect.ValueOf(r).Elem(), &n)
		if e, ok := r.(*eventsync.Error); ok {
			e.Code = store.CodeForbidden
		}
		if d, ok := r.(*eventsync.Snapshot); ok {
			d.Docs[0].Stream, d.Docs[0].Data = "a", []byte(`{"b":1}`)
		}
		m, err := wire.DecodeServer(enc.AppendReply(nil, r))
		if err != nil {
			t.Errorf("%T: %v", r, err)
			continue
		}
		if want := wireReply(r); !reflect.DeepEqual(m, want) {
			t.Errorf("%T: %+v, want %+v", r, m, want)
		}
		compareFields(t, reflect.ValueOf(r).Elem(), reflect.ValueOf(m).Elem())
	}
}

// compareFields wants the fields of one struct in the other, by name.
func compareFields(t *testing.T, from, to reflect.Value) {
	t.Helper()
	for i := range from.NumField() {
		name := from.Type().Field(i).Name
		f := to.FieldByName(name)
		if !f.IsValid() {
			t.Errorf("%s.%s is lost", from.Type(), name)
			continue
		}
		a, _ := json.Marshal(from.Field(i).Interface())
		b, _ := json.Marshal(f.Interface())
		if string(a) != string(b) {
			t.Errorf("%s.%s is %s, want %s", from.Type(), name, b, a)
		}
	}
}

// vectorText is a text of the vectors: a string, or a list of pieces (testdata/protocol/README.md).
type vectorText []byte

func (v *vectorText) UnmarshalJSON(text []byte) error {
	var s string
	if err := json.Unmarshal(text, &s); err == nil {
		*v = []byte(s)
		return nil
	}
	var pieces []json.RawMessage
	if err := json.Unmarshal(text, &pieces); err != nil {
		return err
	}
	for _, p := range pieces {
		var piece struct {
			Repeat, Hex string
			Times       int
		}
		if json.Unmarshal(p, &s) == nil {
			*v = append(*v, s...)
			continue
		}
		if err := json.Unmarshal(p, &piece); err != nil {
			return err
		}
		raw, err := hex.DecodeString(piece.Hex)
		if err != nil {
			return err
		}
		*v = append(append(*v, raw...), strings.Repeat(piece.Repeat, piece.Times)...)
	}
	return nil
}

// TestMessagesAreWhole decodes every message of the protocol's vectors into what the engine is told, and finds all of its
// fields there. What was decoded is the same after gws's buffer was used for something else.
func TestMessagesAreWhole(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "testdata", "protocol", "client-messages.json"))
	check(t, err)
	var file struct {
		Cases []struct {
			Name  string
			Frame vectorText
		}
	}
	check(t, json.Unmarshal(text, &file))
	seen := map[string]bool{}
	for _, c := range file.Cases {
		frame := []byte(c.Frame)
		limits := wire.Limits{}.WithDefaults()
		ours, theirs, again := wire.Decoder{Limits: limits}, wire.Decoder{Limits: limits}, wire.Decoder{Limits: limits}
		want, fault := theirs.Decode(append([]byte(nil), frame...))
		pristine := decode(&again, append([]byte(nil), frame...))
		got := decode(&ours, frame)
		for i := range frame {
			frame[i] = '!'
		}
		if !reflect.DeepEqual(got, pristine) {
			t.Errorf("%s: %+v changed with the buffer", c.Name, got)
		}
		seen[reflect.TypeOf(got).Elem().Name()] = true
		switch got := got.(type) {
		case *eventsync.Bad:
			if fault == nil || got.Error.Code != fault.Code || string(got.Error.Ref) != string(fault.Ref) || got.Error.Sub != fault.Sub {
				t.Errorf("%s: %+v, want %+v", c.Name, got, fault)
			}
		case *eventsync.Push:
			if p := want.(*wire.Push); string(got.Ref) != string(p.Ref) || !reflect.DeepEqual(got.Store, &p.Push) || !reflect.DeepEqual(got.Edge, p) {
				t.Errorf("%s: %+v", c.Name, got)
			}
		case *eventsync.Hello:
			compareHello(t, c.Name, got, want.(*wire.Hello))
		default:
			compareFields(t, reflect.ValueOf(got).Elem(), reflect.ValueOf(want).Elem())
		}
	}
	if len(seen) < 9 {
		t.Errorf("the vectors have only %v", seen)
	}
}

func compareHello(t *testing.T, name string, got *eventsync.Hello, want *wire.Hello) {
	t.Helper()
	if len(got.Subs) != len(want.Subs) {
		t.Fatalf("%s: %d subscriptions, want %d", name, len(got.Subs), len(want.Subs))
	}
	for i := range got.Subs {
		g, w := got.Subs[i], want.Subs[i]
		if (g.Fault == nil) != (w.Fault == nil) || g.Fault != nil && g.Fault.Code != w.Fault.Code {
			t.Errorf("%s: %v, want %v", name, g.Fault, w.Fault)
		}
		g.Fault, w.Fault = nil, nil
		compareFields(t, reflect.ValueOf(g), reflect.ValueOf(w))
	}
	g := *got
	g.Subs = nil
	w := *want
	w.Subs = nil
	compareFields(t, reflect.ValueOf(g), reflect.ValueOf(w))
}

// TestCloses maps every end of the engine's to a close code of the protocol.
func TestCloses(t *testing.T) {
	seen := map[uint16]bool{}
	for end := eventsync.EndShutdown; end <= eventsync.EndUpgrade; end++ {
		c := closeOf(end)
		if c.Code == 0 || seen[c.Code] || c.Reason == "" {
			t.Errorf("%d: %+v", end, c)
		}
		seen[c.Code] = true
	}
}
