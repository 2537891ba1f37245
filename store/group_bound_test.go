package store

import (
	"bytes"
	"fmt"
	"path/filepath"
	"testing"
	"time"
)

// Conflicts on one document share its folded form, however many they are.
func TestConflictsFoldOnce(t *testing.T) {
	s := openTest(t, filepath.Join(memoryDir(t), "a.tidemark"), quiet())
	var doc bytes.Buffer
	doc.WriteString(`{"a":0`)
	for i := 0; doc.Len() < 200<<10; i++ {
		fmt.Fprintf(&doc, `,"m%d":%d`, i, i)
	}
	doc.WriteString("}")
	ms := []Mutation{put("s", "k", doc.String())}
	for i := range 1000 {
		m := Mutation{ID: NewID(), Stream: "s", Key: "k", Op: OpPatch, Data: fmt.Appendf(nil, `{"a":%d}`, i)}
		if i >= 60 {
			m.Expect = Expect{Kind: ExpectSeq, Seq: 1 << 40}
		}
		ms = append(ms, m)
	}
	start := time.Now()
	vs := push(t, s, ms...)
	took := time.Since(start)
	first, last := vs[100].Refusal, vs[1000].Refusal
	if first == nil || last == nil || &first.Data[0] != &last.Data[0] {
		t.Errorf("each conflict has a document of its own; the push took %v", took)
	}
	if d, _, _ := s.Doc("s", "k"); !bytes.Equal(d.Data, last.Data) || !bytes.HasPrefix(d.Data, []byte(`{"a":59,`)) {
		t.Error("the conflict tells another document than there is")
	}
}

// The documents that small patches bring into memory are bounded like the events are.
func TestDocumentsInMemoryAreBounded(t *testing.T) {
	o := quiet()
	o.flush.bytes = 2 << 20
	s := openTest(t, filepath.Join(memoryDir(t), "a.tidemark"), o)
	const docs = 400
	big := fmt.Sprintf(`{"v":"%0*d"}`, 64<<10, 7)
	for i := range docs {
		push(t, s, put("s", fmt.Sprint(i), big))
	}
	for i := range docs {
		push(t, s, Mutation{ID: NewID(), Stream: "s", Key: fmt.Sprint(i), Op: OpPatch, Data: []byte(`{"n":1}`)})
		s.mu.RLock()
		n := 0
		for _, e := range s.docs["s"] {
			n += len(e.data)
		}
		s.mu.RUnlock()
		if n > 3<<20 {
			t.Fatalf("after %d patches, documents of %d bytes are in memory", i+1, n)
		}
	}
}

// What an earlier mutation of the same push leads to is not judged while that one can only be told "later".
func TestLaterHoldsWithinAPush(t *testing.T) {
	s := openTest(t, filepath.Join(memoryDir(t), "a.tidemark"), quiet())
	err := s.onWriter(t.Context(), func() error {
		s.noRoom(&Refusal{Code: CodeReadOnly, Message: "full"})
		a := put("s", "k", "1")
		b := put("s", "k", "2")
		b.Expect = Expect{Kind: ExpectID, ID: a.ID}
		p := &Push{Mutations: []Mutation{a, b}, Done: func(*Push) {}}
		if err := p.prepare(&s.opts.Limits); err != nil {
			return err
		}
		s.commit([]*Push{p})
		s.refuse.Store(nil)
		for i, v := range p.Verdicts {
			if v.Refusal == nil || v.Refusal.Code != CodeReadOnly {
				t.Errorf("mutation %d: %+v", i, v)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
