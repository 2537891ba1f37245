package durablestreams

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tidemark/store"
	eventsync "tidemark/sync"
)

func everybody(context.Context, string) (eventsync.Principal, error) {
	return eventsync.Principal{Subject: "ann"}, nil
}

// site is a server over a real log, which can be closed and opened again.
type site struct {
	t    *testing.T
	path string
	set  []func(*Options)
	db   *store.Store
	ds   *Server
	web  *httptest.Server
}

func newSite(t *testing.T, set ...func(*Options)) *site {
	t.Helper()
	s := &site{t: t, path: filepath.Join(t.TempDir(), "log"), set: set}
	s.open()
	t.Cleanup(s.close)
	return s
}

func (s *site) open() {
	s.t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	var err error
	if s.db, err = store.Open(s.path, store.Options{Logger: quiet}); err != nil {
		s.t.Fatal(err)
	}
	o := Options{Log: s.db, Authenticate: everybody, LongPoll: 100 * time.Millisecond, WebhookLoopback: true, Logger: quiet}
	for _, f := range s.set {
		f(&o)
	}
	if s.ds, err = New(o); err != nil {
		s.t.Fatal(err)
	}
	s.web = httptest.NewServer(s.ds)
}

func (s *site) close() {
	if s.db == nil {
		return
	}
	s.ds.Drain()
	s.web.Close()
	if err := s.ds.Close(); err != nil {
		s.t.Error(err)
	}
	if err := s.db.Close(); err != nil {
		s.t.Error(err)
	}
	s.db = nil
}

func (s *site) reopen() {
	s.t.Helper()
	s.close()
	s.open()
}

// kill ends the server as kill -9 does, as far as the log can tell, and opens the log again.
func (s *site) kill() {
	s.t.Helper()
	s.ds.Drain()
	s.web.Close()
	s.ds.subs.close()
	s.ds.running.Wait()
	if err := s.db.Close(); err != nil {
		s.t.Error(err)
	}
	s.open()
}

type reply struct {
	status int
	header http.Header
	body   string
}

// do sends a request to a path below /v1/stream/; headers come in pairs.
func (s *site) do(method, path, body string, headers ...string) reply {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.web.URL+Path+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return reply{res.StatusCode, res.Header, string(text)}
}

func (s *site) want(r reply, status int, part string) reply {
	s.t.Helper()
	if r.status != status || !strings.Contains(r.body, part) {
		s.t.Fatalf("got %d %s\nwant %d with %s", r.status, r.body, status, part)
	}
	return r
}

// Headers that most tests need.
var (
	asJSON = []string{"Content-Type", "application/json"}
	asText = []string{"Content-Type", "text/plain"}
)

func with(headers []string, more ...string) []string {
	return append(headers[:len(headers):len(headers)], more...)
}

func claimOf(id, epoch, seq string) []string {
	return []string{hProducer, id, hEpoch, epoch, hProdSeq, seq}
}

func decodeAs[T any](t *testing.T, text string) (v T) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return v
}
