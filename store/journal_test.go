package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"tidemark/internal/smalldisk"
)

// Small groups go into the journal until it is full, large ones never; readers find all of them, with or without the tail.
func TestJournalTakesSmallGroups(t *testing.T) {
	s := openTest(t, filepath.Join(memoryDir(t), "a.tidemark"), quiet())
	for i := range journalBlocks + 10 {
		push(t, s, note("a", fmt.Sprint(i)))
	}
	st := s.Stats()
	if st.Commits != journalBlocks+10 || st.Journaled != st.Commits-1 || st.JournalMoves != 1 {
		t.Errorf("%d commits, %d in the journal, which was emptied %d times", st.Commits, st.Journaled, st.JournalMoves)
	}
	if st.Batches == 0 || st.JournalBytes == 0 {
		t.Errorf("%d batches were made of what was in the journal, which has %d bytes", st.Batches, st.JournalBytes)
	}
	noTail(s)
	if es := readAll(t, s, Only("a"), 0, PageLimit{}); len(es) != journalBlocks+10 {
		t.Errorf("%d events", len(es))
	}
	push(t, s, note("a", `"`+strings.Repeat("x", journalSpan*journalBlock)+`"`))
	if now := s.Stats(); now.Journaled != st.Journaled || now.JournalMoves != 2 || now.JournalBytes != 0 {
		t.Errorf("after a large one: %+v", now)
	}
	if s.Mark(5).IsZero() {
		t.Error("no mark")
	}
}

// crashed makes a file as a process leaves it that is killed: 20 events in the log's bucket, 10 more in as many entries of the journal, and
// behind them entries that were there before.
func crashed(t *testing.T) (path string, j *journal) {
	t.Helper()
	dir := t.TempDir()
	live, path := filepath.Join(dir, "live"), filepath.Join(dir, "left")
	s := openTest(t, live, quiet())
	for i := range 20 {
		push(t, s, put("a", fmt.Sprint("k", i%3), fmt.Sprint(i)))
	}
	noJournal(t, s)
	for i := range 10 {
		push(t, s, put("b", fmt.Sprint("k", i%3), fmt.Sprint(i)))
	}
	copyFile(t, live, path)
	return path, s.journal
}

func blockAt(j *journal, n int) int64 { return j.at + int64(n)*journalBlock }

// What a crash left in the journal counts as far as it is whole; where something is missing before its end, that is damage and no end.
func TestJournalRecovery(t *testing.T) {
	sequential(t)
	for name, c := range map[string]struct {
		damage func(t *testing.T, path string, j *journal)
		head   Seq
	}{
		"whole": {func(*testing.T, string, *journal) {}, 30},
		"the last entry torn": {func(t *testing.T, path string, j *journal) {
			overwrite(t, path, blockAt(j, 9)+journalHead+10, []byte{1, 2, 3})
		}, 29},
		"the last entry's beginning missing": {func(t *testing.T, path string, j *journal) {
			overwrite(t, path, blockAt(j, 9), make([]byte, 512))
		}, 29},
		"nothing of it": {func(t *testing.T, path string, j *journal) { overwrite(t, path, j.at, make([]byte, 12*journalBlock)) }, 20},
		"an entry in another place": {func(t *testing.T, path string, j *journal) {
			overwrite(t, path, blockAt(j, 40), j.entry([]rawRecord{{12, []byte("of an earlier round")}}))
		}, 30},
	} {
		t.Run(name, func(t *testing.T) {
			path, j := crashed(t)
			c.damage(t, path, j)
			before, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if r := mustCheck(t, path); r.Head != c.head || r.Events != int64(c.head) {
				t.Errorf("check finds %d events to %d, want %d", r.Events, r.Head, c.head)
			}
			ro := openReadOnly(t, path)
			if es := readAll(t, ro, All, 0, PageLimit{}); Seq(len(es)) != c.head || ro.Head() != c.head {
				t.Errorf("%d events can be read, the head is %d", len(es), ro.Head())
			}
			to := filepath.Join(t.TempDir(), "copy")
			if info, err := Restore(t.Context(), path, to, 0, nil); err != nil || info.Cut != c.head || info.Events != int64(c.head) {
				t.Errorf("restore: %+v, %v", info, err)
			}
			if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
				t.Errorf("reading has changed the file, %v", err)
			}
			_ = ro.Close()
			for round := range Seq(3) { // each time killed again
				s := openTest(t, path, quiet())
				if s.Head() != c.head+round || Seq(len(readAll(t, s, All, 0, PageLimit{}))) != s.Head() {
					t.Fatalf("head %d", s.Head())
				}
				if d, ok, err := s.Doc("a", "k1"); !ok || err != nil || string(d.Data) != "19" {
					t.Errorf("document: %s, %v", d.Data, err)
				}
				if v := push(t, s, put("b", "k1", "7")); v[0].Seq != c.head+round+1 {
					t.Errorf("append: %+v", v)
				}
				next := filepath.Join(t.TempDir(), "next")
				copyFile(t, path, next)
				path = next
			}
			mustCheck(t, path)
		})
	}
}

