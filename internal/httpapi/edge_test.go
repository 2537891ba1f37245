package httpapi

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"tidemark/store"
)

// TestPaths spells the names of streams in many ways. Each either is the very name that it decodes to, once, or refused:
// no spelling reaches another stream.
func TestPaths(t *testing.T) {
	s := newServer(t)
	for _, name := range []string{"room/1", "secret", "room%2f1"} {
		if _, err := s.db.AppendWait(t.Context(), &store.Push{Mutations: []store.Mutation{
			{ID: store.NewID(), Stream: store.Stream(name), Type: "said", Data: []byte(strconv.Quote(name))},
		}}); err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]string{
		"room/1":           `"data":"room/1"`,
		"room%2F1":         `"data":"room/1"`,
		"%72oom/1":         `"data":"room/1"`,
		"room%252f1":       `"data":"room%2f1"`,
		"room%2f%31":       `"data":"room/1"`,
		"room/1/":          "stream_invalid",
		"room//1":          "stream_invalid",
		"/room/1":          "stream_invalid",
		"x/../secret":      "stream_invalid",
		"x/%2e%2e/secret":  "stream_invalid",
		"x/%2E./secret":    "stream_invalid",
		"x%2f..%2fsecret":  "stream_invalid",
		"./secret":         "stream_invalid",
		"..":               "stream_invalid",
		"%2e%2e":           "stream_invalid",
		"x/%252e%252e/y":   `"events":[]`,
		"secret%00":        "stream_invalid",
		"secret%0a":        "stream_invalid",
		"%ff":              "stream_invalid",
		"$durable/streams": "stream_invalid",
		"%24durable":       "stream_invalid",
		"%2a%2a":           `"events":[{`, // "**" is "**"
		"ro*m/1":           "stream_invalid",
		"":                 "stream_invalid",
		"secret;x":         `"events":[]`,
		"SECRET":           `"events":[]`,
	} {
		r := s.do("GET", "/v1/events/"+path, "")
		if !strings.Contains(r.body, want) || r.header.Get("Location") != "" {
			t.Errorf("%s: %d %s, want %s", path, r.status, r.body, want)
		}
		if !strings.Contains(want, "secret") && path != "%2a%2a" && strings.Contains(r.body, `"data":"secret"`) {
			t.Errorf("%s reaches another stream", path)
		}
	}
}

func TestRights(t *testing.T) {
	s := newServer(t, func(o *Options) { o.Authenticate = subjects })
	r := s.want(s.do("GET", "/v1/events/alice/1", ""), 401, "unauthorized")
	if r.header.Get("WWW-Authenticate") == "" || r.header.Get("Tidemark-Log") != "" {
		t.Errorf("%v", r.header)
	}
	alice := []string{"Authorization", "Bearer alice"}
	s.want(s.do("POST", "/v1/events/alice/1", mutation(`"data":1`), alice...), 200, "")
	s.want(s.do("GET", "/v1/events/alice/1", "", alice...), 200, `"by":"alice"`)
	s.want(s.do("GET", "/v1/events/alice/**", "", alice...), 200, `"by":"alice"`)
	for _, path := range []string{"/v1/events/bob/1", "/v1/events/**", "/v1/docs/bob/1", "/v1/events/alice%2f..%2fbob"} {
		if r := s.do("GET", path, "", alice...); r.status != 403 && r.status != 400 {
			t.Errorf("%s: %d %s", path, r.status, r.body)
		}
	}
	s.want(s.do("POST", "/v1/events/bob/1", mutation(`"data":1`), alice...), 403, "forbidden")
	s.want(s.do("POST", "/v1/events/alice/1", "["+mutation(`"stream":"bob/1"`)+","+mutation(`"data":2`)+"]", alice...), 200, `"forbidden"`)
	s.want(s.do("POST", "/v1/signals/bob/1", `1`, alice...), 403, "forbidden")
	s.want(s.do("POST", "/v1/signals/alice/1", `1`, alice...), 204, "")
	s.want(s.do("POST", "/v1/events/bob/1", mutation(`"data":1`), "Authorization", "Bearer bob"), 200, "")
	if r := s.do("GET", "/v1/streams", "", alice...); strings.Contains(r.body, "bob") || !strings.Contains(r.body, "alice/1") {
		t.Errorf("streams: %s", r.body)
	}
}

