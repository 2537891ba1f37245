package store

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// A sizer knows the length of what the patches make, before and after each of them.
func TestSizerKnowsTheLength(t *testing.T) {
	for seed := range seeds(20_000) {
		g := newJSONGen(seed)
		var doc []byte
		if g.IntN(8) > 0 {
			var err error
			if doc, err = AppendDocument(nil, g.value(3)); err != nil {
				t.Fatal(err)
			}
		}
		z, err := newSizer(doc)
		if err != nil {
			t.Fatalf("seed %d: %s: %v", seed, doc, err)
		}
		now := doc
		for range 1 + g.IntN(6) {
			patch := g.object(1 + g.IntN(3))
			next, err := MergePatch(nil, now, patch)
			if err != nil {
				t.Fatal(err)
			}
			p, err := parsePatch(patch)
			if err != nil {
				t.Fatal(err)
			}
			if got := z.after(p); got != len(next) {
				t.Fatalf("seed %d: %s and then %s: %d bytes, want %d: %s", seed, now, patch, got, len(next), next)
			}
			if g.IntN(3) == 0 { // it is refused
				continue
			}
			if z.take(p); z.size() != len(next) {
				t.Fatalf("seed %d: %s and then %s: %d bytes afterwards, want %d: %s", seed, now, patch, z.size(), len(next), next)
			}
			now = next
		}
	}
}

// Patches that are refused leave nothing behind that grows.
func TestSizerForgetsWhatWasRefused(t *testing.T) {
	var doc bytes.Buffer
	doc.WriteString(`{"big":{"x":"` + strings.Repeat("x", keptObject) + `"}`)
	for i := range 1000 {
		fmt.Fprintf(&doc, `,"m%d":{"a":1}`, i)
	}
	doc.WriteString("}")
	z, err := newSizer(doc.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	before := z.used
	for i := range 1000 {
		for _, text := range []string{fmt.Sprintf(`{"m%d":{"a":22,"b":{"c":1}},"n%d":1}`, i, i), `{"big":{"y":1}}`} {
			p, err := parsePatch([]byte(text))
			if err != nil {
				t.Fatal(err)
			}
			if got, want := z.after(p), z.size(); got <= want {
				t.Fatalf("%s: %d bytes after %d", text, got, want)
			}
		}
	}
	if len(z.root.changed) != 1 || z.used > before+sizedMemberCost+sizedObjectCost+100 {
		t.Errorf("%d members are kept, and %d bytes more than the %d before", len(z.root.changed), z.used-before, before)
	}
}

func nearLimit(size int) []byte {
	var doc bytes.Buffer
	doc.WriteString(`{"first":0`)
	for i := 0; doc.Len() < size-40; i++ {
		fmt.Fprintf(&doc, `,"m%d":%d`, i, i)
	}
	fmt.Fprintf(&doc, `,"pad":"%s"}`, strings.Repeat("x", size-doc.Len()-len(`,"pad":""}`)))
	return doc.Bytes()
}

// A document at the limit is passed over once, not for each patch; conflicts in between change nothing in that, and what has
// no room is refused to the byte.
func TestPatchesNearTheLimit(t *testing.T) {
	const limit = 64 << 10
	o := quiet()
	o.Limits = Limits{Data: limit, Doc: limit}
	s := openTest(t, filepath.Join(memoryDir(t), "a.tidemark"), o)
	push(t, s, put("s", "k", string(nearLimit(limit))))
	want := bytes.Replace(nearLimit(limit), []byte(`"first":0`), []byte(`"first":9`), 1)
	for i := range 100 {
		var ms []Mutation
		for j := range 10 {
			patch := Mutation{Stream: "s", Key: "k", Op: OpPatch, Data: fmt.Appendf(nil, `{"first":%d}`, j)}
			stale, long := patch, patch
			stale.Expect = Expect{Kind: ExpectSeq, Seq: 1 << 40}
			long.Data = []byte(`{"first":10}`)
			ms = append(ms, patch, stale, long)
		}
		for j, v := range push(t, s, ms...) {
			code := Code("")
			if v.Refusal != nil {
				code = v.Refusal.Code
			}
			if code != []Code{"", CodeConflict, CodeTooLarge}[j%3] {
				t.Fatalf("push %d, mutation %d: %v", i, j, v.Refusal)
			}
		}
	}
	if d, _, err := s.Doc("s", "k"); err != nil || !bytes.Equal(d.Data, want) {
		t.Errorf("the document is another one, %v", err)
	}
	// An index is made anew after each fold (each patch waits with 76 bytes; a quarter of the document makes a fold) and when
	// the document went to its bucket, which may happen after each push.
	if st := s.Stats(); st.SizedPatches < 2000 || st.SizersMade > 100+1000*76/(limit/4) {
		t.Errorf("%d patches were sized, by %d indexes", st.SizedPatches, st.SizersMade)
	}
}

// What sizers take is bounded, and one that was forgotten is made again.
func TestSizersAreBounded(t *testing.T) {
	if testing.Short() {
		t.Skip("indexes 40 documents of 1 MiB")
	}
	const limit = 1 << 20
	var z sizers
	docs := make([]docState, 20)
	for i := range docs {
		doc := nearLimit(limit)
		docs[i] = docState{exists: true, data: doc, size: len(doc)}
	}
	for range 2 {
		for i := range docs {
			for _, text := range []string{`{"first":1}`, `{"first":2}`, `{"first":22}`} {
				ok, err := docs[i].apply(1, OpPatch, []byte(text), limit, &z)
				if err != nil || ok != (len(text) == len(`{"first":1}`)) {
					t.Fatalf("document %d: %s: %t %v", i, text, ok, err)
				}
			}
		}
	}
	sum := 0
	for i := range z.kept {
		sum += z.kept[i].sizer.used
	}
	if z.used != sum || sum > sizersBytes || len(z.kept) < 4 || z.made.Load() != 40 {
		t.Errorf("%d sizers of %d bytes, counted as %d; %d were made", len(z.kept), sum, z.used, z.made.Load())
	}
}

// BenchmarkPatchNearLimit patches a document of exactly limits.doc bytes, in its first and in one of its last members.
func BenchmarkPatchNearLimit(b *testing.B) {
	const limit = 1 << 20
	doc := nearLimit(limit)
	if len(doc) != limit {
		b.Fatal(len(doc))
	}
	for _, name := range []string{"fold", "sizer"} {
		b.Run(name, func(b *testing.B) {
			var sizes *sizers
			if name == "sizer" {
				sizes = new(sizers)
			}
			d := docState{seq: 1, exists: true, data: doc, size: len(doc)}
			i := 0
			for b.Loop() {
				i++
				ok, err := d.apply(Seq(i+1), OpPatch, fmt.Appendf(nil, `{"first":%d,"m60000":%d}`, i%10, 10000+i%10000), limit, sizes)
				if err != nil || !ok {
					b.Fatal(ok, err)
				}
			}
		})
	}
}

// BenchmarkNewSizer is what the first patch near the limit costs.
func BenchmarkNewSizer(b *testing.B) {
	doc := nearLimit(1 << 20)
	for b.Loop() {
		if _, err := newSizer(doc); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPatches patches a large document that has room.
func BenchmarkPatches(b *testing.B) {
	doc := nearLimit(1 << 20)
	d := docState{seq: 1, exists: true, data: doc, size: len(doc)}
	i := 0
	for b.Loop() {
		i++
		if ok, err := d.apply(Seq(i+1), OpPatch, fmt.Appendf(nil, `{"first":%d}`, i%10), maxDoc, nil); err != nil || !ok {
			b.Fatal(ok, err)
		}
	}
}
