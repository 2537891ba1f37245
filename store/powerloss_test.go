//go:build linux

package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// The power-loss test: a store in a process of its own writes to a folder in user space (FUSE) that records every operation in
// the order in which it happened, acknowledgements included. Then, after each operation, every state is made in which
// a disk may be found when the power came back; the store opens each of them, and what it has is compared with everything that it
// ever acknowledged or delivered.

// TestPowerLoss covers all kinds of work: creation, groups, flushes, trims, merges of id runs, backups.
func TestPowerLoss(t *testing.T) {
	sequential(t)
	specs := []plSpec{
		{Seed: 1, Count: 250, Span: 1, Random: true, Trim: 9, Keep: 60, Close: true},
		{Seed: 2, Count: 250, Span: 2, Backup: 20},
		{Seed: 3, Count: 250, Bulk: true, Random: true},
		{Seed: 4, Count: 250, Span: 7, Trim: 5, Keep: 10},
		{Seed: 5, Count: 250, Span: 3, Trim: 20, Keep: 200, Close: true},
		{Seed: 7, Count: 150, Bulk: true, Span: 4, Trim: 6, Keep: 60},
		{Seed: 6, Count: 250, Random: true, Trim: 7, Keep: 100, Backup: 45},
	}
	var recs []*plRecording
	var done [8]int
	for _, spec := range specs {
		rec := plRecord(t, spec)
		recs = append(recs, rec)
		for i, n := range rec.did() {
			done[i] += n
		}
		for i, img := range rec.sample(t, 4) {
			recs = append(recs, img.record(t, plSpec{Seed: spec.Seed + 100, Count: 25, Span: i % 3, Random: spec.Random, Close: true}))
		}
	}
	images := plMustBeGood(t, recs)
	t.Logf("%d images of %d recordings, with %d flushes, %d merges of id runs, %d trims, %d backups; %d groups in the journal, %d times emptied, %d other commits; %d long batches",
		images, len(recs), done[0], done[1], done[2], done[3], done[4], done[5], done[6], done[7])
	plMustBeMany(t, images, 70_000)
	if slices.Contains(done[:], 0) {
		t.Error("a kind of work was not done at all")
	}
}

// TestPowerLossSyncFails lets every sync of a short run fail, one by one: what was to be synced is lost, or kept for later. The
// store must stop at once, and start again, whatever the page cache shows of what the disk does not have.
func TestPowerLossSyncFails(t *testing.T) {
	sequential(t)
	spec, next := plSpec{Seed: 11, Count: 50, Span: 1, Random: true, Trim: 4, Keep: 10, Close: true}, plSpec{Seed: 12, Count: 10, Span: 1, Close: true}
	var recs []*plRecording
	failed := 0
	for n := 1; ; n++ {
		more := append(plSyncFails(t, spec, next, n, true), plSyncFails(t, spec, next, n, false)...)
		if len(more) == 0 {
			break
		}
		recs, failed = append(recs, more...), n
	}
	images := plMustBeGood(t, recs)
	t.Logf("syncs 1 to %d failed, %d images of %d recordings", failed, images, len(recs))
	plMustBeMany(t, images, 30_000)
	if failed < 20 {
		t.Error("the run had hardly any syncs")
	}
}

// plSyncFails records a run whose n-th sync fails, and the next run on the same machine; nothing when the run ended before.
func plSyncFails(t *testing.T, spec, next plSpec, n int, lost bool) []*plRecording {
	w := newWorld(nil, nil)
	w.failAt, w.lost, w.errno = n, lost, []syscall.Errno{syscall.EIO, syscall.ENOSPC}[n/2%2]
	exit, out := w.run(t, spec)
	if w.syncs < n { // groups are not the same in every run: this one had fewer
		return nil
	}
	if exit != plExitFailed && exit != plExitOpen {
		t.Fatalf("sync %d failed, and the store went on: exit code %d: %s", n, exit, out)
	}
	rec := &plRecording{Specs: []plSpec{spec}, Ops: w.ops}
	rec.From = max(0, len(rec.Ops)-6)
	return []*plRecording{rec, rec.restart(t, w, next)}
}

// restart records a new process on the machine of the recording: it sees what the page cache has.
func (rec *plRecording) restart(t *testing.T, w *plWorld, next plSpec) *plRecording {
	after := newWorld(w.view(), w.dir)
	if exit, out := after.run(t, next); exit != 0 {
		t.Fatalf("the start after a failed sync: exit code %d: %s", exit, out)
	}
	d := rec.disk()
	for _, op := range rec.Ops {
		d.step(op)
	}
	n := rec.next(len(rec.Ops), next)
	n.Files, n.Dir = d.files, d.dir
	n.Ops, n.From = slices.Concat(d.pending, d.dirPending, after.ops), len(d.pending)+len(d.dirPending)
	return n
}

