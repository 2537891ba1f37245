package cli

import (
	"bufio"
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"tidemark/store"
)

// hostile is a text that would clear the screen, set a title, hide what comes before it and turn what comes after it around.
const hostile = "\u009b2J\u009d0;title\u009c \u202egnp.exe \u2066\u200f\u061c\u2028 \u007f end"

// TestTerminalIsNotCommanded: whatever stands in names and data, no command prints a character that a terminal obeys.
func TestTerminalIsNotCommanded(t *testing.T) {
	text := []byte("{\n\t\"a\": \"" + hostile + "\"}")
	ev := store.Event{Seq: 1, Stream: "s\u202e", Type: "t\u2066", Key: "k" + hostile, By: "b" + hostile, Data: text, Op: store.OpPut}
	doc := store.Doc{Key: "k" + hostile, Seq: 1, Data: text}
	for _, asJSON := range []bool{false, true} {
		var out bytes.Buffer
		tail := &tailPrinter{cmd: &tailCmd{JSON: asJSON}, out: bufio.NewWriter(&out)}
		if err := tail.events([]store.Event{ev, ev}); err != nil {
			t.Fatal(err)
		}
		w := bufio.NewWriter(&out)
		docs := &docsCmd{JSON: asJSON}
		docs.print(w, &doc)
		docs.printOne(w, &doc)
		streams := &streamsCmd{JSON: asJSON}
		streams.print(w, &store.StreamInfo{Stream: "s\u202e", Head: 1, Count: 1})
		w.Flush()
		checkLines(t, out.String(), 5, asJSON)
	}
	var out bytes.Buffer
	sys := &system{err: &out}
	sys.exit(&store.Refusal{Code: "x", Message: hostile})
	printReport(&out, store.Report{Problems: []store.Problem{{Invariant: "chain", Detail: hostile}}})
	checkLines(t, out.String(), 4, false)
}

func checkLines(t *testing.T, out string, want int, asJSON bool) {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	if len(lines) != want {
		t.Errorf("%d lines, not %d: %q", len(lines), want, out)
	}
	for _, line := range lines {
		for _, r := range line {
			if unicode.Is(unicode.Cc, r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' {
				t.Errorf("%U in %q", r, line)
			}
		}
		if asJSON && !json.Valid([]byte(line)) {
			t.Errorf("not JSON: %s", line)
		}
	}
}

// FuzzPlainJSON: what is printed is one line of JSON, and of the same value.
func FuzzPlainJSON(f *testing.F) {
	for _, seed := range []string{`{"a":"` + hostile + `"}`, "[1,\r\n\t\"é😀\"]", `"\u009b"`, "\"\\\\\u0085\"", `"a\/b"`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if !json.Valid(text) || !utf8.Valid(text) {
			return
		}
		line := appendPlainJSON(nil, text)
		var was, is any
		if err := json.Unmarshal(text, &was); err != nil {
			return // a number that is too large for this test
		}
		if err := json.Unmarshal(line, &is); err != nil || !reflect.DeepEqual(was, is) {
			t.Errorf("%q became %q: %v", text, line, err)
		}
		for _, r := range string(line) {
			if obeyed(r) {
				t.Errorf("%U in %q", r, line)
			}
		}
	})
}
