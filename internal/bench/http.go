package bench

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// HTTP measures Durable Streams over plain HTTP: appends of one message each, a read of a whole stream, and readers of
// server-sent events.
type HTTP struct {
	Writers  int           `default:"128" help:"Keep-alive connections that append."`
	Streams  int           `default:"128" help:"Streams of the second measurement; the first one has one."`
	Messages int           `default:"1000000" help:"Messages of the stream that is read as a whole."`
	Readers  int           `default:"1000" help:"Readers of server-sent events."`
	Rate     int           `default:"100" help:"Appends a second that they follow."`
	Settle   time.Duration `default:"1s" help:"How long to wait before looking at memory."`
	Duration time.Duration `default:"60s" help:"How long to measure appends and readers."`
}

// Run implements Scenario.
func (a *HTTP) Run(ctx context.Context, b *Bench) error {
	one, err := a.appends(ctx, b, 1)
	if err != nil {
		return err
	}
	many, err := a.appends(ctx, b, a.Streams)
	if err != nil {
		return err
	}
	if err := b.report(ctx, "http: many streams against one", []Figure{}, Figure{"ratio", many / one, ""}); err != nil {
		return err
	}
	if !b.hasBase() { // what is read as a whole must be known to the byte
		if err := a.catchUp(ctx, b); err != nil {
			return err
		}
	}
	return a.follow(ctx, b)
}

// appends measures acknowledged appends a second.
func (a *HTTP) appends(ctx context.Context, b *Bench, n int) (float64, error) {
	if err := b.start(ctx, 0, streams(n)); err != nil {
		return 0, err
	}
	for i := range n {
		if err := b.create(ctx, durableName(i)); err != nil {
			return 0, err
		}
	}
	p := posters{stop: make(chan struct{})}
	for i := range a.Writers {
		if err := p.add(ctx, b, durableName(i%n), payload(b.Payload)); err != nil {
			return 0, err
		}
	}
	if err := sleep(ctx, a.Duration/5); err != nil {
		return 0, err
	}
	p.record.Store(true)
	s, err := b.steady(ctx, a.Duration, "append", p.done.Load)
	err = errors.Join(err, p.end())
	if err != nil {
		return 0, err
	}
	fs := append(s.figures("appends"), latencies("", &p.hist)...)
	name := fmt.Sprintf("http: %d keep-alive connections append to %d streams", a.Writers, n)
	return s.rate(), b.report(ctx, name, s.held, append(fs, s.cpu...)...)
}

func durableName(i int) string { return "/v1/stream/bench-http/" + strconv.Itoa(i) }

// create makes a JSON stream.
func (b *Bench) create(ctx context.Context, path string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, b.url()+path, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	res.Body.Close()
	if res.StatusCode >= 300 {
		return fmt.Errorf("bench: PUT %s: %s", path, res.Status)
	}
	return nil
}

// posters are connections that append one message after the other. They write requests as bytes made before, for the
// processors are shared with the server.
type posters struct {
	stop   chan struct{}
	group  sync.WaitGroup
	record atomic.Bool
	done   atomic.Int64

	mu   sync.Mutex
	hist histogram
	err  error
}

// dial connects to the server.
func (b *Bench) dial(ctx context.Context) (net.Conn, error) {
	u, err := url.Parse(b.url())
	if err != nil {
		return nil, err
	}
	var d net.Dialer
	return d.DialContext(ctx, "tcp", u.Host)
}

func (p *posters) add(ctx context.Context, b *Bench, path string, body []byte) error {
	conn, err := b.dial(ctx)
	if err != nil {
		return err
	}
	request := postRequest(path, body)
	p.group.Go(func() {
		defer conn.Close()
		h, err := p.run(conn, request)
		p.mu.Lock()
		defer p.mu.Unlock()
		p.hist.merge(h)
		p.err = errors.Join(p.err, err)
	})
	return nil
}

// postRequest returns an append of one message as it goes over the wire.
func postRequest(path string, body []byte) []byte {
	return fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		path, len(body), body)
}

func (p *posters) run(conn net.Conn, request []byte) (*histogram, error) {
	h := &histogram{}
	in := bufio.NewReader(conn)
	for {
		select {
		case <-p.stop:
			return h, nil
		default:
		}
		begin := time.Now()
		if _, err := conn.Write(request); err != nil {
			return h, err
		}
		if err := readHead(in); err != nil {
			return h, err
		}
		p.done.Add(1)
		if p.record.Load() {
			h.add(time.Since(begin))
		}
	}
}

// readHead reads the head of an answer that has no body.
func readHead(in *bufio.Reader) error {
	line, err := in.ReadSlice('\n')
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(line, []byte("HTTP/1.1 2")) {
		return fmt.Errorf("bench: the server answered %s", line)
	}
	for len(line) > 2 {
		if line, err = in.ReadSlice('\n'); err != nil {
			return err
		}
	}
	return nil
}

func (p *posters) end() error {
	close(p.stop)
	p.group.Wait()
	return p.err
}

// catchUp measures a read of everything that a stream has.
func (a *HTTP) catchUp(ctx context.Context, b *Bench) error {
	if err := b.start(ctx, a.Messages, streams(1)); err != nil {
		return err
	}
	begin, cpu := time.Now(), b.cpu()
	res, err := http.Get(b.url() + "/v1/stream/" + string(streamName(0)))
	if err != nil {
		return err
	}
	defer res.Body.Close()
	n, err := io.Copy(io.Discard, res.Body)
	if err != nil {
		return err
	}
	spent := time.Since(begin)
	if want := int64(a.Messages)*int64(len(payload(b.Payload))+1) + 1; n != want {
		return fmt.Errorf("bench: %d bytes came, %d messages have %d", n, a.Messages, want)
	}
	fs := []Figure{{"messages", float64(a.Messages) / spent.Seconds(), "/s"}, {"bytes", float64(n) / 1e6 / spent.Seconds(), "MB/s"}}
	return b.report(ctx, fmt.Sprintf("http: one GET of %d messages", a.Messages), nil, append(fs, cpu.since("message", int64(a.Messages))...)...)
}