// TestPowerLossControls breaks one promise after the other. The test is worth something only if it finds out.
func TestPowerLossControls(t *testing.T) {
	sequential(t)
	short := plSpec{Seed: 21, Count: 60, Random: true, Trim: 9, Keep: 20}
	promises := []struct {
		name string
		span int
	}{
		{"acknowledge before commit", 1}, {"acknowledge before commit", 0}, {"publish before commit", 1}, {"no sync", 1}, {"no sync", 0},
		{"seals without checksums", 0}, {"journal without checksums", 2},
	}
	for _, p := range promises {
		t.Run(fmt.Sprintf("%s, span %d", p.name, p.span), func(t *testing.T) {
			spec := short
			spec.Control, spec.Span = p.name, p.span
			plMustBeBad(t, []*plRecording{plRecord(t, spec)})
		})
	}
	t.Run("no sync of the folder", func(t *testing.T) {
		rec := plRecord(t, short)
		rec.Ops = slices.DeleteFunc(rec.Ops, func(op plOp) bool { return op.Kind == plSyncDir })
		plMustBeBad(t, []*plRecording{rec})
	})
	t.Run("continue after an I/O error", func(t *testing.T) {
		spec := short
		spec.Control = "continue after an I/O error"
		var recs []*plRecording
		for n := 12; n < 32; n++ {
			w := newWorld(nil, nil)
			w.failAt, w.lost, w.errno = n, true, syscall.EIO
			w.run(t, spec)
			recs = append(recs, &plRecording{Specs: []plSpec{spec}, Ops: w.ops})
		}
		plMustBeBad(t, recs)
	})
	t.Run("no recovery of the commit", func(t *testing.T) {
		next := plSpec{Seed: 22, Count: 10, Control: "no recovery of the commit"}
		var recs []*plRecording
		for n := 8; n < 20; n++ {
			recs = append(recs, plSyncFails(t, short, next, n, true)...)
		}
		plMustBeBad(t, recs)
	})
}

// TestPowerLossBitFlips damages records of a file on disk: each is refused by its seq. Without the check of checksums, the
// comparison finds out.
func TestPowerLossBitFlips(t *testing.T) {
	sequential(t)
	rec := plRecord(t, plSpec{Seed: 31, Count: 80, Close: true})
	truth, err := newTruth(rec)
	if err != nil {
		t.Fatal(err)
	}
	d := rec.disk()
	for _, op := range rec.Ops {
		d.step(op)
		if op.Kind == plNote {
			truth.hear(op.To)
		}
	}
	file := d.files[d.dir[plName]]
	for _, off := range []bool{false, true} {
		o := rec.Specs[0].options()
		o.TailBytes = 1 // nothing is read ahead at the start
		o.faults.noCRC = off
		silent := 0
		for i := range 30 {
			if plFlip(t, truth, o, file, i) {
				silent++
			}
		}
		if (silent > 0) != off {
			t.Errorf("checksums off: %v; %d damaged records were read as good", off, silent)
		}
	}
}

