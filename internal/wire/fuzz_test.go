package wire

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"unicode/utf8"

	"tidemark/store"
)

// maxStdDepth is how deep encoding/json reads; this package has no such limit.
const maxStdDepth = 10000

func tooDeepForStd(text []byte) bool {
	return bytes.Count(text, []byte("["))+bytes.Count(text, []byte("{")) > maxStdDepth
}

// FuzzScanner compares what the scanner takes for JSON with encoding/json, and with the standard's idea of UTF-8.
func FuzzScanner(f *testing.F) {
	f.Fuzz(func(t *testing.T, text []byte) {
		if tooDeepForStd(text) {
			return
		}
		s := scanner{src: text}
		s.skip()
		if got, want := s.atEnd(), json.Valid(text); got != want {
			t.Errorf("%q: JSON %v, encoding/json says %v", text, got, want)
		} else if got && s.badUTF == utf8.Valid(text) {
			t.Errorf("%q: bad UTF-8 %v", text, s.badUTF)
		}
	})
}

// FuzzDecodeClient decodes frames of hostile clients.
func FuzzDecodeClient(f *testing.F) {
	f.Fuzz(func(t *testing.T, frame []byte) { checkClientFrame(t, frame) })
}

func checkClientFrame(t *testing.T, frame []byte) {
	limits := Limits{Data: 1000, Mutations: 20}.WithDefaults()
	before := bytes.Clone(frame)
	m, fault := (&Decoder{Limits: limits}).Decode(frame)
	switch {
	case !bytes.Equal(frame, before):
		t.Fatalf("%q was changed to %q", before, frame)
	case (m == nil) == (fault == nil):
		t.Fatalf("%q: message %v, fault %v", frame, m, fault)
	case fault != nil:
		checkFault(t, frame, fault)
		return
	}
	if !tooDeepForStd(frame) {
		checkAgainstStd(t, frame, m)
	}
	text := m.Append(nil)
	if p, ok := m.(*Push); ok && p.Refused != nil {
		return // what was refused may have no form of its own
	}
	again, fault := (&Decoder{Limits: limits}).Decode(text)
	if fault != nil {
		t.Fatalf("%q became %q: %v", before, text, fault)
	}
	if other := again.Append(nil); !bytes.Equal(text, other) {
		t.Errorf("%q became %q, then %q", before, text, other)
	}
}

// checkFault checks that the answer to a bad message is a frame that a client can read.
func checkFault(t *testing.T, frame []byte, fault *Error) {
	t.Helper()
	m, err := DecodeServer(fault.Append(nil))
	if err != nil {
		t.Fatalf("%q: answer %q: %v", frame, fault.Append(nil), err)
	}
	if got := m.(*Error); got.Code != fault.Code || got.Ref != fault.Ref || got.Sub != fault.Sub {
		t.Errorf("%q: answer %+v, read as %+v", frame, fault, got)
	}
	if !json.Valid(frame) && fault.Code != store.CodeBadMessage && !tooDeepForStd(frame) {
		t.Errorf("%q is not JSON, but the fault is %v", frame, fault)
	}
}

// checkAgainstStd compares an accepted message with what encoding/json reads.
func checkAgainstStd(t *testing.T, frame []byte, m Message) {
	t.Helper()
	if !json.Valid(frame) {
		t.Fatalf("%q is not JSON", frame)
	}
	std := parseJSON(t, frame).(map[string]any)
	if p, ok := m.(*Push); ok {
		muts := std["mutations"].([]any)
		if len(muts) != len(p.Mutations) {
			t.Fatalf("%q: %d mutations", frame, len(p.Mutations))
		}
		for i := range muts {
			if p.Refused == nil || p.Refused[i] == nil {
				checkMutationStd(t, &p.Mutations[i], muts[i].(map[string]any))
			}
		}
		return
	}
	plain := parseJSON(t, m.Append(nil)).(map[string]any)
	for name, got := range plain {
		if want, ok := std[name]; ok && name != "subs" {
			checkSameJSON(t, marshal(t, got), marshal(t, want))
		}
	}
}

func checkMutationStd(t *testing.T, m *store.Mutation, std map[string]any) {
	t.Helper()
	text := func(name string) string { s, _ := std[name].(string); return s }
	if m.ID.String() != text("id") || m.Key != text("key") || m.Op.String() != text("op") {
		t.Errorf("%+v, want %v", m, std)
	}
	if want := text("type"); m.Type != want && !(m.Type == "" && want == text("op")) {
		t.Errorf("type %q, want %q", m.Type, want)
	}
	if data, ok := std["data"]; ok != (m.Data != nil) {
		t.Errorf("data %q, want %v", m.Data, data)
	} else if ok {
		checkSameJSON(t, m.Data, marshal(t, data))
	}
	if n, ok := std["expect"].(json.Number); ok && m.Expect.Seq.String() != n.String() {
		t.Errorf("expect %d, want %s", m.Expect.Seq, n)
	}
}

