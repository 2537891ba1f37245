package bench

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tidemark/store"
)

// TestNoServer: where nobody answers, a benchmark ends and says so.
func TestNoServer(t *testing.T) {
	if testing.Short() {
		t.Skip("waits")
	}
	b := &Bench{Common: Common{Server: "http://127.0.0.1:1", IDs: "v7"}}
	err := b.Run(t.Context(), &Append{Clients: 1, Outstanding: 1, Streams: 1, Duration: time.Second})
	if err == nil || !strings.Contains(err.Error(), "no server answers at http://127.0.0.1:1") {
		t.Errorf("%v", err)
	}
}

// TestPreload holds a preloaded file against the store's own check, and its content against what was asked for.
func TestPreload(t *testing.T) {
	const n = 2500 // some pushes, the last of them short
	for version, kind := range map[byte]string{4: "v4", 7: "v7"} {
		path := filepath.Join(t.TempDir(), "data")
		b := &Bench{Common: Common{IDs: kind, Payload: 50}, Say: func(string) {}, Progress: func(int64, int64) {}}
		if err := b.preload(t.Context(), path, n, streams(3)); err != nil {
			t.Fatal(err)
		}
		r, err := store.Check(t.Context(), path, nil)
		if err != nil || r.Err() != nil || r.Events != n || r.Streams != 3 {
			t.Fatalf("%s: %d events in %d streams, %v, %v", kind, r.Events, r.Streams, err, r.Err())
		}
		if got := r.HeadID[6] >> 4; got != version {
			t.Errorf("%s: the last id is of version %d", kind, got)
		}
		if r.Checkpoint != r.Head {
			t.Errorf("%s: views stand at %d of %d", kind, r.Checkpoint, r.Head)
		}
	}
}

// TestBase shows that the file to begin with is made once and measured as a copy.
func TestBase(t *testing.T) {
	dir := t.TempDir()
	b := &Bench{Common: Common{IDs: "v7", Preload: 10, Data: filepath.Join(dir, "base")}, Say: func(string) {}, Progress: func(int64, int64) {}}
	path, err := b.base(t.Context(), streams(1))
	if err != nil || path != b.Data || b.events != 10 {
		t.Fatalf("%q with %d events, %v", path, b.events, err)
	}
	to := filepath.Join(dir, "copy")
	if err := b.copyFile(t.Context(), path, to); err != nil {
		t.Fatal(err)
	}
	if r, err := store.Check(t.Context(), to, nil); err != nil || r.Err() != nil || r.Events != 10 {
		t.Fatalf("the copy has %d events, %v, %v", r.Events, err, r.Err())
	}
	more := &Bench{Common: Common{IDs: "v7", Preload: 11, Data: b.Data}, Say: func(string) {}}
	if _, err := more.base(t.Context(), streams(1)); err == nil {
		t.Error("a file with too few events is taken for a preloaded one")
	}
	db, err := store.Open(b.Data, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	b.baseReady = false
	if _, err := b.base(t.Context(), streams(1)); err == nil {
		t.Error("a file that a server has open is copied")
	}
}
