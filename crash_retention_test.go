package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tidemark/client"
	"tidemark/store"
)

// TestCrashWithRetention kills the server while clients write many times what its retention keeps, a subscriber reads and
// backups are made. What was acknowledged and not trimmed is there in its place, every backup that has its name is whole, and
// the file stays within a bound.
func TestCrashWithRetention(t *testing.T) {
	t.Parallel()
	const keep = 2 << 20
	rounds, written := 20, int64(16*keep)
	if testing.Short() {
		rounds, written = 4, 2*keep
	}
	srv := newServer(t, "--retention-bytes", fmt.Sprint(keep))
	srv.start()
	r := newRetained(t, srv)
	for round := 0; round < rounds || r.acked.Load() < written || r.copies() == 0; round++ {
		if round == 20*rounds {
			t.Fatalf("%d bytes were acknowledged and %d backups made in %d rounds", r.acked.Load(), r.copies(), round)
		}
		if !r.sleep(time.Duration(rand.Int64N(int64(500 * time.Millisecond)))) {
			return
		}
		srv.kill()
		r.copying.Lock() // a backup of a file without a server has it open
		if round%10 == 9 {
			srv.check()
		}
		srv.start()
		r.copying.Unlock()
	}
	r.finish()
	srv.stop()
	srv.check()
	r.judge()
}

// retained is what happens around a server that keeps little.
type retained struct {
	t      *testing.T
	srv    *server
	dir    string
	acked  atomic.Int64 // bytes of data
	stop   chan struct{}
	work   sync.WaitGroup
	reader *client.Subscription

	copying sync.Mutex // held while a backup is made

	mu      sync.Mutex
	places  map[store.ID]store.Seq // what was acknowledged
	last    store.Seq              // what the subscriber has
	backups int
}

func newRetained(t *testing.T, srv *server) *retained {
	r := &retained{t: t, srv: srv, dir: t.TempDir(), stop: make(chan struct{}), places: map[store.ID]store.Seq{}}
	sub, err := srv.client(client.Options{}).Subscribe(client.Spec{Filter: store.All, From: client.FromStart}, r.update)
	if err != nil {
		t.Fatal(err)
	}
	r.reader = sub
	for i := range 3 {
		r.work.Go(func() { r.write(store.Stream(fmt.Sprintf("kept/%d", i))) })
	}
	r.work.Go(r.backup)
	t.Cleanup(r.end)
	return r
}

func (r *retained) end() {
	select {
	case <-r.stop:
	default:
		close(r.stop)
	}
	r.work.Wait()
}

func (r *retained) stopped() bool {
	select {
	case <-r.stop:
		return true
	default:
		return false
	}
}

// sleep reports false when something went wrong meanwhile.
func (r *retained) sleep(d time.Duration) bool {
	time.Sleep(d)
	return !r.t.Failed()
}

// write pushes events and documents, a few at a time.
func (r *retained) write(st store.Stream) {
	c := r.srv.client(client.Options{ID: store.NewID()})
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	for n := 0; !r.stopped(); n++ {
		ms := make([]store.Mutation, 8)
		for i := range ms {
			ms[i] = store.Mutation{ID: store.NewID(), Stream: st, Type: "kept", Data: fmt.Appendf(nil, `{"pad":"%0*d"}`, 2000, n)}
			if i%4 == 0 {
				ms[i].Key, ms[i].Op = fmt.Sprint("k", n%20), store.OpPut
			}
		}
		results, err := c.Push(ctx, ms...)
		if err != nil {
			r.t.Error(err)
			return
		}
		r.mu.Lock()
		for _, res := range results {
			if res.Err != nil {
				r.t.Error(res.Err)
			}
			r.places[res.ID] = res.Seq
			r.acked.Add(2000)
		}
		r.mu.Unlock()
	}
}

// update is the subscriber's: what it gets rises, whatever it was reset over.
func (r *retained) update(u *client.Update) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range u.Events {
		if e.Seq <= r.last {
			r.t.Errorf("event %d came after %d", e.Seq, r.last)
		}
		r.last = e.Seq
	}
}

// backup makes one backup after the other; the server's death may end one. What then has its name is whole.
func (r *retained) backup() {
	for n := 0; !r.stopped(); n++ {
		to := filepath.Join(r.dir, fmt.Sprint("backup-", n))
		r.copying.Lock()
		exec.Command(r.srv.opts.Exe, "backup", "--data", r.srv.opts.Data, to).Run()
		r.copying.Unlock()
		if _, err := os.Stat(to); err != nil {
			continue
		}
		if out, err := exec.Command(r.srv.opts.Exe, "check", to).CombinedOutput(); err != nil {
			r.t.Errorf("a backup: %v\n%s", err, out)
		}
		os.Remove(to)
		r.mu.Lock()
		r.backups++
		r.mu.Unlock()
		time.Sleep(200 * time.Millisecond) // trimming waits for backups
	}
}

// copies is the number of finished backups.
func (r *retained) copies() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.backups
}

// finish lets everybody end and the subscriber read to the end.
func (r *retained) finish() {
	r.end()
	deadline := time.Now().Add(time.Minute)
	for {
		r.mu.Lock()
		top := store.Seq(0)
		for _, seq := range r.places {
			top = max(top, seq)
		}
		done := r.last >= top
		r.mu.Unlock()
		if done {
			return
		}
		if time.Now().After(deadline) {
			r.t.Fatal("the subscriber does not get to the end")
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// judge compares the file with what was acknowledged.
func (r *retained) judge() {
	s, err := store.Open(r.srv.opts.Data, store.Options{ReadOnly: true})
	if err != nil {
		r.t.Fatal(err)
	}
	defer s.Close()
	places := map[store.ID]store.Seq{}
	for after := s.Floor(); ; {
		page, err := s.Read(store.All, after, store.PageLimit{})
		if err != nil {
			r.t.Fatal(err)
		}
		for _, e := range page.Events {
			places[e.ID] = e.Seq
		}
		if after = page.Through; !page.More {
			break
		}
	}
	for id, seq := range r.places {
		if seq > s.Floor() && places[id] != seq {
			r.t.Errorf("mutation %s was acknowledged at %d and is at %d", id, seq, places[id])
		}
	}
	st := s.Stats()
	r.t.Logf("head %d, floor %d, %d bytes acknowledged, %d in the log, %d in the file, %d backups", st.Head, st.Floor, r.acked.Load(),
		st.LogBytes, st.FileBytes, r.backups)
	if st.Floor == 0 {
		r.t.Error("nothing was trimmed: the test proves nothing")
	}
	// bbolt takes 16 MiB at once; a backup holds trimming up for as long as it takes.
	if st.FileBytes > 32<<20 {
		r.t.Errorf("the file has %d bytes", st.FileBytes)
	}
	if fs := r.reader.Stats(); fs.Gaps > 0 {
		r.t.Errorf("the subscriber saw %d gaps", fs.Gaps)
	}
}
