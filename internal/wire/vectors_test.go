package wire

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"tidemark/store"
)

// vectors reads one file of testdata/protocol; its README.md explains the format.
func vectors[T any](t testing.TB, name string) []T {
	t.Helper()
	var file struct {
		About string
		Cases []T
	}
	text, err := os.ReadFile(filepath.Join("..", "..", "testdata", "protocol", name))
	if err != nil {
		t.Fatal(err)
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&file); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if len(file.Cases) == 0 || file.About == "" {
		t.Fatalf("%s has no cases", name)
	}
	return file.Cases
}

// vectorText is a text, or a list of pieces: texts, repetitions and bytes.
type vectorText []byte

func (v *vectorText) UnmarshalJSON(text []byte) error {
	var pieces []json.RawMessage
	if text[0] != '[' {
		pieces = []json.RawMessage{text}
	} else if err := json.Unmarshal(text, &pieces); err != nil {
		return err
	}
	for _, p := range pieces {
		var piece struct {
			Repeat, Hex string
			Times       int
		}
		if p[0] == '"' {
			piece.Times = 1
			if err := json.Unmarshal(p, &piece.Repeat); err != nil {
				return err
			}
		} else if err := json.Unmarshal(p, &piece); err != nil {
			return err
		}
		raw, err := hex.DecodeString(piece.Hex)
		if err != nil {
			return err
		}
		*v = append(append(*v, strings.Repeat(piece.Repeat, piece.Times)...), raw...)
	}
	return nil
}

// vectorError is an error as far as vectors tell: texts for people are not part of the protocol.
type vectorError struct {
	Code string          `json:"code"`
	Ref  json.RawMessage `json:"ref,omitempty"`
	Sub  uint64          `json:"sub,omitempty"`
}

func checkError(t *testing.T, got *Error, want *vectorError) {
	t.Helper()
	switch {
	case got == nil && want == nil:
	case got == nil:
		t.Errorf("no error, want %s", want.Code)
	case want == nil:
		t.Errorf("error %v, want none", got)
	case string(got.Code) != want.Code || string(got.Ref) != string(want.Ref) || got.Sub != want.Sub:
		t.Errorf("error %s, ref %s, sub %d (%s); want %s, ref %s, sub %d", got.Code, got.Ref, got.Sub, got.Message, want.Code, want.Ref, want.Sub)
	}
}

type clientVector struct {
	Name     string
	Frame    vectorText
	Limits   struct{ Mutations, Data int }
	Means    *vectorText
	Error    *vectorError
	Subs     []*vectorError
	Verdicts []*string
	IDs      []*string
}

func TestVectorsClientMessages(t *testing.T) {
	for _, v := range vectors[clientVector](t, "client-messages.json") {
		t.Run(v.Name, func(t *testing.T) {
			d := Decoder{Limits: Limits{Mutations: v.Limits.Mutations, Data: v.Limits.Data}.WithDefaults()}
			frame := bytes.Clone(v.Frame)
			m, fault := d.Decode(frame)
			checkError(t, fault, v.Error)
			if !bytes.Equal(frame, v.Frame) {
				t.Error("the frame was changed")
			}
			if fault != nil {
				return
			}
			clear(frame) // nothing of m may still point there
			if v.Means != nil {
				checkSameJSON(t, m.Append(nil), *v.Means)
			}
			checkParts(t, m, &v)
		})
	}
}

// checkParts compares what is judged apart from the message as a whole.
func checkParts(t *testing.T, m Message, v *clientVector) {
	if h, ok := m.(*Hello); ok && v.Subs != nil {
		if len(h.Subs) != len(v.Subs) {
			t.Fatalf("%d subs, want %d", len(h.Subs), len(v.Subs))
		}
		for i, s := range h.Subs {
			checkError(t, s.Fault, v.Subs[i])
		}
	}
	p, ok := m.(*Push)
	if !ok {
		return
	}
	if v.Verdicts == nil {
		v.Verdicts = make([]*string, len(p.Mutations))
	}
	if len(p.Mutations) != len(v.Verdicts) || p.Refused != nil && len(p.Refused) != len(p.Mutations) {
		t.Fatalf("%d mutations, %d refusals, want %d", len(p.Mutations), len(p.Refused), len(v.Verdicts))
	}
	for i, want := range v.Verdicts {
		var got *store.Refusal
		if p.Refused != nil {
			got = p.Refused[i]
		}
		if (got == nil) != (want == nil) || got != nil && string(got.Code) != *want {
			t.Errorf("mutation %d: verdict %v, want %v", i, got, deref(want))
		}
		if v.IDs != nil {
			checkID(t, p.Mutations[i].ID, v.IDs[i])
		}
	}
}

func checkID(t *testing.T, got store.ID, want *string) {
	t.Helper()
	if (want == nil) != got.IsZero() || want != nil && got.String() != *want {
		t.Errorf("id %s, want %v", got, deref(want))
	}
}

func deref(s *string) string {
	if s == nil {
		return "none"
	}
	return *s
}

// checkSameJSON compares two texts as JSON, numbers by their digits and the order of members aside.
func checkSameJSON(t *testing.T, got, want []byte) {
	t.Helper()
	if !reflect.DeepEqual(parseJSON(t, got), parseJSON(t, want)) {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func parseJSON(t testing.TB, text []byte) (v any) {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	if err := dec.Decode(&v); err != nil {
		t.Fatalf("%.200q: %v", text, err)
	}
	return v
}
