package main

import (
	"fmt"
	"io"
	"log/slog"
	"net/http/httptest"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"

	"tidemark/client"
	"tidemark/internal/cli"
	"tidemark/store"
)

// BenchmarkReconnect measures clients that come back, with server and clients in one process: dial, handshake, hello, a
// hundred missed events, close. Many are under way at a time, so that none waits for a processor that sleeps. The processor
// time of both sides is steadier than that of "bench storm", which measures the whole.
func BenchmarkReconnect(b *testing.B) {
	for _, streams := range []int{1, 1000} {
		b.Run(fmt.Sprintf("%d streams", streams), func(b *testing.B) { benchReconnect(b, streams) })
	}
}

// missedEvents is what each client has missed: of its stream all but the first event.
const missedEvents = 100

func benchReconnect(b *testing.B, streams int) {
	srv, err := build(cli.Config{Data: filepath.Join(b.TempDir(), "a.tidemark"), Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		b.Fatal(err)
	}
	web := httptest.NewServer(srv.Handler)
	defer func() {
		srv.Drain(b.Context())
		web.Close()
		srv.Close()
	}()
	for range missedEvents + 1 {
		p := &store.Push{}
		for i := range streams {
			p.Mutations = append(p.Mutations, store.Mutation{ID: store.NewID(), Stream: benchStream(i), Type: "bench",
				Data: fmt.Appendf(nil, `{"text":"%0180d"}`, i)})
		}
		if _, err := srv.Store.AppendWait(b.Context(), p); err != nil {
			b.Fatal(err)
		}
	}
	var next atomic.Int64
	b.SetParallelism(64)
	b.ReportAllocs()
	before := processorTime()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := reconnect(web.URL, int(next.Add(1))%streams); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(processorTime()-before)/1000/float64(b.N), "cpu-µs/op")
}

func benchStream(i int) store.Stream { return store.Stream(fmt.Sprintf("room/%d", i)) }

// reconnect is one client that goes on behind the first event of a stream.
func reconnect(url string, stream int) error {
	c, err := client.New(client.Options{URL: url, App: "bench"})
	if err != nil {
		return err
	}
	defer c.Close()
	n, live := 0, make(chan struct{})
	first := store.Cursor{Seq: store.Seq(stream + 1)}
	s, err := c.Subscribe(client.Spec{Filter: store.Only(benchStream(stream)), Since: &first, Raw: true}, func(u *client.Update) {
		n += len(u.Events)
		if u.Kind == client.KindLive {
			close(live)
		}
	})
	if err != nil {
		return err
	}
	select {
	case <-live:
	case <-s.Done():
		return s.Err()
	}
	if n != missedEvents {
		return fmt.Errorf("%d events, not %d", n, missedEvents)
	}
	return nil
}

// processorTime is what the process has used so far, in nanoseconds.
func processorTime() int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return u.Utime.Nano() + u.Stime.Nano()
}
