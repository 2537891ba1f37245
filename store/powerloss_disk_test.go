//go:build linux

package store

import (
	"encoding/gob"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
)

// The model of a disk that loses power: what was written and not yet synced may be there or not, each write by itself, whole or torn;
// names may be lost until their folder was synced.

type plKind uint8

const (
	plWrite    plKind = iota
	plTruncate        // Off is the size
	plSync            // of a file
	plSyncLost        // a sync that failed: what was pending is gone and counts as clean, as on ext4
	plCreate
	plLink
	plUnlink
	plRename
	plSyncDir
	plNote // what the process under test has told the outside world
)

// plOp is one recorded step of a file system.
type plOp struct {
	Kind plKind
	File int
	Off  int64
	Data []byte
	Name string
	To   string // plRename; the text of a plNote
}

// plRecording is a run of a store on a recorded disk.
type plRecording struct {
	Specs  []plSpec       // of all runs so far, the last one is the recorded one
	Seen   []plSeen       // what was told to the outside world before
	Log    ID             // the log's id, if that was told
	Files  map[int][]byte // the disk at the start
	Dir    map[string]int
	Ops    []plOp
	Broken bool // on purpose
	From   int  // images are made after this operation and those that follow
}

func saveRecordings(path string, recs []*plRecording) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return gob.NewEncoder(f).Encode(recs)
}

func loadRecordings(path string) (recs []*plRecording, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return recs, gob.NewDecoder(f).Decode(&recs)
}

// plDisk replays a recording. files and dir are what is durable.
type plDisk struct {
	files      map[int][]byte
	dir        map[string]int
	pending    []plOp // writes and truncations, of all files
	dirPending []plOp
	aside      map[int]bool // files that promise nothing
}

// plAside tells which files are none of the store's promises: they hold a process id, or tell of a failure. So that they do not
// multiply the images, they are on disk at once.
func plAside(name string) bool {
	return strings.HasSuffix(name, ".pid") || strings.HasSuffix(name, ".failed")
}

func (r *plRecording) disk() *plDisk {
	d := &plDisk{files: map[int][]byte{}, dir: maps.Clone(r.Dir), aside: map[int]bool{}}
	for name, n := range r.Dir {
		d.aside[n] = plAside(name)
	}
	for n, b := range r.Files {
		d.files[n] = slices.Clone(b)
	}
	if d.dir == nil {
		d.dir = map[string]int{}
	}
	return d
}

// step takes one operation.
func (d *plDisk) step(op plOp) {
	switch op.Kind {
	case plWrite, plTruncate:
		if d.aside[op.File] {
			d.files[op.File] = op.apply(d.files[op.File])
		} else {
			d.pending = append(d.pending, op)
		}
	case plSync, plSyncLost:
		d.pending = slices.DeleteFunc(d.pending, func(p plOp) bool {
			if p.File == op.File && op.Kind == plSync {
				d.files[p.File] = p.apply(d.files[p.File])
			}
			return p.File == op.File
		})
	case plCreate, plLink, plUnlink, plRename:
		if plAside(op.Name) {
			d.aside[op.File] = op.File != 0
			op.applyDir(d.dir)
		} else {
			d.dirPending = append(d.dirPending, op)
		}
	case plSyncDir:
		for _, p := range d.dirPending {
			p.applyDir(d.dir)
		}
		d.dirPending = nil
	}
}

func (op *plOp) apply(b []byte) []byte {
	end := op.Off + int64(len(op.Data))
	if op.Kind == plTruncate {
		end = op.Off
		if end < int64(len(b)) {
			clear(b[end:])
			return b[:end]
		}
	}
	if n := end - int64(len(b)); n > 0 {
		b = append(b, make([]byte, n)...)
	}
	copy(b[op.Off:], op.Data)
	return b
}

func (op *plOp) applyDir(dir map[string]int) {
	switch op.Kind {
	case plCreate, plLink:
		dir[op.Name] = op.File
	case plUnlink:
		delete(dir, op.Name)
	case plRename:
		if n, ok := dir[op.Name]; ok {
			dir[op.To] = n
			delete(dir, op.Name)
		}
	}
}

// plImage is a disk as it may be found after the power came back: some of the pending operations have been done, in a given
// order, some of them in part.
type plImage struct {
	ops []plOp
	dir map[string]int
	how string
}

// images calls fn with every image to look at after an operation. They are the ones that were not possible before it.
func (d *plDisk) images(r *rand.Rand, op plOp, fn func(plImage)) {
	if d.aside[op.File] || plAside(op.Name) {
		return
	}
	switch op.Kind {
	case plWrite, plTruncate:
		d.dirs(func(dir map[string]int, how string) { d.afterWrite(r, dir, how, fn) })
	case plNote:
		d.dirs(func(dir map[string]int, how string) { d.afterNote(r, dir, how, fn) })
	case plSyncLost:
		fn(plImage{dir: d.dir, how: "synced only, after a sync that failed"})
	case plCreate, plLink, plUnlink, plRename, plSyncDir:
		d.dirs(func(dir map[string]int, how string) {
			fn(plImage{dir: dir, how: how + "synced only"})
			if len(d.pending) > 0 {
				fn(plImage{dir: dir, ops: d.pending, how: how + "all writes"})
			}
		})
	}
}