func TestSignals(t *testing.T) {
	s := newServer(t, func(o *Options) { o.Limits.Data = 64 })
	s.want(s.do("POST", "/v1/signals/a", ` {"x": 1} `), 204, "")
	s.want(s.do("POST", "/v1/signals/a", `{"x":1} 2`), 400, "bad_message")
	s.want(s.do("POST", "/v1/signals/a", ``), 400, "bad_message")
	s.want(s.do("POST", "/v1/signals/a/**", `1`), 400, "stream_invalid")
	s.want(s.do("POST", "/v1/signals/a", `"`+strings.Repeat("x", 100)+`"`), 413, "too_large")
	if s.db.Head() != 0 {
		t.Error("a signal was stored")
	}
}

func TestRate(t *testing.T) {
	s := newServer(t, func(o *Options) { o.Rates = NewRates(Rate{PerSecond: 0.5, Burst: 2}) })
	s.say("a", "1")
	s.say("a", "2")
	r := s.want(s.do("POST", "/v1/events/a", mutation(`"data":3`)), 429, `"later":true,"retry_after_ms":`)
	if n, err := strconv.Atoi(r.header.Get("Retry-After")); err != nil || n < 1 || n > 2 {
		t.Errorf("Retry-After is %q", r.header.Get("Retry-After"))
	}
	s.want(s.do("GET", "/v1/events/a", ""), 200, `"head":2`)
}

func TestRatesForget(t *testing.T) {
	r := NewRates(Rate{PerSecond: 10})
	now := time.Unix(0, 0)
	for i := range 3 * maxCallers {
		if r.take(strconv.Itoa(i), 1, now) != 0 {
			t.Fatal("a first call was refused")
		}
	}
	if n := len(r.young) + len(r.old); n > 2*maxCallers {
		t.Errorf("%d callers are remembered", n)
	}
	for range 10 {
		r.take("x", 1, now)
	}
	if wait := r.take("x", 1, now); wait <= 0 || wait > time.Second {
		t.Errorf("wait is %v", wait)
	}
	if r.take("x", 1, now.Add(time.Second)) != 0 {
		t.Error("refused after a second")
	}
}

func TestCORS(t *testing.T) {
	s := newServer(t, func(o *Options) { o.Origins = []string{"https://app.example"} })
	ask := []string{"Origin", "https://app.example", "Access-Control-Request-Method", "POST"}
	r := s.do("OPTIONS", "/v1/events/a", "", ask...)
	if r.status != 204 || r.header.Get("Access-Control-Allow-Origin") != "https://app.example" ||
		!strings.Contains(r.header.Get("Access-Control-Allow-Headers"), "If-None-Match") {
		t.Errorf("%d %v", r.status, r.header)
	}
	r = s.do("GET", "/v1/events/a", "", "Origin", "https://app.example")
	if !strings.Contains(r.header.Get("Access-Control-Expose-Headers"), "Tidemark-Log") || r.header.Get("Vary") == "" {
		t.Errorf("%v", r.header)
	}
	r = s.do("GET", "/v1/events/a", "", "Origin", "https://app.example:443")
	if r.header.Get("Access-Control-Allow-Origin") != "https://app.example:443" {
		t.Errorf("%v", r.header)
	}
	for _, origin := range []string{"https://evil-app.example", "https://app.example.evil", "http://app.example", "null", "https://app.example:444"} {
		r := s.do("GET", "/v1/events/a", "", "Origin", origin)
		if r.header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s is let in", origin)
		}
	}
}