func marshal(t testing.TB, v any) []byte {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// FuzzDecodeServer decodes frames of a hostile or broken server, in full and cheaply.
func FuzzDecodeServer(f *testing.F) {
	f.Fuzz(func(t *testing.T, frame []byte) {
		m, err := DecodeServer(frame)
		if scan, ok := ScanEvents(frame); ok {
			checkScan(t, &scan, m, err)
		}
		if err != nil {
			return
		}
		if !tooDeepForStd(frame) && !json.Valid(frame) {
			t.Fatalf("%q is not JSON", frame)
		}
		if _, unknown := m.(*Unknown); unknown {
			return
		}
		text := m.Append(nil)
		again, err := DecodeServer(text)
		if err != nil {
			t.Fatalf("%q became %q: %v", frame, text, err)
		}
		if other := again.Append(nil); !bytes.Equal(text, other) {
			t.Errorf("%q became %q, then %q", frame, text, other)
		}
	})
}

// FuzzHTTP decodes every body, answer and id of the HTTP side.
func FuzzHTTP(f *testing.F) {
	f.Fuzz(func(t *testing.T, text []byte, lines bool) {
		o := BodyOptions{Stream: "room/1", ID: store.ID{1}, Lines: lines, Limits: Limits{Data: 1000, Mutations: 20}.WithDefaults()}
		p, single, fault := DecodeBody(text, o)
		switch {
		case (p == nil) == (fault == nil):
			t.Fatalf("%q: %v, %v", text, p, fault)
		case p != nil && (len(p.Mutations) == 0 || single && (lines || len(p.Mutations) != 1)):
			t.Fatalf("%q: single %v, %d mutations", text, single, len(p.Mutations))
		case single && !tooDeepForStd(text) && !json.Valid(text):
			t.Fatalf("%q is not JSON", text)
		}
		if c, fault := ParseEventID(string(text)); fault == nil && !c.Log.IsZero() && string(AppendEventID(nil, c)) != string(text) {
			t.Errorf("%q read as %+v", text, c)
		}
		if page, err := DecodeEventsPage(text); err == nil {
			if _, err := DecodeEventsPage(page.Append(nil)); err != nil {
				t.Errorf("%q became %q: %v", text, page.Append(nil), err)
			}
		}
		DecodeResults(text)
		DecodeDocsPage(text)
		DecodeDoc(text)
		DecodeStreams(text)
		DecodeErrorBody(text)
		DecodeEvent(text)
	})
}

// FuzzString compares texts that were written with what encoding/json reads.
func FuzzString(f *testing.F) {
	f.Fuzz(func(t *testing.T, text string) {
		var got string
		quoted := AppendString(nil, text)
		if err := json.Unmarshal(quoted, &got); err != nil {
			t.Fatalf("%q became %q: %v", text, quoted, err)
		}
		if want := string(bytes.ToValidUTF8([]byte(text), []byte("\uFFFD"))); utf8.ValidString(text) && got != want {
			t.Errorf("%q became %q", text, got)
		}
		s := scanner{src: quoted}
		if mine, ok := s.text("it"); !ok || string(mine) != got || !s.atEnd() || s.badUTF {
			t.Errorf("%q read as %q", quoted, mine)
		}
	})
}

// FuzzEvent writes events and reads them again, with encoding/json too.
func FuzzEvent(f *testing.F) {
	f.Fuzz(func(t *testing.T, seq, at uint64, typ, key, by string, data []byte, wide bool) {
		e := store.Event{
			Seq: store.Seq(seq)&store.MaxSeq | 1, At: int64(at & uint64(store.MaxSeq)), ID: store.ID{1, 2, 3}, By: by,
			Type: "t" + typ, Key: key, Op: store.Op(seq % 4), Data: data, Flags: store.FlagBytes,
		}
		if compact, rest, err := store.CompactValue(nil, data); err == nil && len(rest) == 0 {
			e.Data, e.Flags = compact, 0
		}
		if wide {
			e.Stream = "room/1"
		}
		text := AppendEvent(nil, &e, wide)
		std := parseJSON(t, text).(map[string]any)
		if std["type"] != e.Type && utf8.ValidString(typ) || std["seq"].(json.Number).String() != e.Seq.String() {
			t.Errorf("%s is not %+v", text, e)
		}
		again, err := DecodeEvent(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if !bytes.Equal(AppendEvent(nil, &again, wide), text) || !bytes.Equal(again.Data, e.Data) || again.Flags != e.Flags {
			t.Errorf("%s became %+v", text, again)
		}
	})
}

// TestFuzzSeeds fails when a fuzz target has no committed seeds: without them it tests nothing in CI.
func TestFuzzSeeds(t *testing.T) {
	source, err := os.ReadFile("fuzz_test.go")
	if err != nil {
		t.Fatal(err)
	}
	targets := regexp.MustCompile(`(?m)^func (Fuzz\w+)\(`).FindAllSubmatch(source, -1)
	if len(targets) == 0 {
		t.Error("no fuzz target found")
	}
	for _, m := range targets {
		dir := filepath.Join("testdata", "fuzz", string(m[1]))
		if seeds, err := os.ReadDir(dir); err != nil || len(seeds) < 5 {
			t.Errorf("%d seeds in %s, want at least 5 (%v)", len(seeds), dir, err)
		}
	}
}
