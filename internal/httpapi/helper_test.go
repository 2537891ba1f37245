package httpapi

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"tidemark/internal/auth"
	"tidemark/store"
	eventsync "tidemark/sync"
	"tidemark/wsapi"
)

// server is the API over a real log and engine.
type server struct {
	*httptest.Server
	t   *testing.T
	db  *store.Store
	api *API
}

func newServer(t *testing.T, set ...func(*Options)) *server {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	db, err := store.Open(filepath.Join(t.TempDir(), "log"), store.Options{Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	engine, err := eventsync.New(db, eventsync.Options{Encoder: wsapi.NewEncoder(eventsync.Limits{}), Authenticate: auth.Everybody()})
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Log: db, Live: engine, Authenticate: auth.Everybody(), Logger: quiet}
	for _, f := range set {
		f(&o)
	}
	api, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	s := &server{Server: httptest.NewServer(api), t: t, db: db, api: api}
	t.Cleanup(func() {
		api.Close()
		s.Close()
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// reply is an answer that was read to its end.
type reply struct {
	status int
	header http.Header
	body   string
}

// do sends a request; headers come in pairs.
func (s *server) do(method, path, body string, headers ...string) reply {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.URL+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	if host := req.Header.Get("Host"); host != "" {
		req.Host = host
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

// want checks an answer's status and, unless empty, what its body contains.
func (s *server) want(r reply, status int, part string) reply {
	s.t.Helper()
	if r.status != status || !strings.Contains(r.body, part) {
		s.t.Fatalf("got %d %s\nwant %d with %s", r.status, r.body, status, part)
	}
	return r
}

// say appends an event without an id of its own.
func (s *server) say(stream, data string) {
	s.t.Helper()
	s.want(s.do("POST", "/v1/events/"+stream, `{"id":"`+store.NewID().String()+`","type":"said","data":`+data+`}`), 200, `"seq"`)
}

// subjects is an authenticator whose tokens are names: "alice" may do everything below "alice/".
func subjects(_ context.Context, token string) (eventsync.Principal, error) {
	if token == "" {
		return eventsync.Principal{}, &store.Refusal{Code: store.CodeUnauthorized, Message: "a token is needed"}
	}
	own, _ := store.ParseFilter(token + "/**")
	return eventsync.Principal{Subject: token, Allows: func(a eventsync.Action, f store.Filter) bool {
		return f == own || strings.HasPrefix(f.String(), token+"/")
	}}, nil
}
