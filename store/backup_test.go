package store

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
)

// sameUpTo compares everything that two stores answer about the log up to the head of the second.
func sameUpTo(t testing.TB, live, copied *Store) {
	t.Helper()
	head, floor := copied.Head(), copied.Floor()
	want := readAll(t, live, All, floor, PageLimit{})
	want = want[:slices.IndexFunc(append(want, Event{Seq: head + 1}), func(e Event) bool { return e.Seq > head })]
	got := readAll(t, copied, All, floor, PageLimit{})
	if !slices.EqualFunc(got, want, sameEvent) {
		t.Fatalf("%d events in the copy, want %d, or they differ", len(got), len(want))
	}
	docs, err := live.DocumentsAt(All, head, DocKey{}, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	mine, err := copied.Documents(All, DocKey{}, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.EqualFunc(docs.Docs, mine.Docs, sameDoc) {
		t.Fatalf("%d documents in the copy, want %d, or they differ", len(mine.Docs), len(docs.Docs))
	}
}

func sameEvent(a, b Event) bool {
	return a.Seq == b.Seq && a.Prev == b.Prev && a.KPrev == b.KPrev && a.At == b.At && a.ID == b.ID && a.Stream == b.Stream &&
		a.Type == b.Type && a.Key == b.Key && a.By == b.By && a.Op == b.Op && a.Flags == b.Flags && bytes.Equal(a.Data, b.Data) &&
		bytes.Equal(a.Extra, b.Extra)
}

func sameDoc(a, b Doc) bool {
	return a.Stream == b.Stream && a.Key == b.Key && a.Seq == b.Seq && bytes.Equal(a.Data, b.Data)
}

func TestBackup(t *testing.T) {
	dir := memoryDir(t)
	s := openTest(t, filepath.Join(dir, "a"), checkOptions())
	history(t, s, 1500)
	if err := s.Trim(t.Context(), 600); err != nil {
		t.Fatal(err)
	}
	history(t, s, 100)
	path := filepath.Join(dir, "b")
	var last, of int64
	info, err := s.Backup(t.Context(), path, func(done, total int64) {
		if total > 1 && done > total {
			t.Errorf("progress %d of %d", done, total)
		}
		last, of = done, total
	})
	if err != nil {
		t.Fatal(err)
	}
	if info.Log != s.LogID() || info.Head != s.Head() || info.HeadID != s.Mark(s.Head()) || info.Floor != s.Floor() ||
		info.Events != int64(info.Head-info.Floor) || last != of {
		t.Errorf("info %+v, progress %d of %d", info, last, of)
	}
	if r := mustCheck(t, path); r.Head != info.Head || r.HeadID != info.HeadID || r.Checkpoint != info.Head || r.IDs != int64(info.Head) {
		t.Errorf("report %+v", r)
	}
	b := openTest(t, path, checkOptions())
	sameUpTo(t, s, b)
	if b.LogID() != s.LogID() {
		t.Error("the backup is of another log")
	}
	if st := s.Stats(); st.Backups != 1 {
		t.Errorf("%d backups counted", st.Backups)
	}
	history(t, b, 100) // it is a store like any other
	if _, err := s.Backup(t.Context(), path, nil); !errors.Is(err, fs.ErrExist) {
		t.Errorf("backup onto an existing file: %v", err)
	}
}

// TestBackupUnderLoad backs up again and again while writers write and trims wait.
func TestBackupUnderLoad(t *testing.T) {
	dir := memoryDir(t)
	o := checkOptions()
	o.Retention = Retention{Count: 3000}
	s := openTest(t, filepath.Join(dir, "a"), o)
	history(t, s, 3000)
	var stop atomic.Bool
	var writers sync.WaitGroup
	for range 2 {
		writers.Go(func() {
			for !stop.Load() {
				history(t, s, 100)
			}
		})
	}
	rounds := 5
	if testing.Short() {
		rounds = 2
	}
	for i := range rounds {
		before := s.Stats()
		path := filepath.Join(dir, "b"+string(rune('0'+i)))
		if _, err := s.Backup(t.Context(), path, nil); err != nil {
			t.Fatal(err)
		}
		after := s.Stats()
		written := after.LogBytes - before.LogBytes + 1
		if growth := after.FileBytes - before.FileBytes; growth > 8*written+(8<<20) {
			t.Errorf("the file grew by %d bytes while %d were written", growth, written)
		}
		if r := mustCheck(t, path); r.Head < before.Head {
			t.Errorf("the backup ends at %d, below %d", r.Head, before.Head)
		}
	}
	stop.Store(true)
	writers.Wait()
	if err := s.Trim(t.Context(), 3000); err != nil || s.Floor() < 2900 {
		t.Errorf("trimmed to %d, %v", s.Floor(), err)
	}
	mustClose(t, s)
	mustCheck(t, s.Path())
}

func mustClose(t testing.TB, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestBackupHoldsTrim trims while the copy is made, which waits, and while it is verified, which does not.
func TestBackupHoldsTrim(t *testing.T) {
	dir := memoryDir(t)
	o := checkOptions()
	var s *Store
	trim := func(want bool) {
		t.Helper()
		if err := s.Trim(t.Context(), 400); err != nil || (s.Floor() > 0) != want {
			t.Errorf("trimmed to %d, %v", s.Floor(), err)
		}
	}
	o.Verify = func(ctx context.Context, path string) error {
		trim(true)
		return verifyFile(ctx, path, nil)
	}
	s = openTest(t, filepath.Join(dir, "a"), o)
	history(t, s, 500)
	copying := 0
	_, err := s.Backup(t.Context(), filepath.Join(dir, "b"), func(done, total int64) {
		if done < total {
			copying++
			trim(false)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if copying == 0 || s.Stats().TrimsHeld == 0 {
		t.Error("no trim had to wait: the test proves nothing")
	}
}

// TestBackupLeavesNothing: what was given up, or is not good, has no name.
func TestBackupLeavesNothing(t *testing.T) {
	dir := memoryDir(t)
	o := checkOptions()
	bad := errors.New("not good")
	o.Verify = func(context.Context, string) error { return bad }
	s := openTest(t, filepath.Join(dir, "a"), o)
	history(t, s, 500)
	path := filepath.Join(dir, "b")
	if _, err := s.Backup(t.Context(), path, nil); !errors.Is(err, bad) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Backup(ctx, path, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	if _, err := s.Backup(ctx, path, func(int64, int64) { cancel() }); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if left, err := filepath.Glob(path + "*"); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func restored(t *testing.T, from string, cut Seq) (*Store, RestoreInfo) {
	t.Helper()
	to := filepath.Join(memoryDir(t), "restored")
	info, err := Restore(t.Context(), from, to, cut, nil)
	if err != nil {
		t.Fatal(err)
	}
	mustCheck(t, to)
	return openTest(t, to, checkOptions()), info
}

func TestRestore(t *testing.T) {
	sequential(t)
	file := checkedFile(t)
	good := mustCheck(t, file)

	t.Run("all", func(t *testing.T) {
		s, info := restored(t, file, 0)
		if info.From != good.Log || info.Log != s.LogID() || info.Log == good.Log || info.Cut != good.Head || info.HeadID != good.HeadID ||
			info.DroppedTo != good.Head || info.Events != good.Events || info.Floor != good.Floor || s.Head() != good.Head {
			t.Errorf("info %+v of %+v", info, good)
		}
		old := openReadOnly(t, file)
		sameUpTo(t, old, s)
		for _, c := range []struct {
			cursor Cursor
			want   Reset
		}{
			{Cursor{Seq: good.Head, Log: good.Log, Mark: good.HeadID}, ResetNone},
			{Cursor{Seq: good.Head + 1, Log: good.Log}, ResetLogChanged}, // a tail may be missing
			{Cursor{Seq: good.Head, Log: NewID()}, ResetLogChanged},
		} {
			if st, err := s.Resume(All, c.cursor); err != nil || st.Reset != c.want {
				t.Errorf("%+v: %q, %v; want %q", c.cursor, st.Reset, err, c.want)
			}
		}
	})

	t.Run("every cut", func(t *testing.T) {
		old := openReadOnly(t, file)
		r := rand.New(rand.NewPCG(1, 2))
		for _, cut := range []Seq{good.Floor, good.Floor + 1, good.Checkpoint, good.Checkpoint + 1, good.Head - 1, good.Head,
			good.Floor + Seq(r.IntN(int(good.Head-good.Floor))), good.Floor + Seq(r.IntN(int(good.Head-good.Floor)))} {
			s, info := restored(t, file, cut)
			whole := rawLog(t, file)
			end := good.Floor
			for _, e := range whole {
				if e.Seq <= cut && !e.Flags.Has(FlagMore) {
					end = e.Seq
				}
			}
			if info.Cut != end || s.Head() != end {
				t.Fatalf("cut at %d: %+v, head %d; want %d", cut, info, s.Head(), end)
			}
			sameUpTo(t, old, s)
			checkIDsAfterCut(t, s, whole, end)
		}
	})

	t.Run("refusals", func(t *testing.T) {
		to := filepath.Join(memoryDir(t), "to")
		var gone *TrimmedError
		if _, err := Restore(t.Context(), file, to, good.Floor-1, nil); !errors.As(err, &gone) || gone.Floor != good.Floor {
			t.Errorf("below the floor: %v", err)
		}
		if _, err := Restore(t.Context(), file, to, good.Head+1, nil); !errors.Is(err, ErrBeyondHead) {
			t.Errorf("beyond the head: %v", err)
		}
		if err := os.WriteFile(to, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Restore(t.Context(), file, to, 0, nil); !errors.Is(err, fs.ErrExist) {
			t.Errorf("onto an existing file: %v", err)
		}
		// What a restore can mend (views are folded anew, a push without an end is left out) it mends; the rest it refuses.
		mended := 0
		for i, c := range corruptions(t, file, good) {
			if testing.Short() && i%4 != 0 {
				continue
			}
			bad := damage(t, file, c.do)
			to := filepath.Join(filepath.Dir(bad), "to")
			if _, err := Restore(t.Context(), bad, to, 0, nil); err == nil {
				mustCheck(t, to)
				mended++
			}
			if left, err := filepath.Glob(to + ".*"); err != nil || len(left) > 0 {
				t.Errorf("%s: left behind: %v, %v", c.name, left, err)
			}
		}
		if mended < 10 && !testing.Short() {
			t.Errorf("only %d corruptions were mended", mended)
		}
	})
}

func openReadOnly(t testing.TB, path string) *Store {
	t.Helper()
	o := checkOptions()
	o.ReadOnly = true
	return openTest(t, path, o)
}

// checkIDsAfterCut: ids up to the cut are duplicates, those above are new.
func checkIDsAfterCut(t *testing.T, s *Store, events []Event, cut Seq) {
	t.Helper()
	for _, e := range events {
		if e.Seq != cut && e.Seq != cut+1 {
			continue
		}
		v := push(t, s, Mutation{ID: e.ID, Stream: e.Stream, Type: e.Type, Key: e.Key, Op: e.Op, Data: e.Data, Bytes: e.Flags.Has(FlagBytes)})
		if v[0].Refusal != nil || v[0].Dup != (e.Seq <= cut) || v[0].Seq != e.Seq && e.Seq <= cut {
			t.Errorf("cut at %d: event %d sent again: %+v", cut, e.Seq, v[0])
		}
	}
}

// TestRestoreLineage restores restored logs: cursors of every ancestor go on up to its cut, which later cuts lower.
func TestRestoreLineage(t *testing.T) {
	dir := memoryDir(t)
	s := openTest(t, filepath.Join(dir, "0"), checkOptions())
	fill(t, s, 1000, func(int) Stream { return "a" })
	logs := []ID{s.LogID()}
	cuts := []Seq{900, 800, 850, 300}
	for i, cut := range cuts {
		mustClose(t, s)
		to := filepath.Join(dir, string(rune('1'+i)))
		info, err := Restore(t.Context(), s.Path(), to, cut, nil)
		if err != nil || info.Cut != cut || info.LineageLogs != i+1 {
			t.Fatalf("%+v, %v", info, err)
		}
		mustCheck(t, to)
		s = openTest(t, to, checkOptions())
		logs = append(logs, s.LogID())
		fill(t, s, 300, func(int) Stream { return "a" })
		for j, log := range logs[:i+1] {
			limit := slices.Min(cuts[j : i+1])
			for seq, want := range map[Seq]Reset{limit: ResetNone, limit + 1: ResetLogChanged} {
				if st, err := s.Resume(All, Cursor{Seq: seq, Log: log}); err != nil || st.Reset != want {
					t.Errorf("restore %d: cursor %d of log %d: %q, %v; want %q", i, seq, j, st.Reset, err, want)
				}
			}
		}
	}
}

// TestCopiesOfSparseLog: where another sequencer gives the seqs, holes are no damage, and a cut may lie in one.
func TestCopiesOfSparseLog(t *testing.T) {
	sequential(t)
	dir := memoryDir(t)
	o := checkOptions()
	o.Sparse = true
	s := openTest(t, filepath.Join(dir, "a"), o)
	var events []Event
	for i := range 900 {
		e := Event{Seq: Seq(10 + i*3 + i%2), At: int64(i / 7), ID: NewID(), Stream: Stream([]string{"a", "b"}[i%2]), Type: "note", Data: []byte("1")}
		if i%5 == 0 {
			e.Key, e.Op = "k", OpPut
		}
		if i%10 == 3 { // an atomic push has no hole
			e.Flags = FlagMore
			events = append(events, e)
			e.Seq, e.ID, e.Flags = e.Seq+1, NewID(), 0
		}
		events = append(events, e)
	}
	for part := range slices.Chunk(events, 90) {
		for part[len(part)-1].Flags.Has(FlagMore) {
			part = part[:len(part)-1]
		}
		if err := s.Apply(t.Context(), part); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Trim(t.Context(), 600); err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(dir, "b")
	if _, err := s.Backup(t.Context(), to, nil); err != nil {
		t.Fatal(err)
	}
	mustCheck(t, to)
	for cut := Seq(700); cut < 730; cut++ {
		r, info := restored(t, to, cut)
		end := Seq(0)
		for _, e := range events {
			if e.Seq <= cut && !e.Flags.Has(FlagMore) {
				end = e.Seq
			}
		}
		if info.Cut != end || r.Head() != end {
			t.Errorf("cut at %d: %+v, want %d", cut, info, end)
		}
		sameUpTo(t, s, r)
	}
}
