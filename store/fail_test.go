package store

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"tidemark/internal/smalldisk"
)

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.tidemark")
	s := openTest(t, path, quiet())
	push(t, s, note("a", "1"))

	if _, err := Open(path, quiet()); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), strconv.Itoa(os.Getpid())) {
		t.Errorf("second open: %v", err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(link, quiet()); err == nil || !strings.Contains(err.Error(), "symbolic link") {
		t.Errorf("symbolic link: %v", err)
	}
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte(strings.Repeat("not a store\n", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(text, quiet()); !errors.Is(err, ErrNotStore) {
		t.Errorf("text file: %v", err)
	}
	other := filepath.Join(dir, "other.db")
	db, err := bolt.Open(other, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(other, quiet()); !errors.Is(err, ErrNotStore) {
		t.Errorf("another program's bbolt file: %v", err)
	}
}

func TestOpenRefusesNewerFormat(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.tidemark")
	s, err := Open(path, quiet())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	db, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		return tx.Bucket(bucketMeta).Put(metaFormat, binary.BigEndian.AppendUint32(nil, formatVersion+1))
	})
	if err = errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path, quiet()); !errors.Is(err, ErrNewerFormat) {
		t.Errorf("got %v", err)
	}
}

// A crash while a store is first created leaves no half-made one under its name.
func TestCreateLeavesNoHalf(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.tidemark")
	o := quiet()
	if err := o.validate(); err != nil {
		t.Fatal(err)
	}
	boom := errors.New("boom")
	if err := create(path, o, func(*bolt.Tx) error { return boom }); !errors.Is(err, boom) {
		t.Fatalf("got %v", err)
	}
	if left, err := filepath.Glob(path + "*"); err != nil || len(left) > 0 {
		t.Fatalf("left behind: %v %v", left, err)
	}
}

// A server whose disk is full gets out of that by itself when its retention lets something go: what trimming frees in the
// file is room for new events, though the disk has none.
func TestRetentionOnFullDisk(t *testing.T) {
	more := 1000 // events of 20 KB: 20 MB more than the disk has room for
	if testing.Short() {
		more = 300
	}
	for name, reserve := range map[string]int64{"reserve": 1 << 20, "no reserve": -1} {
		t.Run(name, func(t *testing.T) {
			if testing.Short() && reserve < 0 {
				t.Skip("mostly waits")
			}
			dir := smalldisk.Mount(t, "40m")
			path, ballast := filepath.Join(dir, "a.tidemark"), filepath.Join(dir, "ballast")
			o := quiet()
			o.reserve = reserve
			s, err := Open(path, o)
			if err != nil {
				t.Fatal(err)
			}
			payload := `"` + strings.Repeat("x", 20<<10) + `"`
			for range 1000 {
				push(t, s, note("a", payload))
			}
			smalldisk.Fill(t, ballast)
			for i := 0; s.Writable() == nil; i++ {
				if push(t, s, note("a", payload)); i == 10_000 {
					t.Fatal("the disk never filled")
				}
			}
			head := s.Head()
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			smalldisk.Fill(t, ballast+"2") // what Close may have set free

			o.Retention = Retention{Bytes: 4 << 20}
			s = openTest(t, path, o)
			ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
			defer cancel()
			for accepted := 0; accepted < more; {
				v, err := s.AppendWait(ctx, &Push{Mutations: []Mutation{note("a", payload)}})
				if err != nil {
					t.Fatalf("after %d events: %v", accepted, err)
				}
				switch r := v[0].Refusal; {
				case r == nil:
					accepted++
				case r.Code == CodeReadOnly:
					time.Sleep(10 * time.Millisecond)
				default:
					t.Fatal(r)
				}
			}
			err = s.onWriter(t.Context(), func() error {
				s.flushTo(s.Head())
				for s.retainStep(true) {
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			st := s.Stats()
			if st.Head != head+Seq(more) || st.LogBytes > 4<<20 || st.Floor < head {
				t.Errorf("head %d, floor %d, %d bytes in the log", st.Head, st.Floor, st.LogBytes)
			}
			if reserve > 0 && st.TrimsFull == 0 { // without, the disk is not known to be full before something did not fit
				t.Error("nothing was trimmed while the disk was full")
			}
		})
	}
}

// A disk that fills refuses appends by name, goes on answering reads and duplicates, keeps the order of a source, and
// accepts again by itself when there is room.
func TestDiskFull(t *testing.T) {
	dir := smalldisk.Mount(t, "40m")
	for name, reserve := range map[string]int64{"reserve": 1 << 20, "no reserve": -1} {
		t.Run(name, func(t *testing.T) {
			o := quiet()
			o.reserve = reserve
			path := filepath.Join(dir, "a.tidemark")
			s, err := Open(path, o)
			if err != nil {
				t.Fatal(err)
			}
			testDiskFull(t, s, filepath.Join(dir, "ballast"))
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s, err = Open(path, o)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func testDiskFull(t *testing.T, s *Store, ballast string) {
	first := note("a", `"first"`)
	push(t, s, first)
	if err := os.WriteFile(ballast, make([]byte, 15<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	big := `"` + strings.Repeat("x", 100<<10) + `"`
	src := &Source{}
	send := func(m Mutation) Verdict {
		t.Helper()
		v, err := s.AppendWait(t.Context(), &Push{Source: src, Mutations: []Mutation{m}})
		if err != nil {
			t.Fatal(err)
		}
		return v[0]
	}
	var refused Mutation
	accepted := 1
	for ; refused.ID.IsZero() && accepted < 1000; accepted++ {
		m := note("a", big)
		if v := send(m); v.Refusal != nil {
			if v.Refusal.Code != CodeReadOnly {
				t.Fatalf("refused with %v", v.Refusal)
			}
			refused = m
			break
		}
	}
	if refused.ID.IsZero() {
		t.Fatal("the disk never filled")
	}
	if s.Writable() == nil {
		t.Error("the store says that it is writable")
	}
	if v := push(t, s, first); !v[0].Dup || v[0].Seq != 1 {
		t.Errorf("duplicate while full: %+v", v)
	}
	later := note("a", `"small"`)
	if v := send(later); v.Refusal == nil || v.Refusal.Code != CodeReadOnly {
		t.Errorf("a later mutation overtook the refused one: %+v", v)
	}
	if got := len(readAll(t, s, All, 0, PageLimit{})); got != accepted {
		t.Errorf("%d events readable, %d accepted", got, accepted)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for s.Writable() != nil {
		select {
		case <-ctx.Done():
			t.Fatal("appends were not accepted again")
		case <-time.After(50 * time.Millisecond):
		}
	}
	if v := send(later); v.Refusal == nil {
		t.Errorf("a later mutation was accepted before the refused one: %+v", v)
	}
	if v := send(refused); v.Refusal != nil {
		t.Fatalf("after there was room: %v", v.Refusal)
	}
	if v := send(later); v.Refusal != nil {
		t.Errorf("the rest of the queue: %v", v.Refusal)
	}
	if st := s.Stats(); st.DiskFull == 0 && st.ReserveExtended == 0 {
		t.Error("neither path was taken")
	}
}

// After an error that may have left anything on disk, nothing is acknowledged or delivered any more.
func TestFailStop(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.tidemark")
	o := quiet()
	told := make(chan error, 1)
	o.OnFail = func(err error) { told <- err }
	s, err := Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	push(t, s, note("a", "1"))
	boom := errors.New("input/output error")
	s.fail(boom)
	if err := <-told; !errors.Is(err, boom) {
		t.Errorf("told %v", err)
	}
	if _, err := s.Read(All, 0, PageLimit{}); !errors.Is(err, ErrFailed) {
		t.Errorf("read: %v", err)
	}
	if _, _, err := s.Doc("a", "k"); !errors.Is(err, ErrFailed) {
		t.Errorf("doc: %v", err)
	}
	if _, err := s.AppendWait(t.Context(), &Push{Mutations: []Mutation{note("a", "2")}}); !errors.Is(err, ErrFailed) {
		t.Errorf("append: %v", err)
	}
	if err := s.Close(); !errors.Is(err, boom) {
		t.Errorf("close: %v", err)
	}
	if m, err := FailureMarker(path); err != nil || !strings.Contains(m, boom.Error()) {
		t.Errorf("marker %q %v", m, err)
	}
	if err := Recover(path); err != nil {
		t.Fatal(err)
	}
	s = openTest(t, path, quiet())
	if m, _ := FailureMarker(path); m != "" {
		t.Errorf("the marker stays: %q", m)
	}
	if s.Head() != 1 {
		t.Errorf("head %d", s.Head())
	}
}

// A file that is cut short under the running server faults; the fault is an error of the disk, not the end of the process.
func TestFaultWhileReading(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.tidemark")
	o := quiet()
	o.TailBytes = 1
	s, err := Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	fill(t, s, 5000, func(int) Stream { return "a" })
	noJournal(t, s)
	if err := os.Truncate(path, 3*int64(os.Getpagesize())); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Read(All, 0, PageLimit{}); !errors.Is(err, ErrFailed) {
		t.Errorf("read: %v", err)
	}
	if err := s.Close(); !errors.Is(err, ErrFailed) {
		t.Errorf("close: %v", err)
	}
}
