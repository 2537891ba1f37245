package httpapi

import (
	"bufio"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"tidemark/internal/wire"
	"tidemark/store"
)

// source is an open stream of server-sent events.
type source struct {
	t      *testing.T
	res    *http.Response
	lines  *bufio.Scanner
	cancel context.CancelFunc
	id     string // of the last event
}

func (s *server) open(path, last string) *source {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.t.Context())
	req, _ := http.NewRequestWithContext(ctx, "GET", s.URL+path, nil)
	req.Header.Set("Accept", contentSSE)
	if last != "" {
		req.Header.Set("Last-Event-ID", last)
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		s.t.Fatal(err)
	}
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != contentSSE {
		s.t.Fatalf("%d %v", res.StatusCode, res.Header)
	}
	return &source{t: s.t, res: res, lines: bufio.NewScanner(res.Body), cancel: cancel, id: last}
}

// next returns the next event's kind ("" for an ordinary one) and data; io.EOF at the end.
func (s *source) next() (kind, data string, err error) {
	for s.lines.Scan() {
		name, value, _ := strings.Cut(s.lines.Text(), ": ")
		switch name {
		case "id":
			s.id = value
		case "event":
			kind = value
		case "data":
			data = value
		case "":
			if value == "" && data != "" && s.lines.Text() == "" {
				return kind, data, nil
			}
		}
	}
	if err := s.lines.Err(); err != nil {
		return "", "", err
	}
	return "", "", io.EOF
}

func (s *source) want(part string) {
	s.t.Helper()
	kind, data, err := s.next()
	if err != nil || kind != "" || !strings.Contains(data, part) {
		s.t.Fatalf("got %q %q, %v; want %s", kind, data, err, part)
	}
}

func (s *source) close() {
	s.cancel()
	s.res.Body.Close()
}

func TestSSE(t *testing.T) {
	s := newServer(t)
	s.say("a", "1")
	all, live := s.open("/v1/events/a?since=0", ""), s.open("/v1/events/a", "")
	defer all.close()
	defer live.close()
	all.want(`"data":1`)
	s.say("b", "2")
	s.say("a", "3")
	all.want(`"seq":3,"prev":1`)
	live.want(`"seq":3,"prev":1`)
	if want := "3." + s.db.LogID().String(); live.id != want {
		t.Errorf("id is %s, want %s", live.id, want)
	}
	s.say("a", "4")
	for _, last := range []string{all.id, "3"} {
		again := s.open("/v1/events/a?since=0", last)
		again.want(`"seq":4`)
		again.close()
	}
	wide := s.open("/v1/events/**?since=0", "")
	defer wide.close()
	wide.want(`"stream":"a"`)
}

func TestSSEHeartbeatAndDrain(t *testing.T) {
	s := newServer(t, func(o *Options) { o.Heartbeat = 10 * time.Millisecond })
	src := s.open("/v1/events/a", "")
	defer src.close()
	for range 3 {
		if !src.lines.Scan() {
			t.Fatal("no heartbeat")
		}
	}
	s.api.Drain()
	if _, _, err := src.next(); !errors.Is(err, io.EOF) {
		t.Errorf("after Drain: %v", err)
	}
}

// TestSSETrimmed has the log trimmed under a reader who waits far behind: he is told so, and let go.
func TestSSETrimmed(t *testing.T) {
	s := newServer(t)
	for i := range 10 {
		s.say("a", strconv.Itoa(i))
	}
	if err := s.db.Trim(t.Context(), 5); err != nil {
		t.Fatal(err)
	}
	r := s.do("GET", "/v1/events/a?since=2", "", "Accept", contentSSE)
	s.want(r, 410, "trimmed")
	s.want(s.do("GET", "/v1/events/a?since=2", ""), 410, "trimmed")
	s.want(s.do("GET", "/v1/events/a", ""), 200, `"floor":5`)
	s.want(s.do("GET", "/v1/docs/a?at=2", ""), 410, "trimmed")
}

// TestResumeAtRandom reads the same stream by SSE and by long-polls that are cut again and again, while it is written: both
// see every event once, in order.
func TestResumeAtRandom(t *testing.T) {
	s := newServer(t)
	const n = 300
	var writing sync.WaitGroup
	writing.Go(func() {
		for i := range n {
			m := store.Mutation{ID: store.NewID(), Stream: "a", Type: "said", Data: strconv.AppendInt(nil, int64(i), 10)}
			if _, err := s.db.AppendWait(t.Context(), &store.Push{Mutations: []store.Mutation{m}}); err != nil {
				t.Error(err)
				return
			}
		}
	})
	defer writing.Wait()
	done := make(chan bool, 2)
	go func() { done <- s.readBySSE(n) }()
	go func() { done <- s.readByPolls(n) }()
	first, second := <-done, <-done
	if !first || !second {
		t.Error("a reader did not see everything")
	}
}

func (s *server) readBySSE(n int) bool {
	last := "0"
	for got := 0; got < n; {
		src := s.open("/v1/events/a", last)
		for range 1 + rand.IntN(40) {
			_, data, err := src.next()
			if err != nil {
				s.t.Error(err)
				return false
			}
			e, err := wire.DecodeEvent([]byte(data))
			if err != nil || string(e.Data) != strconv.Itoa(got) {
				s.t.Errorf("SSE: got %s, want %d (%v)", data, got, err)
				return false
			}
			if got++; got == n {
				break
			}
		}
		last = src.id
		src.close()
	}
	return true
}

func (s *server) readByPolls(n int) bool {
	since := store.Seq(0)
	for got := 0; got < n; {
		r := s.do("GET", "/v1/events/a?wait=10s&since="+since.String()+"&limit="+strconv.Itoa(1+rand.IntN(20)), "")
		page, err := wire.DecodeEventsPage([]byte(r.body))
		if err != nil {
			s.t.Error(err, r.body)
			return false
		}
		for i := range page.Events {
			if string(page.Events[i].Data) != strconv.Itoa(got) {
				s.t.Errorf("poll: got %s, want %d", page.Events[i].Data, got)
				return false
			}
			got++
		}
		since = page.Seq
	}
	return true
}