// plFlip damages the data of an event and reports whether it reads as good, and wrong.
func plFlip(t *testing.T, truth *plTruth, o Options, file []byte, i int) (silent bool) {
	e := truth.events[i]
	at := bytes.Index(file, fmt.Appendf(nil, `{"n":%d,`, i))
	if at < 0 || e.Op == OpDelete {
		return false
	}
	bad := slices.Clone(file)
	for n := at; n >= 0 && n < len(bad); { // every copy of it: pages that were in use before have some, too
		bad[n+5] ^= 1
		next := bytes.Index(bad[n+1:], fmt.Appendf(nil, `{"n":%d,`, i))
		if next < 0 {
			break
		}
		n += 1 + next
	}
	path := filepath.Join(plDir(t), plName)
	if err := os.WriteFile(path, bad, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := Open(path, o)
	if err != nil {
		return false
	}
	defer s.Close()
	p, err := s.Read(All, e.Seq-1, PageLimit{Events: 1})
	var corrupt *CorruptError
	switch {
	case errors.As(err, &corrupt):
		if corrupt.Seq != e.Seq {
			t.Errorf("damage to event %d is reported as one of %d", e.Seq, corrupt.Seq)
		}
		return false
	case err != nil || len(p.Events) == 0:
		t.Errorf("damage to event %d: %v, %d events", e.Seq, err, len(p.Events))
		return false
	}
	return truth.sameEvent(&p.Events[0], &e) != nil
}

// plRecord runs a process on a new disk.
func plRecord(t testing.TB, spec plSpec) *plRecording {
	t.Helper()
	w := newWorld(nil, nil)
	exit, out := w.run(t, spec)
	if exit != 0 {
		t.Fatalf("%+v: exit code %d: %s", spec, exit, out)
	}
	return &plRecording{Specs: []plSpec{spec}, Ops: w.ops}
}

// did returns what the run has done: flushes, merges of id runs, trims, backups, groups in the journal, times that this
// was emptied, other commits, long batches.
func (rec *plRecording) did() (n [8]int) {
	for _, op := range rec.Ops {
		if strings.HasPrefix(op.To, "did ") {
			fmt.Sscanf(op.To, "did %d %d %d %d %d %d %d %d", &n[0], &n[1], &n[2], &n[3], &n[4], &n[5], &n[6], &n[7])
		}
	}
	return n
}

// next begins the recording of a process that comes after the first at operations of this one.
func (rec *plRecording) next(at int, spec plSpec) *plRecording {
	n := &plRecording{Specs: append(slices.Clone(rec.Specs), spec), Seen: slices.Clone(rec.Seen), Log: rec.Log}
	for _, op := range rec.Ops[:at] {
		n.Seen = append(n.Seen, plSeenIn(op.To)...)
		if id, ok := strings.CutPrefix(op.To, "log "); ok {
			n.Log, _ = ParseID(strings.TrimSpace(id))
		}
	}
	return n
}

// plFound is a disk after the power came back.
type plFound struct {
	rec   *plRecording
	at    int
	files map[int][]byte
	dir   map[string]int
}

// sample returns some of the images.
func (rec *plRecording) sample(t testing.TB, want int) (out []plFound) {
	total := 0
	rec.each(func(int, *plDisk, plImage) { total++ }, func(string) {})
	r, chosen := rand.New(rand.NewPCG(4, uint64(total))), map[int]bool{}
	for len(chosen) < min(want, total) {
		chosen[r.IntN(total)] = true
	}
	n := 0
	rec.each(func(at int, d *plDisk, img plImage) {
		if n++; chosen[n-1] {
			f := plFound{rec: rec, at: at, files: map[int][]byte{}, dir: maps.Clone(img.dir)}
			for _, file := range img.dir {
				f.files[file] = d.content(nil, img, file)
			}
			out = append(out, f)
		}
	}, func(string) {})
	return out
}

// record runs a process on the disk: its recovery is recorded, and can be cut as well.
func (f *plFound) record(t testing.TB, spec plSpec) *plRecording {
	t.Helper()
	w := newWorld(f.files, f.dir)
	exit, out := w.run(t, spec)
	if exit != 0 {
		t.Fatalf("the start after a power loss at operation %d: exit code %d: %s", f.at, exit, out)
	}
	n := f.rec.next(f.at+1, spec)
	n.Files, n.Dir, n.Ops = f.files, f.dir, w.ops
	return n
}

// plMustBeGood checks all images of some recordings and returns how many they were.
func plMustBeGood(t *testing.T, recs []*plRecording) (images int) {
	t.Helper()
	for i, rep := range plCheckAll(t, recs) {
		images += rep.Images
		for _, what := range rep.First {
			t.Errorf("recording %d (%+v): %s", i, recs[i].Specs, what)
		}
	}
	return images
}

// plMustBeMany keeps the promise that one run of all tests looks at 100,000 images or more.
func plMustBeMany(t *testing.T, images, want int) {
	t.Helper()
	if images < want {
		t.Errorf("%d images are fewer than %d", images, want)
	}
}

// plMustBeBad proves that the checks find something in one of the recordings.
func plMustBeBad(t *testing.T, recs []*plRecording) {
	t.Helper()
	images := 0
	for _, rec := range recs {
		rec.Broken = true
		rep := plCheckAll(t, []*plRecording{rec})[0]
		if images += rep.Images; rep.Bad > 0 {
			t.Logf("found after %d images: %.300s", images, rep.First[0])
			return
		}
	}
	t.Errorf("a store that breaks its promise passes all of %d images", images)
}

// plCheckAll looks at all images of some recordings, in a process for each processor: what a broken file may do to a process
// must not end the test.
func plCheckAll(t testing.TB, recs []*plRecording) []plReport {
	t.Helper()
	dir := plDir(t)
	path := filepath.Join(dir, "recordings")
	if err := saveRecordings(path, recs); err != nil {
		t.Fatal(err)
	}
	parts := runtime.GOMAXPROCS(0)
	parallel := make(chan []plReport, parts)
	for part := range parts {
		sub := filepath.Join(dir, fmt.Sprint(part))
		if err := os.Mkdir(sub, 0o700); err != nil {
			t.Fatal(err)
		}
		go func() { parallel <- plCheckPart(path, sub, part, parts) }()
	}
	sum := make([]plReport, len(recs))
	for range parts {
		for i, rep := range <-parallel {
			sum[i].Images += rep.Images
			sum[i].Bad += rep.Bad
			sum[i].First = append(sum[i].First, rep.First...)
		}
	}
	return sum
}

func plCheckPart(recordings, dir string, part, parts int) (reports []plReport) {
	var out, errs bytes.Buffer
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), plEnv+"=check", "GOMAXPROCS=1", plEnv+"_REC="+recordings, plEnv+"_DIR="+dir, plEnv+fmt.Sprintf("_PART=%d/%d", part, parts))
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if e := json.Unmarshal(out.Bytes(), &reports); e != nil || err != nil {
		reports = []plReport{{Bad: 1, First: []string{fmt.Sprintf("the process that checks died: %v: %.2000s", err, errs.String())}}}
	}
	return reports
}

// plDir is a folder in memory where there is one.
func plDir(t testing.TB) string {
	dir, err := os.MkdirTemp("/dev/shm", "tidemark-powerloss-*")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}
