package store

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
)

// bigDocs fills bucket docs with n documents of 64 KiB.
func bigDocs(t *testing.T, s *Store, n int) {
	t.Helper()
	big := fmt.Sprintf(`{"v":"%0*d"}`, 64<<10, 7)
	for i := range n {
		push(t, s, put("s", fmt.Sprint(i), big))
	}
	err := s.onWriter(t.Context(), func() error { s.flushTo(s.Head()); return nil })
	if err != nil || len(s.docs) != 0 {
		t.Fatalf("%d streams have documents in memory, %v", len(s.docs), err)
	}
}

func patches(n int, expect Expect) (ms []Mutation) {
	for i := range n {
		ms = append(ms, Mutation{ID: NewID(), Stream: "s", Key: fmt.Sprint(i), Op: OpPatch, Data: []byte(`{"n":1}`), Expect: expect})
	}
	return ms
}

// A push of small patches to many large documents is judged in pieces: no group holds more of them than its bound.
func TestGroupHoldsFewDocuments(t *testing.T) {
	sequential(t)
	o := quiet()
	o.docs, o.flush.bytes = 1<<20, 4<<20
	s := openTest(t, filepath.Join(memoryDir(t), "a.tidemark"), o)
	const docs = 300
	bigDocs(t, s, docs)
	before := s.Stats()
	for i, v := range push(t, s, patches(docs, Expect{})...) {
		if v.Refusal != nil || v.Seq != Seq(docs+i+1) {
			t.Fatalf("patch %d: %+v %v", i, v, v.Refusal)
		}
		if d, ok, err := s.Doc("s", fmt.Sprint(i)); err != nil || !ok || !bytes.HasSuffix(d.Data, []byte(`7","n":1}`)) {
			t.Fatalf("document %d: %t %v", i, ok, err)
		}
	}
	st := s.Stats()
	if cut := st.GroupsCut - before.GroupsCut; cut < docs*64/1024-1 || st.Commits-before.Commits != cut+1 {
		t.Errorf("%d groups were cut, %d committed", cut, st.Commits-before.Commits)
	}
	if st.GroupDocsMost > 1<<20 || st.GroupDocsMost < 1<<19 {
		t.Errorf("a group held documents of %d bytes", st.GroupDocsMost)
	}
	s.mu.RLock()
	held := s.docBytes
	s.mu.RUnlock()
	if held > 5<<20 {
		t.Errorf("documents of %d bytes are in memory", held)
	}
}

// Puts, deletes and conflicts need no document; the one that a conflict tells of is read by whoever wants it.
func TestWhatNeedsNoDocumentReadsNone(t *testing.T) {
	o := quiet()
	o.docs = 100 << 10
	s := openTest(t, filepath.Join(memoryDir(t), "a.tidemark"), o)
	const docs = 20
	bigDocs(t, s, docs)
	before := s.Stats()
	ms := patches(docs, Expect{Kind: ExpectSeq, Seq: 1 << 40})
	for i := range docs - 1 {
		ms = append(ms, put("s", fmt.Sprint(i), "1"), Mutation{Stream: "s", Key: fmt.Sprint(i), Op: OpDelete})
	}
	vs := push(t, s, ms...)
	for i, v := range vs[:docs] {
		if v.Refusal == nil || v.Refusal.Code != CodeConflict || v.Refusal.Seq != Seq(i+1) || v.Refusal.Data != nil {
			t.Fatalf("patch %d: %+v", i, v.Refusal)
		}
	}
	if r := vs[0].Refusal.WithDocument(); r.Data != nil || r.Seq != 0 {
		t.Errorf("a document that was deleted: %.20s as of %d", r.Data, r.Seq)
	}
	if r := vs[docs-1].Refusal.WithDocument(); len(r.Data) < 64<<10 || r.Seq != docs {
		t.Errorf("the conflict brings %d bytes as of %d", len(r.Data), r.Seq)
	}
	if r := vs[docs-1].Refusal.WithoutDocument(); r.HasDocument() || r.WithDocument().Data != nil {
		t.Error("the document cannot be hidden")
	}
	if st := s.Stats(); st.GroupsCut != before.GroupsCut || st.GroupDocsMost > 64<<10+10 {
		t.Errorf("%d groups were cut; one held %d bytes", st.GroupsCut-before.GroupsCut, st.GroupDocsMost)
	}
}

