package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// A commit that only appends needs one sync, whatever the shape of the log's tree; any other needs two.
func TestSealListsAppends(t *testing.T) {
	sequential(t)
	o := quiet()
	o.journal.span, o.long = -1, -1
	s, err := Open(filepath.Join(t.TempDir(), "a.tidemark"), o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const n = 3000 // more leaves than one branch page has room for
	for i := range n {
		push(t, s, note("a", fmt.Sprintf(`"%0200d"`, i)))
	}
	st := s.Stats()
	if st.Commits < n || st.SyncedOnce < st.Commits-10 { // the first ones may stand in the page of the buckets
		t.Errorf("%d of %d commits were synced once", st.SyncedOnce, st.Commits)
	}
	for s.Stats().FlushSlices == 0 {
		if err := s.onWriter(t.Context(), func() error { s.flushSlice(); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	if got := s.Stats().SyncedOnce; got != st.SyncedOnce {
		t.Errorf("a flush counts as an append: %d, then %d", st.SyncedOnce, got)
	}
	long := make([]Mutation, 1000) // on more pages than a seal has room for
	for i := range long {
		long[i] = note("a", fmt.Sprintf(`"%01500d"`, i))
	}
	push(t, s, long...)
	if got := s.Stats(); got.Commits != st.Commits+1 || got.SyncedOnce != st.SyncedOnce {
		t.Errorf("a long commit was synced once: %+v", got)
	}
	if err := s.onWriter(t.Context(), func() error { s.logWriter.long.pages = longPages; return nil }); err != nil {
		t.Fatal(err)
	}
	for range 3 { // in long leaves there is room for any commit, whatever the one before left
		before := s.Stats()
		for i := range long {
			long[i] = note("a", fmt.Sprintf(`"%01500d"`, i))
		}
		push(t, s, long...)
		if got := s.Stats(); got.SyncedOnce != before.SyncedOnce+1 || got.LongBatches == before.LongBatches {
			t.Errorf("a long commit in long leaves: %+v", got)
		}
	}
}

// unclean makes a file as a process leaves it that is killed, with three commits and the pages that its seals list.
func unclean(t *testing.T) (path string, older, newer metaPage) {
	t.Helper()
	dir := t.TempDir()
	live, path := filepath.Join(dir, "live"), filepath.Join(dir, "left")
	o := quiet()
	o.journal.span = -1
	s, err := Open(live, o)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		push(t, s, note("a", fmt.Sprintf(`"%02000d"`, i)))
	}
	copyFile(t, live, path)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if older, newer, err = readMetas(f, os.Getpagesize(), os.Getpagesize()); err != nil {
		t.Fatal(err)
	}
	if !older.sealed || !newer.sealed || len(newer.seal.pages) == 0 {
		t.Fatalf("seals: %v %v", older.seal, newer.seal)
	}
	return path, older, newer
}

func overwrite(t *testing.T, path string, at int64, b []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = f.WriteAt(b, at); errors.Join(err, f.Close()) != nil {
		t.Fatal(err)
	}
}

// What a crash left of the last commit counts when all of it is there, and else not at all.
func TestSealRecovery(t *testing.T) {
	page := int64(os.Getpagesize())
	for name, c := range map[string]struct {
		damage func(t *testing.T, path string, older, newer metaPage)
		head   Seq
	}{
		"whole":            {func(*testing.T, string, metaPage, metaPage) {}, 3},
		"without its seal": {func(t *testing.T, path string, _, m metaPage) { overwrite(t, path, m.at+sealAt, make([]byte, 64)) }, 2},
		"with a torn seal": {func(t *testing.T, path string, _, m metaPage) { overwrite(t, path, m.at+sealAt+20, []byte{1, 2, 3}) }, 2},
		"with the seal of another": {func(t *testing.T, path string, o, m metaPage) {
			overwrite(t, path, m.at+sealAt, o.page[sealAt:])
		}, 2},
		"without a page": {func(t *testing.T, path string, _, m metaPage) {
			overwrite(t, path, int64(m.seal.pages[0].id)*page+100, make([]byte, 64))
		}, 2},
		"without the meta page": {func(t *testing.T, path string, _, m metaPage) { overwrite(t, path, m.at+metaAt, make([]byte, metaLen)) }, 2},
	} {
		t.Run(name, func(t *testing.T) {
			path, older, newer := unclean(t)
			c.damage(t, path, older, newer)
			if r := mustCheck(t, path); r.Head != c.head { // reading alone takes back what is not whole, too
				t.Errorf("check finds head %d, want %d", r.Head, c.head)
			}
			s := openTest(t, path, quiet())
			if s.Head() != c.head {
				t.Errorf("head %d, want %d", s.Head(), c.head)
			}
			if v := push(t, s, note("a", "4")); v[0].Seq != c.head+1 {
				t.Errorf("append: %+v", v)
			}
		})
	}
}

// A file of whose last commits neither is whole is not opened, and not changed.
func TestSealNeitherWhole(t *testing.T) {
	path, older, newer := unclean(t)
	for _, m := range []metaPage{older, newer} {
		overwrite(t, path, m.at+sealAt, make([]byte, 64))
	}
	seal := newer.seal
	seal.pages = slices.Clone(seal.pages)
	seal.pages[0].sum++
	overwrite(t, path, newer.at+sealAt, seal.append(nil))
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var corrupt *CorruptError
	if _, err := Open(path, quiet()); !errors.As(err, &corrupt) {
		t.Errorf("open: %v", err)
	}
	if _, err := Check(t.Context(), path, nil); !errors.As(err, &corrupt) {
		t.Errorf("check: %v", err)
	}
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the file was changed, %v", err)
	}
}

// A store that was closed has no seals: other programs that know bbolt may change it, and are believed.
func TestCloseTakesSealsAway(t *testing.T) {
	path, _, _ := unclean(t)
	s, err := Open(path, quiet())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	older, newer, err := readMetas(f, os.Getpagesize(), os.Getpagesize())
	if err != nil || older.sealed || newer.sealed {
		t.Errorf("sealed: %v, %v, %v", older.sealed, newer.sealed, err)
	}
}

func FuzzSeal(f *testing.F) {
	meta := make([]byte, 4096)
	s := seal{meta: parseMeta(meta).sum, pages: []sealedPage{{3, 1, 7}, {9, 4, 11}}}
	f.Add(append(slices.Clone(meta[:sealAt]), append(s.append(nil), make([]byte, 200)...)...))
	f.Add(meta)
	f.Add([]byte("SEAL"))
	f.Fuzz(func(t *testing.T, page []byte) {
		s, ok := parseSeal(page)
		if !ok {
			return
		}
		if again := s.append(nil); !bytes.HasPrefix(page[sealAt:], again) {
			t.Errorf("%x reads as %+v, which writes as %x", page[sealAt:], s, again)
		}
	})
}

// FuzzPages reads pages of which anything may be wrong.
func FuzzPages(f *testing.F) {
	leaf := make([]byte, 256)
	binary.NativeEndian.PutUint16(leaf[8:], kindLeaf)
	binary.NativeEndian.PutUint16(leaf[10:], 1)
	e := leaf[pageHeader:]
	binary.NativeEndian.PutUint32(e, bucketLeaf)
	binary.NativeEndian.PutUint32(e[4:], pageElement)
	binary.NativeEndian.PutUint32(e[8:], 3)
	copy(e[pageElement:], "log")
	binary.NativeEndian.PutUint64(e[pageElement+3:], 5)
	f.Add(leaf)
	branch := slices.Clone(leaf)
	binary.NativeEndian.PutUint16(branch[8:], kindBranch)
	f.Add(branch)
	if roots, log, err := buckets(leaf, nil); err != nil || log != 0 || roots[0] != 5 {
		f.Fatalf("%v %d %v", roots, log, err)
	}
	f.Fuzz(func(t *testing.T, page []byte) {
		if len(page) < pageHeader {
			return
		}
		if _, _, err := buckets(page, nil); err != nil && !errors.Is(err, errPages) {
			t.Error(err)
		}
		if _, err := children(page, nil); err != nil && !errors.Is(err, errPages) {
			t.Error(err)
		}
	})
}
