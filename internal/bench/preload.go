package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"tidemark/store"
)

// preload makes a file of n events over the streams in turn. It goes through the store's own Append, in this process: what is
// written is what a server would have written, some times as fast.
func (b *Bench) preload(ctx context.Context, path string, n int, streams []store.Stream) (err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	b.Say(fmt.Sprintf("writing %d events over %d streams, %s ids, into %s", n, len(streams), b.IDs, path))
	db, err := store.Open(path, store.Options{OnFail: cancel})
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, db.Close()); err != nil {
			os.Remove(path) // half a file would be taken for a whole one
		}
	}()
	return b.pour(ctx, db, n, streams)
}

// pour appends n events and waits until they are on disk.
func (b *Bench) pour(ctx context.Context, db *store.Store, n int, streams []store.Stream) error {
	const size = 1000 // mutations of a push
	const pushes = 64 // under way
	var refused atomic.Pointer[store.Refusal]
	free := make(chan *store.Push, pushes)
	done := func(p *store.Push) {
		for i := range p.Verdicts {
			if r := p.Verdicts[i].Refusal; r != nil {
				refused.CompareAndSwap(nil, r)
			}
		}
		free <- p
	}
	for range pushes {
		free <- &store.Push{Mutations: make([]store.Mutation, size), Done: done}
	}
	g, data := newIDs(b.IDs), payload(b.Payload)
	take := func() (*store.Push, error) {
		select {
		case p := <-free:
			if r := refused.Load(); r != nil {
				return nil, r
			}
			return p, nil
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	for i := 0; i < n; {
		p, err := take()
		if err != nil {
			return err
		}
		p.Mutations = p.Mutations[:min(size, n-i)]
		for j := range p.Mutations {
			p.Mutations[j] = store.Mutation{ID: g.next(), Stream: streams[i%len(streams)], Type: "bench", Data: data}
			i++
		}
		p.Verdicts, p.Refused = p.Verdicts[:0], nil
		if err := db.Append(ctx, p); err != nil {
			return err
		}
		b.Progress(int64(i), int64(n))
	}
	for range pushes {
		if _, err := take(); err != nil {
			return err
		}
	}
	return nil
}

// base returns the file that every measurement begins with a copy of, "" for an empty one; it is made when it is missing.
func (b *Bench) base(ctx context.Context, streams []store.Stream) (string, error) {
	path := b.Data
	if path == "" {
		path = b.preloaded
	}
	if path == "" || b.baseReady {
		return path, nil
	}
	if b.layout != nil {
		streams = b.layout
	}
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) && b.Preload > 0 {
		if err := b.preload(ctx, path, b.Preload, streams); err != nil {
			return "", err
		}
	}
	// Opening it shows that no server has it, and what is in it.
	db, err := store.Open(path, store.Options{ReadOnly: true})
	if err != nil {
		return "", err
	}
	b.events = int64(db.Head())
	if err := db.Close(); err != nil {
		return "", err
	}
	if b.events < int64(b.Preload) {
		return "", fmt.Errorf("bench: %s has %d events, fewer than the %d of --preload", path, b.events, b.Preload)
	}
	b.Say(fmt.Sprintf("%s has %d events", path, b.events))
	b.baseReady = true
	return path, nil
}

// copyFile copies a data file and waits until the copy is on disk, so that its way there is not measured.
func (b *Bench) copyFile(ctx context.Context, from, to string) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	fi, err := src.Stat()
	if err != nil {
		return err
	}
	b.Say(fmt.Sprintf("copying %s (%d MB)", from, fi.Size()/1e6))
	dst, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer dst.Close()
	const chunk = 64 << 20
	for done := int64(0); done < fi.Size(); done += chunk {
		if err := ctx.Err(); err != nil {
			return err
		}
		if _, err := io.CopyN(dst, src, min(chunk, fi.Size()-done)); err != nil {
			return err
		}
		b.Progress(done, fi.Size())
	}
	return dst.Sync()
}

// forget takes a file out of the page cache.
func forget(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return err
	}
	return evict(f)
}