// An atomic push is never cut: it has a group to itself, and is refused if that does not do.
func TestAtomicPushHasItsBound(t *testing.T) {
	o := quiet()
	o.docs = 1 << 20
	s := openTest(t, filepath.Join(memoryDir(t), "a.tidemark"), o)
	const docs = 40
	bigDocs(t, s, docs)
	head := s.Head()
	vs, err := s.AppendWait(t.Context(), &Push{Atomic: true, Mutations: patches(docs, Expect{})})
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range vs {
		if want := map[bool]Code{true: CodeTooLarge, false: CodeAborted}[i == 15]; v.Refusal == nil || i <= 15 && v.Refusal.Code != want {
			t.Fatalf("mutation %d: %v", i, v.Refusal)
		}
	}
	if s.Head() != head {
		t.Fatal("something of it is in the log")
	}
	commitTogether(t, s,
		&Push{Mutations: patches(10, Expect{})},
		&Push{Atomic: true, Mutations: patches(docs, Expect{})[20:34]},
		&Push{Atomic: true, Mutations: patches(docs, Expect{})[34:]},
	)
	evs := readAll(t, s, All, head, PageLimit{})
	if len(evs) != 30 || s.Stats().GroupsCut != 2 {
		t.Fatalf("%d events, %d groups cut", len(evs), s.Stats().GroupsCut)
	}
	for i, e := range evs {
		if more := i >= 10 && i != 23 && i != 29; e.Flags.Has(FlagMore) != more {
			t.Errorf("event %d: flags %b", i, e.Flags)
		}
	}
}

// commitTogether commits pushes as the writer does when they wait together.
func commitTogether(t *testing.T, s *Store, ps ...*Push) {
	t.Helper()
	answered := 0
	err := s.onWriter(t.Context(), func() error {
		for _, p := range ps {
			p.Done = func(*Push) { answered++ }
			if err := p.prepare(&s.opts.Limits); err != nil {
				return err
			}
		}
		s.commit(ps)
		return nil
	})
	if err != nil || answered != len(ps) {
		t.Fatalf("%d of %d pushes were answered, %v", answered, len(ps), err)
	}
}

// Cutting groups changes nothing but the groups: whatever a push holds, its verdicts are the same.
func TestCutGroupsJudgeTheSame(t *testing.T) {
	var cuts int64
	n := uint64(150)
	if testing.Short() {
		n = 15
	}
	for seed := range n {
		r := rand.New(rand.NewPCG(seed, 7))
		var logs [2]*Store
		for i, docs := range []int{0, 3000} {
			o := quiet()
			o.docs, o.now = docs, func() time.Time { return time.UnixMilli(1_790_000_000_000) }
			o.Limits.Doc = 1000
			logs[i] = openTest(t, filepath.Join(memoryDir(t), "a.tidemark"), o)
		}
		sources := [2][]*Source{{nil, {}, {}}, {nil, {}, {}}}
		var sent []Mutation
		for range 6 {
			var ps [2][]*Push
			for range 1 + r.IntN(6) {
				ms, refused := cutMutations(r, &sent)
				n, atomic := r.IntN(3), r.IntN(2) == 0 && len(ms) < 4
				for i := range ps {
					p := &Push{Source: sources[i][n], Atomic: atomic, Mutations: slices.Clone(ms), Refused: slices.Clone(refused)}
					ps[i] = append(ps[i], p)
				}
			}
			for i, s := range logs {
				commitTogether(t, s, ps[i]...)
				if err := s.onWriter(t.Context(), func() error { s.flushTo(s.Head()); return nil }); err != nil {
					t.Fatal(err)
				}
			}
			for i, p := range ps[0] {
				for j, v := range p.Verdicts {
					if w := ps[1][i].Verdicts[j]; !sameVerdict(v, w) {
						t.Fatalf("seed %d: %+v: %+v %v, in one group %+v %v", seed, p.Mutations[j], w, w.Refusal, v, v.Refusal)
					}
				}
			}
		}
		cuts += logs[1].Stats().GroupsCut
	}
	if cuts < 50 {
		t.Errorf("%d groups were cut", cuts)
	}
}

