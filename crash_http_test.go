package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestCrashHTTP kills the server at random moments while plain HTTP clients write and read: producers of Durable Streams,
// which number their appends, and readers by long-poll and by server-sent events, who go on from where they were. Every
// append that was acknowledged is there once, none is refused as out of order, and readers see the stream without a hole.
func TestCrashHTTP(t *testing.T) {
	t.Parallel()
	rounds := 60
	if testing.Short() {
		rounds = 8
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	srv := newServer(t, "--durable-long-poll", "200ms")
	srv.start()
	c := &httpCrowd{t: t, url: srv.url(), acked: make(map[string]int), seen: make(map[string][]string)}
	c.send(t.Context(), "PUT", "/v1/stream/crash", "", "Content-Type", "application/json")
	writing, stop := context.WithCancel(t.Context())
	reading, end := context.WithCancel(t.Context())
	defer stop()
	defer end()
	for _, id := range []string{"a", "b", "c", "d"} {
		c.writers.Go(func() { c.produce(writing, id) })
	}
	c.readers.Go(func() { c.poll(reading) })
	c.readers.Go(func() { c.follow(reading) })
	for round := 0; round < rounds || !c.busy(); round++ {
		if round == 20*rounds {
			t.Fatal("hardly anything happened: the test proves nothing")
		}
		time.Sleep(time.Duration(rng.Int64N(int64(40 * time.Millisecond)))) // the moment of the kill is the input
		srv.kill()
		srv.start()
	}
	stop()
	c.writers.Wait()
	c.send(t.Context(), "POST", "/v1/stream/crash", "", "Stream-Closed", "true")
	c.readers.Wait()
	c.judge()
	srv.stop()
	srv.check()
}

type httpCrowd struct {
	t       *testing.T
	url     string
	writers sync.WaitGroup
	readers sync.WaitGroup
	resent  atomic.Int64

	mu    sync.Mutex
	acked map[string]int      // by producer: how many appends were acknowledged
	seen  map[string][]string // by reader: messages in order
}

// busy reports whether so much was acknowledged, and sent again, that the test proves something.
func (c *httpCrowd) busy() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	acked := 0
	for _, n := range c.acked {
		acked += n
	}
	return acked >= 40 && c.resent.Load() > 0
}

// send sends a request until there is an answer; the server may be gone at any moment.
func (c *httpCrowd) send(ctx context.Context, method, path, body string, headers ...string) (*http.Response, string) {
	for tries := 0; ctx.Err() == nil; tries++ {
		req, err := http.NewRequestWithContext(ctx, method, c.url+path, strings.NewReader(body))
		if err != nil {
			c.t.Error(err)
			return nil, ""
		}
		for i := 0; i < len(headers); i += 2 {
			req.Header.Set(headers[i], headers[i+1])
		}
		res, err := http.DefaultClient.Do(req)
		if err == nil {
			text, err := io.ReadAll(res.Body)
			res.Body.Close()
			if err == nil && res.StatusCode != http.StatusServiceUnavailable {
				if tries > 0 {
					c.resent.Add(1)
				}
				return res, string(text)
			}
		}
		time.Sleep(2 * time.Millisecond) // until the server is back
	}
	return nil, ""
}

// produce appends numbered messages, each until it is acknowledged.
func (c *httpCrowd) produce(ctx context.Context, id string) {
	for n := 0; ctx.Err() == nil; n++ {
		// The answer to the last append is waited for although the test is over: it must be known what is on disk.
		res, text := c.send(context.WithoutCancel(ctx), "POST", "/v1/stream/crash", fmt.Sprintf(`["%s-%d"]`, id, n),
			"Content-Type", "application/json", "Producer-Id", id, "Producer-Epoch", "0", "Producer-Seq", fmt.Sprint(n))
		if res == nil {
			return
		}
		if res.StatusCode != 200 && res.StatusCode != 204 {
			c.t.Errorf("append %d of %s: %d %s", n, id, res.StatusCode, text)
			return
		}
		c.mu.Lock()
		c.acked[id] = n + 1
		c.mu.Unlock()
	}
}

// poll reads by long-polls to the end of the stream.
func (c *httpCrowd) poll(ctx context.Context) {
	for offset := "-1"; ctx.Err() == nil; {
		res, text := c.send(ctx, "GET", "/v1/stream/crash?live=long-poll&offset="+offset, "")
		if res == nil {
			return
		}
		if res.StatusCode == 200 {
			c.saw("poll", text)
		} else if res.StatusCode != 204 {
			c.t.Errorf("poll: %d %s", res.StatusCode, text)
			return
		}
		offset = res.Header.Get("Stream-Next-Offset")
		if res.Header.Get("Stream-Closed") == "true" {
			return
		}
	}
}

func (c *httpCrowd) saw(reader, array string) {
	var list []string
	if err := json.Unmarshal([]byte(array), &list); err != nil {
		c.t.Errorf("%s: %v: %s", reader, err, array)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen[reader] = append(c.seen[reader], list...)
}

// follow reads server-sent events to the end of the stream, and goes on from the last control event after each kill: data
// that came without one is dropped, as the protocol wants it.
func (c *httpCrowd) follow(ctx context.Context) {
	for offset, done := "-1", false; !done && ctx.Err() == nil; {
		req, _ := http.NewRequestWithContext(ctx, "GET", c.url+"/v1/stream/crash?live=sse&offset="+offset, nil)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			time.Sleep(2 * time.Millisecond) // until the server is back
			continue
		}
		lines := bufio.NewScanner(res.Body)
		lines.Buffer(nil, 1<<20)
		kind, data := "", ""
		for lines.Scan() {
			name, value, _ := strings.Cut(lines.Text(), ":")
			switch {
			case name == "event":
				kind = strings.TrimSpace(value)
			case name == "data" && kind == "data":
				data = value
			case name == "data":
				var at struct {
					Next   string `json:"streamNextOffset"`
					Closed bool   `json:"streamClosed"`
				}
				if json.Unmarshal([]byte(value), &at) != nil {
					break // cut off by the kill
				}
				if data != "" {
					c.saw("sse", data)
				}
				offset, data, done = at.Next, "", at.Closed
			}
		}
		res.Body.Close()
	}
}

// judge compares what is stored with what was acknowledged, and what readers saw with what is stored.
func (c *httpCrowd) judge() {
	_, text := c.send(c.t.Context(), "GET", "/v1/stream/crash", "")
	var stored []string
	if err := json.Unmarshal([]byte(text), &stored); err != nil {
		c.t.Fatal(err)
	}
	next := make(map[string]int)
	for _, m := range stored {
		id, number, _ := strings.Cut(m, "-")
		if number != fmt.Sprint(next[id]) {
			c.t.Fatalf("%s follows %d of %s: lost, doubled or out of order", m, next[id]-1, id)
		}
		next[id]++
	}
	for id, n := range c.acked {
		if next[id] != n {
			c.t.Errorf("%d appends of %s were acknowledged, %d are stored", n, id, next[id])
		}
	}
	for _, reader := range []string{"poll", "sse"} {
		if got := strings.Join(c.seen[reader], " "); got != strings.Join(stored, " ") {
			c.t.Errorf("%s saw %d messages, %d are stored, or not the same", reader, len(c.seen[reader]), len(stored))
		}
	}
	c.t.Logf("%d messages, %d requests sent again", len(stored), c.resent.Load())
}
