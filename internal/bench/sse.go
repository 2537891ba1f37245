package bench

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// follow measures how long a message takes to the readers of a stream, and what they cost in memory.
func (a *HTTP) follow(ctx context.Context, b *Bench) error {
	if err := b.start(ctx, 0, streams(1)); err != nil {
		return err
	}
	if err := b.create(ctx, durableName(0)); err != nil {
		return err
	}
	before := b.rss()
	reading, stop := context.WithCancel(ctx)
	defer stop()
	rs := make([]*sseReader, a.Readers)
	for i := range rs {
		rs[i] = &sseReader{bench: b, path: durableName(0), offset: "now", live: make(chan struct{}), done: make(chan struct{})}
		go rs[i].run(reading)
	}
	for _, r := range rs {
		select {
		case <-r.live:
		case <-r.done:
			return r.err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err := sleep(ctx, a.Settle); err != nil {
		return err
	}
	idle := b.rss()
	w := b.watch(ctx)
	begin := time.Now()
	sent, err := a.feed(ctx, b)
	spent := time.Since(begin).Seconds()
	held := w.end(ctx)
	if err != nil {
		return err
	}
	want := int64(sent) * int64(a.Readers)
	err = waitArrivals(ctx, rs, want)
	busy := b.rss()
	stop()
	hist, got, again := histogram{}, int64(0), 0
	for _, r := range rs {
		<-r.done
		hist.merge(&r.hist)
		got += r.got.Load()
		again += r.again
		err = errors.Join(err, r.err)
	}
	if got != want {
		err = errors.Join(fmt.Errorf("bench: %d messages arrived, of %d", got, want), err)
	}
	if err != nil {
		return err
	}
	each := func(rss int64) float64 { return float64(rss-before) / 1000 / float64(a.Readers) }
	fs := append([]Figure{{"appends", float64(sent) / spent, "/s"}, {"arrivals", float64(got) / spent, "/s"}}, latencies("append to arrival ", &hist)...)
	fs = append(fs, Figure{"memory of a silent reader", each(idle), "KB"}, Figure{"memory of a busy reader", each(busy), "KB"},
		Figure{"readers that were let go and came again", float64(again), ""})
	return b.report(ctx, fmt.Sprintf("http: %d readers of server-sent events, %d appends/s", a.Readers, a.Rate), held, fs...)
}

func (b *Bench) rss() int64 {
	if b.server == nil {
		return 0
	}
	return int64(b.server.RSS())
}

// feeders are the connections that share the appends of feed: one that waits for its answer does not hold back the others.
const feeders = 16

// feed appends messages that say when they were due, at the wanted rate, however long the answers take.
func (a *HTTP) feed(ctx context.Context, b *Bench) (sent int, err error) {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var group sync.WaitGroup
	var done atomic.Int64
	begin := time.Now()
	for k := range feeders {
		group.Go(func() {
			if err := a.feedShare(ctx, b, begin, k, &done); err != nil {
				fail(err)
			}
		})
	}
	group.Wait()
	return int(done.Load()), context.Cause(ctx)
}

// feedShare is what connection k of the feeders does.
func (a *HTTP) feedShare(ctx context.Context, b *Bench, begin time.Time, k int, done *atomic.Int64) error {
	conn, err := b.dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	in, pad := bufio.NewReader(conn), strings.Repeat("x", max(0, b.Payload-32))
	for i := k; ; i += feeders {
		due := time.Duration(i) * time.Second / time.Duration(a.Rate)
		if due >= a.Duration {
			return nil
		}
		if err := sleep(ctx, due-time.Since(begin)); err != nil {
			return err
		}
		body := fmt.Appendf(nil, `{"at":%d,"pad":"%s"}`, begin.Add(due).UnixNano(), pad)
		if _, err := conn.Write(postRequest(durableName(0), body)); err != nil {
			return err
		}
		if err := readHead(in); err != nil {
			return err
		}
		done.Add(1)
	}
}

// lastArrivals is how long the last messages may take; then some are missing.
const lastArrivals = time.Minute

// waitArrivals waits until the readers have n messages between them.
func waitArrivals(ctx context.Context, rs []*sseReader, n int64) error {
	ctx, cancel := context.WithTimeout(ctx, lastArrivals)
	defer cancel()
	for _, r := range rs {
		for each := n / int64(len(rs)); r.got.Load() < each; {
			if err := sleep(ctx, time.Millisecond); err != nil {
				return err
			}
		}
	}
	return nil
}

// sseReader reads server-sent events. When the server lets it go it comes again from where it stood.
type sseReader struct {
	bench  *Bench
	path   string
	offset string        // where it stands
	live   chan struct{} // closed when the server has told so for the first time
	done   chan struct{} // closed at the end; then the following may be read
	err    error         // nil also when it was stopped
	again  int           // how often it came again
	hist   histogram
	got    atomic.Int64
}

// run reads until ctx ends.
func (r *sseReader) run(ctx context.Context) {
	defer close(r.done)
	for ; ; r.again++ {
		if err := r.read(ctx); ctx.Err() != nil {
			return
		} else if err != nil {
			r.err = fmt.Errorf("bench: a reader of server-sent events: %w", err)
			return
		}
	}
}

// longestLine bounds the messages that a reader far behind gets as one event.
const longestLine = 16 << 20

// read reads one answer to its end.
func (r *sseReader) read(ctx context.Context) error {
	conn, err := r.bench.dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	res, err := r.get(conn)
	if err != nil {
		return err
	}
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(make([]byte, 4<<10), longestLine)
	for lines.Scan() {
		r.take(lines.Bytes(), time.Now())
	}
	return lines.Err()
}

func (r *sseReader) get(conn net.Conn) (*http.Response, error) {
	if _, err := fmt.Fprintf(conn, "GET %s?offset=%s&live=sse HTTP/1.1\r\nHost: localhost\r\n\r\n", r.path, r.offset); err != nil {
		return nil, err
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err == nil && res.StatusCode != http.StatusOK {
		return nil, errors.New(res.Status)
	}
	return res, err
}

// take counts the messages of a data line by the times that they carry, and keeps where a control line says that the reader stands.
func (r *sseReader) take(line []byte, now time.Time) {
	if rest, ok := bytes.CutPrefix(line, []byte(`data:{"streamNextOffset":"`)); ok {
		offset, _, _ := bytes.Cut(rest, []byte{'"'})
		if r.offset == "now" {
			close(r.live)
		}
		r.offset = string(offset)
		return
	}
	for {
		_, rest, ok := bytes.Cut(line, []byte(`{"at":`))
		if !ok {
			return
		}
		digits, rest, _ := bytes.Cut(rest, []byte{','})
		if ns, err := strconv.ParseInt(string(digits), 10, 64); err == nil {
			r.got.Add(1)
			r.hist.add(now.Sub(time.Unix(0, ns)))
		}
		line = rest
	}
}