// cutMutations makes mutations of documents that are large beside the bound of a group.
func cutMutations(r *rand.Rand, sent *[]Mutation) (ms []Mutation, refused []*Refusal) {
	ms = make([]Mutation, 1+r.IntN(12))
	refused = make([]*Refusal, len(ms))
	for i := range ms {
		m := Mutation{ID: NewID(), Stream: "s", Key: fmt.Sprint(r.IntN(8)), Op: OpPatch}
		m.Data = fmt.Appendf(nil, `{"m%d":%d}`, r.IntN(3), r.IntN(1000))
		switch r.IntN(8) {
		case 0, 1:
			m.Op, m.Data = OpPut, fmt.Appendf(nil, `{"v":"%0*d"}`, 600+r.IntN(400), 7)
		case 2:
			m.Op, m.Data = OpNone, []byte("1")
			m.Type = "seen"
		case 3:
			m.Expect = Expect{Kind: ExpectSeq, Seq: Seq(r.IntN(60))}
		case 4:
			if len(*sent) > 0 {
				m = (*sent)[r.IntN(len(*sent))]
			}
		}
		if r.IntN(30) == 0 {
			refused[i] = &Refusal{Code: []Code{CodeForbidden, CodeOverloaded}[r.IntN(2)]}
		}
		ms[i] = m
		*sent = append(*sent, m)
	}
	return ms, refused
}

