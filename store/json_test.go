package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

func compact(t testing.TB, text string) []byte {
	t.Helper()
	out, rest, err := CompactValue(nil, []byte(text))
	if err != nil || len(bytes.TrimSpace(rest)) > 0 {
		t.Fatalf("CompactValue(%.100q): rest %.20q, error %v", text, rest, err)
	}
	return out
}

func TestCompactValue(t *testing.T) {
	for _, c := range []struct{ in, out, rest string }{
		{`1`, `1`, ``},
		{" \t\r\n[ 1 ,\n2 ] \n,3", `[1,2]`, " \n,3"},
		{`{ "a" : { } , "b" : [ ] }x`, `{"a":{},"b":[]}`, `x`},
		{`1.50e+07 `, `1.50e+07`, ` `},
		{`-0`, `-0`, ``},
		{`0.1000000000000000055511151231257827`, `0.1000000000000000055511151231257827`, ``},
		{`01`, `0`, `1`},
		{`true,`, `true`, `,`},
		{`nullnull`, `null`, `null`},
		{`" a  b "`, `" a  b "`, ``},
		{`"\ud800\u0041\/\\\"\b\f\n\r\t"`, `"\ud800\u0041\/\\\"\b\f\n\r\t"`, ``},
		{`"grüße 🌊 ` + "\u007f\u2028" + `"`, `"grüße 🌊 ` + "\u007f\u2028" + `"`, ``},
		{`"seven77" `, `"seven77"`, ` `},
		{`["a", "bbbbbbbbbbbbbbbb" , "\""]`, `["a","bbbbbbbbbbbbbbbb","\""]`, ``},
	} {
		out, rest, err := CompactValue([]byte("kept"), []byte(c.in))
		if err != nil || string(out) != "kept"+c.out || string(rest) != c.rest {
			t.Errorf("CompactValue(%q) = %q, %q, %v; want %q, %q", c.in, out, rest, err, "kept"+c.out, c.rest)
		}
	}
}