// A journal that is damaged before its end is not opened and not changed; check tells, and a restore gets what stands before.
func TestJournalDamage(t *testing.T) {
	for name, c := range map[string]struct {
		damage func(t *testing.T, path string, j *journal)
		good   Seq // the last event before the damage
	}{
		"an entry": {func(t *testing.T, path string, j *journal) { overwrite(t, path, blockAt(j, 4)+60, []byte{1, 2, 3}) }, 24},
		"the first entry": {func(t *testing.T, path string, j *journal) {
			overwrite(t, path, j.at, make([]byte, 512))
		}, 20},
		"the key": {func(t *testing.T, path string, j *journal) {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			overwrite(t, path, int64(bytes.Index(b, j.key[:])), []byte{0, 0, 0})
		}, 20},
	} {
		t.Run(name, func(t *testing.T) {
			path, j := crashed(t)
			c.damage(t, path, j)
			for _, o := range []Options{quiet(), {ReadOnly: true}} {
				var corrupt *CorruptError
				if _, err := Open(path, o); !errors.As(err, &corrupt) || !errors.Is(err, errJournal) || corrupt.Seq != c.good+1 {
					t.Errorf("open: %v", err)
				}
			}
			r, err := Check(t.Context(), path, nil)
			if err != nil || len(r.Problems) != 1 || r.Problems[0].Invariant != CheckJournal || r.Problems[0].Seq != c.good+1 {
				t.Errorf("check: %v, %v", r.Problems, err)
			}
			dir := t.TempDir()
			for _, cut := range []Seq{0, c.good + 1} {
				if _, err := Restore(t.Context(), path, filepath.Join(dir, "none"), cut, nil); err == nil {
					t.Errorf("restored up to %d", cut)
				}
			}
			if info, err := Restore(t.Context(), path, filepath.Join(dir, "copy"), c.good, nil); err != nil || info.Cut != c.good {
				t.Errorf("restore: %+v, %v", info, err)
			}
		})
	}
}

// The events of a log that was sequenced elsewhere survive a kill, holes and all: they do not go into the journal.
func TestJournalIsNotForSparseLogs(t *testing.T) {
	dir := memoryDir(t)
	o := quiet()
	o.Sparse = true
	s := openTest(t, filepath.Join(dir, "live"), o)
	for _, seq := range []Seq{5, 6, 9} {
		if err := s.Apply(t.Context(), []Event{{Seq: seq, At: 1, ID: NewID(), Stream: "a", Type: "t"}}); err != nil {
			t.Fatal(err)
		}
	}
	left := filepath.Join(dir, "left")
	copyFile(t, filepath.Join(dir, "live"), left)
	again := openTest(t, left, o)
	if es := readAll(t, again, All, 0, PageLimit{}); len(es) != 3 || es[2].Seq != 9 {
		t.Errorf("%+v", es)
	}
}