// The documents that small patches bring into memory are bounded like the events are.
func TestDocumentsInMemoryAreBounded(t *testing.T) {
	o := quiet()
	o.flush.bytes = 2 << 20
	s := openTest(t, filepath.Join(memoryDir(t), "a.tidemark"), o)
	docs := 400
	if testing.Short() {
		docs = 100 // of 64 KiB: twice what may be in memory
	}
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
	sequential(t)
	s := openTest(t, filepath.Join(memoryDir(t), "a.tidemark"), quiet())
	big := fmt.Sprintf(`"%0*d"`, 200<<10, 7)
	for i := range 90 {
		push(t, s, put("s", fmt.Sprint(i%3), big))
	}
	err := s.onWriter(t.Context(), func() error {
		s.flushTo(s.Head())
		more, err := s.trimStep(trimGoal{to: s.Head(), exact: true})
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

// runsToMerge makes as many runs of ids as are merged into one, and leaves the merge to the test.
func runsToMerge(t *testing.T, s *Store) {
	t.Helper()
	for range mergeRuns {
		push(t, s, note("s", "1"))
		err := s.onWriter(t.Context(), func() error {
			s.merging = true // by hand
			s.flushTo(s.Head())
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// A disk that is full while merged runs are deleted does not end merging for good.
func TestMergingGoesOnAfterFullDisk(t *testing.T) {
	s := openTest(t, filepath.Join(memoryDir(t), "a.tidemark"), quiet())
	runsToMerge(t, s)
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

// TestMergeOnFullDiskIsGivenUp: what a merge has written goes while the disk is full, for it is the room that appends lack; later it is made anew.
func TestMergeOnFullDiskIsGivenUp(t *testing.T) {
	o := quiet()
	o.reapRoom = 1 << 40
	var ahead atomic.Int64
	o.now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	s := openTest(t, filepath.Join(memoryDir(t), "a.tidemark"), o)
	var m *idMerge
	runsToMerge(t, s)
	err := s.onWriter(t.Context(), func() error {
		m = s.ids.merge()
		s.refuse.Store(&Refusal{Code: CodeReadOnly})
		s.roomCheck = s.opts.now().Add(time.Hour)
		return nil
	})
	if err != nil || m == nil {
		t.Fatalf("no merge is due, %v", err)
	}
	if err := s.runMerge(m, s.ids.reap); err != nil {
		t.Errorf("merging: %v", err)
	}
	if st := s.Stats(); st.IDMergesGivenUp != 1 || st.IDMerges != 0 {
		t.Errorf("%d merges were given up, %d made", st.IDMergesGivenUp, st.IDMerges)
	}
	err = s.onWriter(t.Context(), func() error {
		if s.merging || len(s.ids.dead) > 0 {
			t.Errorf("merging: %v; %d runs are not deleted", s.merging, len(s.ids.dead))
		}
		s.refuse.Store(nil)
		if s.mergeIDs(); s.merging {
			t.Error("it is tried again at once")
		}
		ahead.Store(int64(mergeRetry))
		s.mergeIDs()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for merging := true; merging; {
		if err := s.onWriter(t.Context(), func() error { merging = s.merging; return nil }); err != nil {
			t.Fatal(err)
		}
	}
	mustClose(t, s)
	mustCheck(t, s.Path())
	if st := s.Stats(); st.IDMerges != 1 {
		t.Errorf("%d merges were made later", st.IDMerges)
	}
}

// TestSlicesShrinkOnFullDisk: a slice that finds no room is made smaller, and does not put off the look for room.
func TestSlicesShrinkOnFullDisk(t *testing.T) {
	o := quiet()
	now := time.Now()
	o.now = func() time.Time { return now }
	s := openTest(t, filepath.Join(memoryDir(t), "a.tidemark"), o)
	err := s.onWriter(t.Context(), func() error {
		s.sliceEntries = 1000
		s.flushFailed(errNoRoom)
		due := s.roomCheck
		now = now.Add(roomRetry / 2)
		s.flushFailed(errNoRoom)
		if !s.roomCheck.Equal(due) || s.sliceEntries > 100 {
			t.Errorf("room is looked for at %v, not %v; slices of %d entries", s.roomCheck, due, s.sliceEntries)
		}
		now = due
		s.idle() // there is room
		if s.Writable() != nil {
			t.Errorf("still refused: %v", s.Writable())
		}
		for range 10 {
			s.adapt(2 * sliceTime) // on a slow disk, too, they become larger again
		}
		if want := s.opts.flush.entries / 16; s.sliceEntries != want {
			t.Errorf("slices of %d entries, want %d", s.sliceEntries, want)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Old runs stay while the file has room, and go when it has need of theirs; a file with such runs is sound.
func TestReapsAsRoomIsNeeded(t *testing.T) {
	path := filepath.Join(memoryDir(t), "a.tidemark")
	o := quiet()
	o.reapRoom = 1 // there always is some
	s := openTest(t, path, o)
	runs := 0
	for s.Stats().ReapsLeft == 0 {
		push(t, s, note("s", "1"))
		err := s.onWriter(t.Context(), func() error { s.flushTo(s.Head()); runs++; return nil })
		if err != nil || runs > 10_000 {
			t.Fatal(runs, err)
		}
	}
	copyOf := filepath.Join(filepath.Dir(path), "copy")
	dead := 0
	err := s.onWriter(t.Context(), func() error {
		snapshotFile(t, s, copyOf)
		dead = len(s.ids.dead)
		s.opts.reapRoom = 1 << 40
		return nil
	})
	if err != nil || dead == 0 {
		t.Fatalf("%d old runs are left, %v", dead, err)
	}
	mustCheck(t, copyOf)
	for dead > 0 {
		if err := s.onWriter(t.Context(), func() error { s.tidyIDs(); dead = len(s.ids.dead); return nil }); err != nil {
			t.Fatal(err)
		}
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