func TestCompactValueRefuses(t *testing.T) {
	for _, c := range []struct {
		in string
		at int
	}{
		{``, 0}, {` `, 1}, {`x`, 0}, {`,`, 0}, {`]`, 0}, {`tru`, 3}, {`trux`, 3}, {`NaN`, 0}, {`'a'`, 0},
		{`-`, 1}, {`-x`, 1}, {`1.`, 2}, {`1.x`, 2}, {`1e`, 2}, {`1e+`, 3}, {`.5`, 0}, {`+1`, 0},
		{`"abc`, 4}, {`"`, 1}, {"\"a\nb\"", 2}, {"\"12345678\x00\"", 9}, {`"\x"`, 2}, {`"\u12g4"`, 5}, {`"\u12`, 5}, {`"\`, 2},
		{`{`, 1}, {`{"a"`, 4}, {`{"a":`, 5}, {`{"a":1`, 6}, {`{"a":1,`, 7}, {`{"a":1,}`, 7}, {`{a:1}`, 1}, {`{"a" 1}`, 5}, {`{"a":1]`, 6}, {`{1:2}`, 1},
		{`[`, 1}, {`[1`, 2}, {`[1,`, 3}, {`[1,]`, 3}, {`[1}`, 2}, {`[1 2]`, 3}, {`[,1]`, 1},
		{"\"\xff\"", 1}, {"[\"aaaaaaaa\",\"\xc3\"]", 13}, {"\"\xed\xa0\x80\"", 1}, {"\"\xc0\x80\"", 1}, {"\"\xf4\x90\x80\x80\"", 1},
		{"\xef\xbb\xbf1", 0}, {"1\u00a0", -1}, {"[1\u00a0]", 2},
	} {
		dst := []byte("kept")
		out, rest, err := CompactValue(dst, []byte(c.in))
		if c.at < 0 {
			if err != nil {
				t.Errorf("CompactValue(%q): %v", c.in, err)
			}
			continue
		}
		var je *JSONError
		if !errors.As(err, &je) || je.Offset != c.at || string(out) != "kept" || string(rest) != c.in {
			t.Errorf("CompactValue(%q) = %q, %q, %v; want an error at byte %d", c.in, out, rest, err, c.at)
		}
	}
}

func TestCompactValueDepth(t *testing.T) {
	for _, open := range []string{`[`, `{"a":`, `[{"a":`} {
		each := strings.Count(open, "[") + strings.Count(open, "{")
		closing := strings.NewReplacer(`[`, `]`, `{"a":`, `}`).Replace(open)
		if open == `[{"a":` {
			closing = `}]`
		}
		deep := func(n int) string { return strings.Repeat(open, n) + "1" + strings.Repeat(closing, n) }
		compact(t, deep(MaxDepth/each))
		if _, _, err := CompactValue(nil, []byte(deep(MaxDepth/each+1))); err == nil {
			t.Errorf("%s… nested %d deep is accepted", open, MaxDepth+each)
		}
	}
	if _, _, err := CompactValue(nil, bytes.Repeat([]byte("["), 1<<20)); err == nil {
		t.Error("a million brackets are accepted")
	}
}

// TestCompactValueStops puts what ends a run of plain bytes at every place of a word.
func TestCompactValueStops(t *testing.T) {
	for n := range 20 {
		run := strings.Repeat("~", n)
		compact(t, `"`+run+`"`)
		compact(t, `"`+run+`\n`+run+`"`)
		compact(t, `"`+run+`é`+run+`"`)
		for _, bad := range []string{"\x00", "\x1f", "\xff", "\\", "\\q", "\xc3"} {
			if _, _, err := CompactValue(nil, []byte(`"`+run+bad+`"`)); err == nil {
				t.Errorf("%q after %d bytes is accepted", bad, n)
			}
		}
	}
}

// checkCompact compares CompactValue with encoding/json on any input.
func checkCompact(t *testing.T, in []byte) {
	t.Helper()
	before := bytes.Clone(in)
	out, rest, err := CompactValue(nil, in)
	if !bytes.Equal(in, before) {
		t.Fatalf("CompactValue(%q) changed its input", before)
	}
	ok := err == nil && len(bytes.Trim(rest, " \t\r\n")) == 0
	if want := json.Valid(in) && utf8.Valid(in) && jsonDepth(in) <= MaxDepth; ok != want {
		t.Fatalf("CompactValue(%q): valid %v (%v), want %v", in, ok, err, want)
	}
	if !ok {
		return
	}
	var want bytes.Buffer
	if err := json.Compact(&want, in); err != nil || !bytes.Equal(out, want.Bytes()) {
		t.Fatalf("CompactValue(%q) = %q, want %q (%v)", in, out, want.Bytes(), err)
	}
	if end := skipValue(out, 0); end != len(out) {
		t.Fatalf("skipValue(%q) = %d, want %d", out, end, len(out))
	}
}

// jsonDepth returns how deep valid JSON nests.
func jsonDepth(in []byte) (deepest int) {
	depth, dec := 0, json.NewDecoder(bytes.NewReader(in))
	for {
		tok, err := dec.Token()
		if err != nil {
			return deepest
		}
		switch tok {
		case json.Delim('{'), json.Delim('['):
			depth++
			deepest = max(deepest, depth)
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
	}
}

func TestCompactValueAgainstEncodingJSON(t *testing.T) {
	for seed := range seeds(2000) {
		g := newJSONGen(seed)
		text := g.spaced(g.value(6))
		checkCompact(t, text)
		if len(text) > 0 { // and one byte damaged
			text[g.IntN(len(text))] = byte(g.IntN(256))
			checkCompact(t, text)
		}
	}
}

func FuzzCompactValue(f *testing.F) {
	f.Fuzz(func(t *testing.T, in []byte) { checkCompact(t, in) })
}

func BenchmarkCompactValue(b *testing.B) {
	card := `{"column":"done","title":"Write the minutes of the meeting","position":1024.5,"labels":["urgent","home"],"assignee":{"id":"0192f0c1-7aaa-7bbb-8ccc-0123456789ab","name":"Alice"},"done":false,"due":null}`
	var indented bytes.Buffer
	if err := json.Indent(&indented, []byte(card), "", "  "); err != nil {
		b.Fatal(err)
	}
	for name, text := range map[string]string{
		"card":     card,
		"indented": indented.String(),
		"text":     `{"text":"` + strings.Repeat("a plain line of an ordinary note, nothing else. ", 40) + `"}`,
		"accents":  `{"text":"` + strings.Repeat("Größenänderungsübungsplätze, Ærøskøbing, 東京 ", 20) + `"}`,
		"numbers":  `[` + strings.TrimSuffix(strings.Repeat("12.5,-3,1e9,123456,", 60), ",") + `]`,
	} {
		b.Run(name, func(b *testing.B) {
			src, dst := []byte(text), make([]byte, 0, 2*len(text))
			b.SetBytes(int64(len(src)))
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := CompactValue(dst, src); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func ExampleCompactValue() {
	out, rest, err := CompactValue(nil, []byte(`{ "n": 1.0 }, "next"`))
	fmt.Printf("%s | %s | %v\n", out, rest, err)
	// Output: {"n":1.0} | , "next" | <nil>
}
