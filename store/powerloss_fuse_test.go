//go:build linux

package store

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// plWorld is a folder in user space that records what is done to it. The store under test runs in a process of its own: a
// process that maps files which it serves itself locks up.
type plWorld struct {
	mu     sync.Mutex
	files  map[int]*plNode
	dir    map[string]int
	next   int
	ops    []plOp
	syncs  int
	failAt int  // the sync of a file that fails; 0: none
	lost   bool // and what it was to sync is lost
	errno  syscall.Errno
}

// plNotes is the name of the file through which the store's process tells what it tells its clients: as every operation
// waits for its answer, notes and writes are recorded in the order in which they happened.
const plNotes = "notes"

func newWorld(files map[int][]byte, dir map[string]int) *plWorld {
	w := &plWorld{files: map[int]*plNode{}, dir: maps.Clone(dir), next: 1}
	if w.dir == nil {
		w.dir = map[string]int{}
	}
	for n, b := range files {
		w.files[n] = &plNode{w: w, n: n, data: slices.Clone(b)}
		w.next = max(w.next, n+1)
	}
	return w
}

func (w *plWorld) record(op plOp) { w.ops = append(w.ops, op) }

// sync counts the syncs of files and lets one fail.
func (w *plWorld) sync(n int) syscall.Errno {
	w.syncs++
	if w.syncs != w.failAt {
		w.record(plOp{Kind: plSync, File: n})
		return 0
	}
	if w.lost {
		w.record(plOp{Kind: plSyncLost, File: n})
	}
	return w.errno
}

// run mounts the world and runs the test binary on it as the process that spec describes.
func (w *plWorld) run(t testing.TB, spec plSpec) (exit int, output string) {
	t.Helper()
	dir := t.TempDir()
	root := &plRoot{w: w}
	srv, err := fs.Mount(dir, root, &fs.Options{
		MountOptions:    fuse.MountOptions{DirectMount: true, FsName: "tidemark-powerloss", Name: "tidemark", MaxWrite: 1 << 20},
		NullPermissions: true,
	})
	if err != nil {
		t.Fatalf("the power-loss test needs FUSE: /dev/fuse and root, or the package fuse3: %v", err)
	}
	defer func() {
		if err := srv.Unmount(); err != nil {
			t.Fatal(err)
		}
		srv.Wait()
	}()
	text, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), plEnv+"=run", plEnv+"_DIR="+dir, plEnv+"_SPEC="+string(text))
	b, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), strings.TrimSpace(string(b))
}

// view is the world as its processes see it.
func (w *plWorld) view() map[int][]byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	files := map[int][]byte{}
	for n, f := range w.files {
		files[n] = f.data
	}
	return files
}

// plRoot is the folder.
type plRoot struct {
	fs.Inode
	w *plWorld
}

// plNode is a file.
type plNode struct {
	fs.Inode
	w     *plWorld
	n     int
	notes bool
	data  []byte
}

var (
	_ = (fs.NodeOnAdder)((*plRoot)(nil))
	_ = (fs.NodeCreater)((*plRoot)(nil))
	_ = (fs.NodeUnlinker)((*plRoot)(nil))
	_ = (fs.NodeRenamer)((*plRoot)(nil))
	_ = (fs.NodeLinker)((*plRoot)(nil))
	_ = (fs.NodeFsyncer)((*plRoot)(nil))
	_ = (fs.NodeOpener)((*plNode)(nil))
	_ = (fs.NodeReader)((*plNode)(nil))
	_ = (fs.NodeWriter)((*plNode)(nil))
	_ = (fs.NodeFsyncer)((*plNode)(nil))
	_ = (fs.NodeGetattrer)((*plNode)(nil))
	_ = (fs.NodeSetattrer)((*plNode)(nil))
)

// OnAdd puts the files that are there at the start into the tree.
func (r *plRoot) OnAdd(ctx context.Context) {
	add := func(name string, f *plNode) {
		r.AddChild(name, r.NewPersistentInode(ctx, f, fs.StableAttr{Mode: fuse.S_IFREG}), true)
	}
	for name, n := range r.w.dir {
		add(name, r.w.files[n])
	}
	add(plNotes, &plNode{w: r.w, notes: true})
}