// On a full disk the journal keeps what it has, over a restart too, and tools read it.
func TestJournalOnFullDisk(t *testing.T) {
	dir := smalldisk.Mount(t, "40m")
	path := filepath.Join(dir, "a.tidemark")
	o := quiet()
	o.reserve = -1
	s, err := Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	push(t, s, note("a", "0"))
	smalldisk.Fill(t, filepath.Join(dir, "ballast"))
	big := `"` + strings.Repeat("x", 50<<10) + `"`
	for i := 0; s.Writable() == nil; i++ {
		if push(t, s, note("a", big)); i > 1000 {
			t.Fatal("the disk never filled")
		}
	}
	head, held := s.Head(), s.Stats().JournalBytes
	if held == 0 {
		t.Fatal("the journal is empty")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	smalldisk.Fill(t, filepath.Join(dir, "ballast2"))
	if r := mustCheck(t, path); r.Head != head {
		t.Errorf("check finds head %d, want %d", r.Head, head)
	}
	if _, err := Restore(t.Context(), path, filepath.Join(memoryDir(t), "copy"), 0, nil); err != nil {
		t.Errorf("restore: %v", err)
	}
	s = openTest(t, path, o)
	if es := readAll(t, s, All, 0, PageLimit{}); Seq(len(es)) != head || s.Stats().JournalBytes != held {
		t.Errorf("%d events, want %d; %d bytes in the journal, want %d", len(es), head, s.Stats().JournalBytes, held)
	}
	for _, name := range []string{"ballast", "ballast2"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	for {
		v, err := s.AppendWait(ctx, &Push{Mutations: []Mutation{note("a", big)}})
		if err != nil {
			t.Fatal(err)
		}
		if v[0].Refusal == nil {
			break
		}
	}
	noJournal(t, s)
	if st := s.Stats(); st.Head != head+1 || st.JournalBytes != 0 {
		t.Errorf("head %d, want %d; %d bytes in the journal", st.Head, head+1, st.JournalBytes)
	}
}

// A file for which there is no room for a journal does without.
func TestNoRoomForAJournal(t *testing.T) {
	path := filepath.Join(memoryDir(t), "a.tidemark")
	s, err := Open(path, quiet())
	if err != nil {
		t.Fatal(err)
	}
	push(t, s, note("a", "0"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	db, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(db.Update(func(tx *bolt.Tx) error { return tx.DeleteBucket(bucketJournal) }), db.Close())
	if err != nil {
		t.Fatal(err)
	}
	mustCheck(t, path)
	ro := openReadOnly(t, path)
	if ro.Head() != 1 {
		t.Errorf("head %d", ro.Head())
	}
	if err := ro.Close(); err != nil {
		t.Fatal(err)
	}
	s = openTest(t, path, quiet())
	s.journal = nil
	push(t, s, note("a", "1"))
	if st := s.Stats(); st.Head != 2 || st.Journaled != 0 {
		t.Errorf("%+v", st)
	}
}

// FuzzJournal loads a journal of which anything may be wrong.
func FuzzJournal(f *testing.F) {
	key := [journalKeyLen]byte{1, 2, 3}
	maker := journal{key: key}
	var good []byte
	for seq := Seq(8); seq < 12; seq += 2 {
		good = append(good, maker.entry([]rawRecord{{seq, []byte("first")}, {seq + 1, bytes.Repeat([]byte{7}, 1500*int(seq-8))}})...)
	}
	f.Add(good, uint64(7))
	f.Add(good, uint64(9))
	f.Add(append(make([]byte, journalBlock), good...), uint64(7))
	f.Add([]byte("short"), uint64(0))
	f.Fuzz(func(t *testing.T, b []byte, head uint64) {
		j := journal{key: key, blocks: len(b) / journalBlock, found: b}
		held, err := j.load(Seq(head))
		if err != nil && !errors.Is(err, errJournal) {
			t.Error(err)
		}
		for i, r := range held {
			if r.seq != Seq(head)+Seq(i)+1 {
				t.Errorf("record %d has seq %d above %d", i, r.seq, head)
			}
		}
	})
}

// What is written is what is loaded, in entries of any size.
func TestJournalEntries(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 50 {
		j := journal{key: [journalKeyLen]byte{byte(r.Uint32())}, blocks: 60}
		var want []rawRecord
		for head := Seq(r.IntN(1000)); len(j.found) < 40*journalBlock; {
			entry := make([]rawRecord, 1+r.IntN(20))
			for i := range entry {
				head++
				entry[i] = rawRecord{head, bytes.Repeat([]byte{byte(head)}, r.IntN(1500))}
			}
			j.found = append(j.found, j.entry(entry)...)
			want = append(want, entry...)
		}
		used := len(j.found) / journalBlock
		j.found = append(j.found, make([]byte, 60*journalBlock)...)
		held, err := j.load(want[0].seq - 1)
		if err != nil || len(held) != len(want) || j.used != used {
			t.Fatalf("%d of %d records in %d of %d blocks, %v", len(held), len(want), j.used, used, err)
		}
		for i := range want {
			if held[i].seq != want[i].seq || !bytes.Equal(held[i].v, want[i].v) {
				t.Fatalf("record %d differs", i)
			}
		}
	}
}