// dirs calls fn with the folders that may be found: the first n of the pending changes of names are done, or one is lost.
func (d *plDisk) dirs(fn func(dir map[string]int, how string)) {
	if len(d.dirPending) == 0 {
		fn(d.dir, "")
		return
	}
	for n := range len(d.dirPending) + 1 {
		dir := maps.Clone(d.dir)
		for _, p := range d.dirPending[:n] {
			p.applyDir(dir)
		}
		fn(dir, "names partly, ")
	}
	for lost := range len(d.dirPending) - 1 {
		dir := maps.Clone(d.dir)
		for i, p := range d.dirPending {
			if i != lost {
				p.applyDir(dir)
			}
		}
		fn(dir, "a name lost, ")
	}
}

// plExhaustive is up to how many pending writes every subset is looked at.
const plExhaustive = 6

// afterWrite makes images that have the newest write, at least in part. The pending writes of other files are there all, or not at all.
func (d *plDisk) afterWrite(r *rand.Rand, dir map[string]int, how string, fn func(plImage)) {
	last := d.pending[len(d.pending)-1]
	before, others := []plOp{}, []plOp{}
	for _, op := range d.pending[:len(d.pending)-1] {
		if op.File == last.File {
			before = append(before, op)
		} else {
			others = append(others, op)
		}
	}
	give := func(ops []plOp, what string) {
		if len(others) > 0 && r.IntN(2) == 0 {
			ops = slices.Concat(others, ops)
		}
		fn(plImage{ops: ops, dir: dir, how: how + what})
	}
	give(append(slices.Clone(before), last), "all writes")
	if main, there := dir[plName]; there && main != last.File {
		give([]plOp{last}, "one write of another file alone")
		return
	}
	d.subsets(r, before, last, give)
	all := append(slices.Clone(before), last)
	r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	if len(all) > 1 && !overlap(all) {
		give(all, "all writes in another order")
	}
	for _, size := range []int{512, 4096} {
		for _, torn := range d.torn(r, last, size) {
			give([]plOp{torn}, "a torn write alone")
			if len(before) > 0 {
				give(append(slices.Clone(before), torn), "the last write torn")
			}
		}
	}
}

// subsets makes images of the last write and some of those before it.
func (d *plDisk) subsets(r *rand.Rand, before []plOp, last plOp, give func([]plOp, string)) {
	if len(before) < plExhaustive {
		for set := range 1<<len(before) - 1 {
			give(append(pick(before, func(i int) bool { return set>>i&1 == 1 }), last), "a subset")
		}
		return
	}
	give([]plOp{last}, "one write alone")
	for lost := range before {
		give(append(pick(before, func(i int) bool { return i != lost }), last), "one write lost")
	}
	for range 8 {
		give(append(pick(before, func(int) bool { return r.IntN(2) == 0 }), last), "some writes")
	}
}

// afterNote makes images for what has just been promised. With all syncs in place nothing is pending.
func (d *plDisk) afterNote(r *rand.Rand, dir map[string]int, how string, fn func(plImage)) {
	fn(plImage{dir: dir, how: how + "synced only"})
	if len(d.pending) == 0 {
		return
	}
	fn(plImage{ops: d.pending, dir: dir, how: how + "all writes"})
	for range 4 {
		fn(plImage{ops: pick(d.pending, func(int) bool { return r.IntN(2) == 0 }), dir: dir, how: how + "some writes"})
	}
}

func pick(ops []plOp, want func(i int) bool) (out []plOp) {
	for i, op := range ops {
		if want(i) {
			out = append(out, op)
		}
	}
	return out
}

func overlap(ops []plOp) bool {
	for i, a := range ops {
		for _, b := range ops[:i] {
			if a.Kind == plTruncate || b.Kind == plTruncate ||
				a.File == b.File && a.Off < b.Off+int64(len(b.Data)) && b.Off < a.Off+int64(len(a.Data)) {
				return true
			}
		}
	}
	return false
}

// torn makes partial versions of a write: its beginning, its end, some sectors of it, and garbage in one sector that it was to change.
func (d *plDisk) torn(r *rand.Rand, op plOp, size int) (out []plOp) {
	n := (len(op.Data) + size - 1) / size
	if op.Kind != plWrite || n < 2 && size > 512 {
		return nil
	}
	was := make([]byte, len(op.Data))
	if b := d.files[op.File]; op.Off < int64(len(b)) {
		copy(was, b[op.Off:])
	}
	mix := func(keep func(i int) bool) {
		data := slices.Clone(op.Data)
		for i := range n {
			if lo, hi := i*size, min((i+1)*size, len(data)); !keep(i) {
				copy(data[lo:hi], was[lo:hi])
			}
		}
		out = append(out, plOp{Kind: plWrite, File: op.File, Off: op.Off, Data: data})
	}
	if n > 1 {
		cut := 1 + r.IntN(n-1)
		mix(func(i int) bool { return i < cut })
		mix(func(i int) bool { return i >= cut })
		mix(func(int) bool { return r.IntN(2) == 0 })
	}
	at := r.IntN(n)
	if lo, hi := at*size, min((at+1)*size, len(op.Data)); !slices.Equal(op.Data[lo:hi], was[lo:hi]) {
		data := slices.Clone(op.Data)
		for i := lo; i < hi; i++ {
			data[i] = byte(r.Uint32())
		}
		out = append(out, plOp{Kind: plWrite, File: op.File, Off: op.Off, Data: data})
	}
	return out
}
