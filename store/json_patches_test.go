package store

import (
	"bytes"
	"testing"
)

// Many patches at once make the same bytes as one after the other.
func TestMergePatchesAreMergePatchInTurn(t *testing.T) {
	for seed := range seeds(50_000) {
		g := newJSONGen(seed)
		var doc []byte
		if g.IntN(8) > 0 {
			var err error
			if doc, err = AppendDocument(nil, g.value(3)); err != nil {
				t.Fatal(err)
			}
		}
		var patches [][]byte
		for range 1 + g.IntN(6) {
			patches = append(patches, g.object(1+g.IntN(3)))
		}
		want := doc
		for _, p := range patches {
			var err error
			if want, err = MergePatch(nil, want, p); err != nil {
				t.Fatal(err)
			}
		}
		got, err := MergePatches([]byte("kept"), doc, patches)
		if err != nil || !bytes.Equal(got, append([]byte("kept"), want...)) {
			t.Fatalf("seed %d: %s and then %s: %v\n%s, want\n%s", seed, doc, bytes.Join(patches, []byte(" ")), err, got, want)
		}
	}
}

func TestMergePatchesText(t *testing.T) {
	for _, c := range [][]string{
		{`{"a":1,"b":2}`, `{"a":null}`, `{"a":3}`, `{"b":2,"a":3}`},
		{`{"a":{"x":1}}`, `{"a":5}`, `{"a":{"y":null,"z":2}}`, `{"a":{"z":2}}`},
		{`{}`, `{"a":1,"b":2}`, `{"a":null}`, `{"a":{"c":null}}`, `{"b":2,"a":{}}`},
		{`{"a":{"x":1},"b":0}`, `{"a":null}`, `{"a":{"y":1}}`, `{"a":{"z":1}}`, `{"b":0,"a":{"y":1,"z":1}}`},
		{`[1]`, `{"a":null}`, `{}`, `{}`},
	} {
		var patches [][]byte
		for _, p := range c[1 : len(c)-1] {
			patches = append(patches, []byte(p))
		}
		got, err := MergePatches(nil, []byte(c[0]), patches)
		if want := c[len(c)-1]; err != nil || string(got) != want {
			t.Errorf("%q: %s, want %s (%v)", c, got, want, err)
		}
	}
}
