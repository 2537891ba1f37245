package store

import (
	"bytes"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
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

// A damaged entry costs the push that needs it, not those that are committed beside it.
func TestDamagedEntryRefusesOnePush(t *testing.T) {
	s := openTest(t, filepath.Join(memoryDir(t), "a.tidemark"), quiet())
	push(t, s, put("s", "bad", "1"))
	err := s.onWriter(t.Context(), func() error {
		s.flushTo(s.Head())
		if err := s.update(func(tx *bolt.Tx) error {
			return tx.Bucket(bucketDocs).Put(DocKey{Stream: "s", Key: "bad"}.bytes(), []byte("damaged"))
		}); err != nil {
			return err
		}
		var ps []*Push
		for _, key := range []string{"good", "bad", "better"} {
			p := &Push{Source: &Source{}, Mutations: []Mutation{put("s", key, "2")}, Done: func(*Push) {}}
			if err := p.prepare(&s.opts.Limits); err != nil {
				return err
			}
			ps = append(ps, p)
		}
		s.commit(ps)
		for i, want := range []Code{"", CodeInternal, ""} {
			r := ps[i].Verdicts[0].Refusal
			if want == "" && r != nil || want != "" && (r == nil || r.Code != want) {
				t.Errorf("push %d: %v, want %q", i, r, want)
			}
		}
		// Close folds nothing more into the damaged entry.
		return s.update(func(tx *bolt.Tx) error {
			return putDoc(tx.Bucket(bucketDocs), DocKey{Stream: "s", Key: "bad"}, docState{seq: 1})
		})
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A step of trimming is bounded in bytes, too.
func TestTrimStepIsBoundedInBytes(t *testing.T) {
	s := openTest(t, filepath.Join(memoryDir(t), "a.tidemark"), quiet())
	big := fmt.Sprintf(`"%0*d"`, 200<<10, 7)
	for i := range 90 {
		push(t, s, put("s", fmt.Sprint(i%3), big))
	}
	err := s.onWriter(t.Context(), func() error {
		s.flushTo(s.Head())
		more, err := s.trimStep(trimGoal{to: s.Head()})
		if floor := s.Floor(); err == nil && (!more || floor > 50) {
			t.Errorf("one step trimmed %d events of 200 KiB, more %t", floor, more)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Trim(t.Context(), 90); err != nil || s.Floor() != 90 {
		t.Fatal(s.Floor(), err)
	}
}

// A disk that is full while merged runs are deleted does not end merging for good.
func TestMergingGoesOnAfterFullDisk(t *testing.T) {
	s := openTest(t, filepath.Join(memoryDir(t), "a.tidemark"), quiet())
	for range mergeRuns {
		push(t, s, note("s", "1"))
		err := s.onWriter(t.Context(), func() error {
			s.merging = true // by hand, below
			s.flushTo(s.Head())
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	m := s.ids.merge()
	if m == nil {
		t.Fatal("no merge is due")
	}
	full := func(*bolt.Tx) (func(), bool, error) { return nil, false, errNoRoom }
	if err := s.runMerge(m, full); err != nil {
		t.Errorf("merging: %v", err)
	}
	err := s.onWriter(t.Context(), func() error {
		if s.merging {
			t.Error("merging never begins again")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A slice of the views is bounded in bytes, too.
func TestSliceIsBoundedInBytes(t *testing.T) {
	s := openTest(t, filepath.Join(memoryDir(t), "a.tidemark"), quiet())
	big := fmt.Sprintf(`"%0*d"`, 200<<10, 7)
	err := s.onWriter(t.Context(), func() error {
		var ms []Mutation
		for i := range 90 {
			ms = append(ms, put("s", fmt.Sprint(i), big))
		}
		p := &Push{Mutations: ms, Done: func(*Push) {}}
		if err := p.prepare(&s.opts.Limits); err != nil {
			return err
		}
		s.commit([]*Push{p})
		for slices := 1; s.flushSlice(); slices++ {
			if ckpt := s.checkpointSeq(); ckpt > Seq(slices*45) {
				t.Errorf("%d slices took %d documents of 200 KiB", slices, ckpt)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
