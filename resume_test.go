package main

import (
	"math/rand/v2"
	"testing"
	"time"

	"tidemark/client"
	"tidemark/store"
)

// TestResume lets subscribers and writers lose their lines at random bytes, all the time. Each subscriber must end with
// exactly the acknowledged events of its streams.
func TestResume(t *testing.T) {
	lasting := 6 * time.Second
	if testing.Short() {
		lasting = 2 * time.Second
	}
	seed := rand.Uint64()
	t.Log("seed", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	srv := newServer(t)
	srv.start()
	line := newCutter(t, srv.opts.Listen, 40000, rand.New(rand.NewPCG(seed, 1)))
	through := *srv
	through.address = line.url()
	h := newHistory()
	crowd := newCrowd(t, &through, h, rng)
	for begun := time.Now(); time.Since(begun) < lasting || line.cut() < 20 || h.answers.Load() < 100; {
		if time.Since(begun) > 20*lasting {
			t.Fatalf("only %d cuts and %d answers: the test proves nothing", line.cut(), h.answers.Load())
		}
		if err := h.sleep(t.Context(), 100*time.Millisecond); err != nil {
			t.Fatal(err)
		}
	}
	line.calm()
	crowd.finish()
	log := srv.readLog()
	for _, problem := range h.judge(log) {
		t.Error(problem)
	}
	line.close()
	t.Logf("%d cuts, %d events, %d sent again", line.cut(), len(log), crowd.resent())
	srv.stop()
	srv.check()
}

// TestTrimUnderReader lets the log be trimmed while a slow reader is behind: it is reset and says so, or misses nothing.
func TestTrimUnderReader(t *testing.T) {
	const fills, size = 5, 3000
	srv := newServer(t, "--retention-count", "2000")
	srv.start()
	writer := srv.client(client.Options{})
	fill(t, writer, "room/1", size)
	slow := srv.client(client.Options{BufferBytes: 50000})
	var last store.Seq
	resets, seen, filled := 0, 0, 0
	for u, err := range slow.Updates(t.Context(), client.Spec{Filter: store.Only("room/1"), From: client.FromStart}) {
		if err != nil {
			t.Fatal(err)
		}
		if u.Kind == client.KindReset {
			if u.Reason != store.ResetTrimmed {
				t.Fatalf("reset for %q", u.Reason)
			}
			resets++
			last = u.Floor
		}
		for i := range u.Events {
			e := &u.Events[i]
			if last != 0 && e.Prev > last {
				t.Fatalf("%d follows %d without a reset", e.Seq, last)
			}
			last = e.Seq
			if seen++; seen%500 == 0 && filled < fills {
				fill(t, writer, "room/1", size) // while this reader has its page in hand
				filled++
			}
		}
		if last == size*(1+fills) {
			break
		}
	}
	t.Logf("%d events read, %d resets", seen, resets)
}

// fill pushes n events and waits for the answers.
func fill(t *testing.T, c *client.Client, s store.Stream, n int) {
	t.Helper()
	ms := make([]store.Mutation, n)
	for i := range ms {
		ms[i] = store.Mutation{Stream: s, Type: "n", Data: []byte("1")}
	}
	rs, err := c.Push(t.Context(), ms...)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rs {
		if r.Err != nil {
			t.Fatal(r.Err)
		}
	}
}