// TestForeignPagesAreKeptOut: a browser sends simple requests for any page, and for a name that DNS bent here it sends all.
func TestForeignPagesAreKeptOut(t *testing.T) {
	for _, test := range []struct {
		headers []string
		get     int
		post    int
	}{
		{nil, 200, 200},
		{[]string{"Cookie", "a=b"}, 200, 200},
		{[]string{"Origin", "https://evil.example"}, 200, 403},
		{[]string{"Origin", "null"}, 200, 403},
		{[]string{"Origin", "http://localhost:5173"}, 200, 200},
		{[]string{"Origin", "https://app.example"}, 200, 200},
		{[]string{"Origin", "https://one.wild.example"}, 200, 200},
		{[]string{"Host", "evil.example"}, 421, 421},
		{[]string{"Host", "evil.example:8080", "Origin", "http://evil.example:8080"}, 421, 421},
		{[]string{"Host", "evil.localhost.example"}, 421, 421},
		{[]string{"Host", "app.localhost:8080"}, 200, 200},
		{[]string{"Host", "[::1]:8080"}, 200, 200},
		{[]string{"Host", "APP.example", "Origin", "https://app.example"}, 200, 200},
		{[]string{"Host", "one.wild.example"}, 200, 200},
		{[]string{"Host", "two.one.wild.example"}, 421, 421},
	} {
		mounted := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
		s := newServer(t, func(o *Options) {
			o.Origins = []string{"https://app.example", "https://*.wild.example"}
			o.Mount = map[string]http.Handler{"/mounted": mounted}
		})
		body := `{"id":"` + store.NewID().String() + `","type":"said"}`
		if r := s.do("GET", "/v1/streams", "", test.headers...); r.status != test.get {
			t.Errorf("GET with %q: %d %s", test.headers, r.status, r.body)
		}
		r := s.do("POST", "/v1/events/a", body, append([]string{"Content-Type", "text/plain"}, test.headers...)...)
		if r.status != test.post || (r.status != 200 && !strings.Contains(r.body, `{"error":{"code":"forbidden",`)) {
			t.Errorf("POST with %q: %d %s", test.headers, r.status, r.body)
		}
		if kept := s.db.Head() == 0; kept != (test.post != 200) {
			t.Errorf("POST with %q: head %d", test.headers, s.db.Head())
		}
		for method, want := range map[string]int{"GET": test.get, "PUT": test.post, "DELETE": test.post} {
			if r := s.do(method, "/mounted", "", test.headers...); r.status != want {
				t.Errorf("%s with %q: %d", method, test.headers, r.status)
			}
		}
		if r := s.do("OPTIONS", "/v1/events/a", "", test.headers...); (r.status == 421) != (test.get == 421) {
			t.Errorf("OPTIONS with %q: %d", test.headers, r.status)
		}
	}
	s := newServer(t, func(o *Options) { o.Origins = []string{"*"} })
	s.want(s.do("POST", "/v1/events/a", `{"id":"`+store.NewID().String()+`","type":"said"}`, "Host", "any.example", "Origin", "https://other.example"), 200, "")
	if _, err := New(Options{Log: s.db, Live: s.api.Live, Authenticate: s.api.Authenticate, Origins: []string{"app.example"}}); err == nil {
		t.Error("an origin without scheme was taken")
	}
}