func (r *plRoot) Create(ctx context.Context, name string, _, _ uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	w := r.w
	w.mu.Lock()
	defer w.mu.Unlock()
	f := &plNode{w: w, n: w.next}
	w.next++
	w.files[f.n], w.dir[name] = f, f.n
	w.record(plOp{Kind: plCreate, Name: name, File: f.n})
	out.Mode = fuse.S_IFREG | 0o600
	return r.NewPersistentInode(ctx, f, fs.StableAttr{Mode: fuse.S_IFREG}), nil, 0, 0
}

func (r *plRoot) Unlink(_ context.Context, name string) syscall.Errno {
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	delete(r.w.dir, name)
	r.w.record(plOp{Kind: plUnlink, Name: name})
	return 0
}

func (r *plRoot) Rename(_ context.Context, name string, _ fs.InodeEmbedder, to string, flags uint32) syscall.Errno {
	if flags != 0 {
		return syscall.EINVAL
	}
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	r.w.dir[to] = r.w.dir[name]
	delete(r.w.dir, name)
	r.w.record(plOp{Kind: plRename, Name: name, To: to})
	return 0
}

func (r *plRoot) Link(_ context.Context, target fs.InodeEmbedder, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	f, ok := target.(*plNode)
	if !ok {
		return nil, syscall.EINVAL
	}
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	if _, exists := r.w.dir[name]; exists {
		return nil, syscall.EEXIST
	}
	r.w.dir[name] = f.n
	r.w.record(plOp{Kind: plLink, Name: name, File: f.n})
	out.Mode = fuse.S_IFREG | 0o600
	return f.EmbeddedInode(), 0
}

// Fsync of the folder.
func (r *plRoot) Fsync(context.Context, fs.FileHandle, uint32) syscall.Errno {
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	r.w.record(plOp{Kind: plSyncDir})
	return 0
}

func (f *plNode) Open(_ context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	if flags&syscall.O_TRUNC != 0 && !f.notes {
		f.w.mu.Lock()
		defer f.w.mu.Unlock()
		f.change(plOp{Kind: plTruncate, File: f.n})
	}
	if f.notes {
		return nil, fuse.FOPEN_DIRECT_IO, 0 // a note is one write
	}
	return nil, 0, 0
}

// change does and records what changes the content.
func (f *plNode) change(op plOp) {
	f.data = op.apply(f.data)
	f.w.record(op)
}

func (f *plNode) Read(_ context.Context, _ fs.FileHandle, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	if off >= int64(len(f.data)) {
		return fuse.ReadResultData(nil), 0
	}
	return fuse.ReadResultData(dest[:copy(dest, f.data[off:])]), 0
}

func (f *plNode) Write(_ context.Context, _ fs.FileHandle, data []byte, off int64) (uint32, syscall.Errno) {
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	if f.notes {
		f.w.record(plOp{Kind: plNote, To: string(data)})
	} else {
		f.change(plOp{Kind: plWrite, File: f.n, Off: off, Data: slices.Clone(data)})
	}
	return uint32(len(data)), 0
}

func (f *plNode) Fsync(context.Context, fs.FileHandle, uint32) syscall.Errno {
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	return f.w.sync(f.n)
}

func (f *plNode) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	out.Mode, out.Size = fuse.S_IFREG|0o600, uint64(len(f.data))
	return 0
}

func (f *plNode) Setattr(_ context.Context, _ fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	if size, ok := in.GetSize(); ok && !f.notes {
		f.change(plOp{Kind: plTruncate, File: f.n, Off: int64(size)})
	}
	out.Mode, out.Size = fuse.S_IFREG|0o600, uint64(len(f.data))
	return 0
}

func (op plOp) String() string {
	names := []string{"write", "truncate", "sync", "sync that fails", "create", "link", "unlink", "rename", "sync of the folder", "note"}
	return fmt.Sprintf("%s file %d at %d, %d bytes %s %s", names[op.Kind], op.File, op.Off, len(op.Data), op.Name, op.To)
}