func TestCompression(t *testing.T) {
	s := newServer(t)
	for range 20 {
		s.say("a", `"`+strings.Repeat("word ", 50)+`"`)
	}
	plain := s.do("GET", "/v1/events/a", "", "Accept-Encoding", "identity").body
	for accept, want := range map[string]string{
		"gzip": "gzip", "zstd": "zstd", "gzip, zstd": "zstd", "gzip;q=1, zstd;q=0.5": "gzip", "br": "", "gzip;q=0": "", "GZIP": "gzip", "gzip;q=x": "",
	} {
		for _, path := range []string{"/v1/events/a", "/v1/docs/a"} {
			r := s.do("GET", path, "", "Accept-Encoding", accept)
			got := r.header.Get("Content-Encoding")
			if path == "/v1/docs/a" { // small, but its size is not known before
				unpack(t, got, r.body)
				continue
			}
			if got != want || unpack(t, got, r.body) != plain || !strings.Contains(strings.Join(r.header.Values("Vary"), ","), "Accept-Encoding") {
				t.Errorf("%s: %q, want %q", accept, got, want)
			}
			if got != "" && len(r.body) > len(plain)/4 {
				t.Errorf("%s: %d bytes of %d", accept, len(r.body), len(plain))
			}
		}
	}
	if r := s.do("GET", "/healthz", "", "Accept-Encoding", "gzip"); r.header.Get("Content-Encoding") != "" {
		t.Error("a tiny answer is compressed")
	}
}

func unpack(t *testing.T, enc, body string) string {
	t.Helper()
	var r io.Reader = strings.NewReader(body)
	var err error
	switch enc {
	case "gzip":
		r, err = gzip.NewReader(r)
	case "zstd":
		r, err = zstd.NewReader(r)
	}
	if err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// TestReadInPages reads far more than a page and costs about a page of memory: the body is written as it is read.
func TestReadInPages(t *testing.T) {
	s := newServer(t)
	data := []byte(`"` + strings.Repeat("x", 1000) + `"`)
	const n = 5000
	for range n / 500 {
		p := &store.Push{}
		for range 500 {
			p.Mutations = append(p.Mutations, store.Mutation{ID: store.NewID(), Stream: "a", Type: "said", Data: data})
		}
		if _, err := s.db.AppendWait(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	r := s.do("GET", "/v1/events/a", "", "Accept", contentLines, "Accept-Encoding", "identity")
	if got := strings.Count(r.body, "\n"); got != n || r.header.Get("Tidemark-Seq") != strconv.Itoa(n) {
		t.Errorf("%d lines, %v", got, r.header)
	}
}

// TestVanishedReader leaves an answer of many pages after its first bytes, and streams of events; nothing stays behind.
func TestVanishedReader(t *testing.T) {
	s := newServer(t, func(o *Options) { o.Heartbeat = 5 * time.Millisecond })
	for range 20 {
		src := s.open("/v1/events/a", "")
		src.close()
	}
	s.api.followers.Wait() // the next comments find that nobody is there
}

// FuzzRequests sends any path, query, headers and body: the server answers, never with 500, and a refused write keeps nothing.
func FuzzRequests(f *testing.F) {
	f.Add("POST", "/v1/events/a", "atomic=true", "application/x-ndjson", "", []byte("{}\n"))
	f.Add("GET", "/v1/events/**", "since=1&limit=2&wait=1ms", "text/event-stream;q=1", "7.x", []byte(nil))
	f.Add("GET", "/v1/docs/a%2f..", "key=x&at=9", "application/json", "", []byte(nil))
	f.Add("POST", "/v1/signals/a", "", "", "", []byte(`{"a":[`))
	f.Fuzz(func(t *testing.T, method, path, query, kind, last string, body []byte) {
		s := fuzzServer(t)
		req, err := http.NewRequest(method, "http://x/", bytes.NewReader(body))
		if err != nil || strings.Contains(kind, contentSSE) && method == "GET" && last == "" {
			return
		}
		req.URL.Path, req.URL.RawQuery = path, query
		req.Header.Set("Content-Type", kind)
		req.Header.Set("Accept", kind)
		req.Header.Set("Last-Event-ID", last)
		head := s.db.Head()
		w := newRecorder(t)
		s.api.ServeHTTP(w, req.WithContext(w.ctx))
		if w.Code == http.StatusInternalServerError {
			t.Fatalf("%s %s?%s: %s", method, path, query, w.Body)
		}
		if w.Code >= 400 && s.db.Head() != head {
			t.Fatalf("%s %s?%s: %d, but something was kept", method, path, query, w.Code)
		}
	})
}
