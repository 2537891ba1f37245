package httpapi

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"tidemark/internal/wire"
	"tidemark/store"
)

func mutation(fields string) string {
	return `{"id":"` + store.NewID().String() + `","type":"said",` + fields + `}`
}

func TestPostForms(t *testing.T) {
	s := newServer(t)
	one, two, three := mutation(`"data":1`), mutation(`"data":2`), mutation(`"data":3`)
	r := s.want(s.do("POST", "/v1/events/room/1", one), 200, `"seq":1`)
	if r.header.Get("Tidemark-Log") != s.db.LogID().String() {
		t.Errorf("Tidemark-Log is %q", r.header.Get("Tidemark-Log"))
	}
	s.want(s.do("POST", "/v1/events/room/1", "["+one+","+two+"]"), 200, `"dup":true},{`)
	s.want(s.do("POST", "/v1/events/room/1", two+"\n"+three+"\n", "Content-Type", "application/x-ndjson"), 200, `"seq":3`)
	s.want(s.do("POST", "/v1/events/room/1", three, "Content-Type", "application/x-ndjson"), 200, `"dup":true`)
	page, err := wire.DecodeEventsPage([]byte(s.do("GET", "/v1/events/room/1", "").body))
	if err != nil || len(page.Events) != 3 || page.Seq != 3 || page.Head != 3 {
		t.Fatalf("%+v, %v", page, err)
	}
}

func TestPostRefusals(t *testing.T) {
	s := newServer(t, func(o *Options) { o.Limits.Frame, o.Limits.Data, o.Limits.Mutations = 4096, 1024, 3 })
	same := mutation(`"data":1`)
	s.want(s.do("POST", "/v1/events/a", same), 200, "")
	long := mutation(`"data":"` + strings.Repeat("x", 1100) + `"`)
	four := strings.Repeat(","+mutation(`"data":0`), 4)[1:]
	for _, c := range []struct {
		name, body, path, part string
		status                 int
	}{
		{"no JSON", `nope`, "a", "bad_message", 400},
		{"empty", ``, "a", "bad_message", 400},
		{"empty list", `[]`, "a", "bad_message", 400},
		{"half a list", `[` + same, "a", "bad_message", 400},
		{"a line that is no object", same + "\n5\n", "a", "bad_message", 400},
		{"no id", `{"type":"said"}`, "a", "mutation_invalid", 400},
		{"field twice", `{"id":"` + store.NewID().String() + `","type":"a","type":"b"}`, "a", "mutation_invalid", 400},
		{"too much data", long, "a", "too_large", 413},
		{"too much body", strings.Repeat(" ", 5000), "a", "too_large", 413},
		{"too many", "[" + four + "]", "a", "too_many", 413},
		{"id used again", strings.Replace(same, `"data":1`, `"data":2`, 1), "a", "id_reused", 409},
		{"name of the server's own", mutation(`"data":1`), "$a", "stream_invalid", 400},
		{"prefix", mutation(`"data":1`), "a/**", "stream_invalid", 400},
		{"bad parameter", same, "a?atomic=yes", "atomic", 400},
		{"empty parameter", same, "a?atomic=", "atomic", 400},
	} {
		t.Run(c.name, func(t *testing.T) {
			head := s.db.Head()
			s.want(s.do("POST", "/v1/events/"+c.path, c.body), c.status, c.part)
			if s.db.Head() != head {
				t.Error("something was kept")
			}
		})
	}
	// Of a list each mutation has its own verdict.
	s.want(s.do("POST", "/v1/events/a", "["+long+","+mutation(`"data":1`)+"]"), 200, `"too_large"`)
	s.want(s.do("POST", "/v1/events/a?atomic=true", "["+long+","+mutation(`"data":1`)+"]"), 200, `"aborted"`)
}

func TestIdempotencyKey(t *testing.T) {
	s := newServer(t)
	key := store.NewID().String()
	s.want(s.do("POST", "/v1/events/a", `{"type":"said","data":1}`, "Idempotency-Key", key), 200, `"id":"`+key+`","seq":1`)
	s.want(s.do("POST", "/v1/events/a", `{"type":"said","data":1}`, "Idempotency-Key", key), 200, `"dup":true`)
	s.want(s.do("POST", "/v1/events/a", `{"type":"said","data":2}`, "Idempotency-Key", key), 409, "id_reused")
	s.want(s.do("POST", "/v1/events/a", `{"type":"said","data":2}`, "Idempotency-Key", "7"), 400, "Idempotency-Key")
}

func TestPages(t *testing.T) {
	s := newServer(t)
	for i := range 5 {
		s.say("a", strconv.Itoa(i))
		s.say("b/1", strconv.Itoa(i))
	}
	s.want(s.do("GET", "/v1/events/a?since=1&limit=2", ""), 200, `"seq":5,"head":9,"floor":0`)
	s.want(s.do("GET", "/v1/events/a?since=9", ""), 200, `{"events":[],"seq":10,"head":9,"floor":0}`)
	s.want(s.do("GET", "/v1/events/nobody", ""), 200, `{"events":[],"seq":10,"head":0,"floor":0}`)
	s.want(s.do("GET", "/v1/events/b/**?limit=1", ""), 200, `"stream":"b/1"`)
	s.want(s.do("GET", "/v1/events/**?since=8", ""), 200, `"seq":10,"head":10`)
	r := s.want(s.do("GET", "/v1/events/**", "", "Accept", "application/x-ndjson"), 200, `"stream":"a"`)
	if strings.Count(r.body, "\n") != 10 || r.header.Get("Tidemark-Seq") != "10" || r.header.Get("Content-Type") != contentLines {
		t.Errorf("%v %s", r.header, r.body)
	}
	for _, q := range []string{"since=-1", "since=x", "since=", "since=9007199254740992", "since=1&since=2", "limit=0", "limit=1001",
		"limit=x", "wait=2m", "wait=5", "wait=-1s", "log=x", "mark=x", "%zz"} {
		s.want(s.do("GET", "/v1/events/a?"+q, ""), 400, "bad_message")
	}
	for _, q := range []string{"since=11", "since=3&mark=" + store.NewID().String(), "since=3&log=" + store.NewID().String()} {
		s.want(s.do("GET", "/v1/events/a?"+q, ""), 410, "")
		s.want(s.do("GET", "/v1/events/a?"+q, "", "Accept", contentSSE), 410, "")
	}
}

// TestAtomicPage asks for less than an atomic push has, and gets it whole.
func TestAtomicPage(t *testing.T) {
	s := newServer(t)
	var list strings.Builder
	for range 5 {
		list.WriteString("," + mutation(`"data":1`))
	}
	s.want(s.do("POST", "/v1/events/a?atomic=true", "["+list.String()[1:]+"]"), 200, `"seq":5`)
	page, err := wire.DecodeEventsPage([]byte(s.do("GET", "/v1/events/a?limit=2", "").body))
	if err != nil || len(page.Events) != 5 {
		t.Errorf("%d events, %v", len(page.Events), err)
	}
}

func TestLongPoll(t *testing.T) {
	s := newServer(t)
	s.say("a", "1")
	start := time.Now()
	s.want(s.do("GET", "/v1/events/a?since=1&wait=50ms", ""), 200, `"events":[]`)
	if time.Since(start) < 50*time.Millisecond {
		t.Error("it did not wait")
	}
	got := make(chan reply)
	go func() { got <- s.do("GET", "/v1/events/a?since=1&wait=20s", "") }()
	s.say("b", "1") // not what it waits for
	s.say("a", "2")
	s.want(<-got, 200, `"data":2`)
}

func TestDocs(t *testing.T) {
	s := newServer(t)
	put := func(key, data string) {
		s.want(s.do("POST", "/v1/events/a", mutation(`"op":"put","key":"`+key+`","data":`+data)), 200, "")
	}
	put("x", `{"n":1}`)
	put("y", `2`)
	put("x", `{"n":3}`)
	s.want(s.do("GET", "/v1/docs/a", ""), 200, `{"seq":3,"docs":[{"key":"x","seq":3,"data":{"n":3}},{"key":"y","seq":2,"data":2}],"upto":3}`)
	s.want(s.do("GET", "/v1/docs/a?at=2", ""), 200, `{"seq":2,"docs":[{"key":"x","seq":1,"data":{"n":1}},{"key":"y","seq":2,"data":2}],"upto":2}`)
	s.want(s.do("GET", "/v1/docs/nobody", ""), 200, `{"seq":3,"docs":[],"upto":3}`)
	s.want(s.do("GET", "/v1/docs/a?at=4", ""), 400, "head")
	s.want(s.do("GET", "/v1/docs/a?key=z", ""), 404, "not_found")
	s.want(s.do("GET", "/v1/docs/a?key=y&at=1", ""), 404, "not_found")
	r := s.want(s.do("GET", "/v1/docs/a?key=x", ""), 200, `{"key":"x","seq":3,"data":{"n":3}}`)
	tag := r.header.Get("ETag")
	if tag != `"`+s.db.LogID().String()+`-3"` {
		t.Errorf("ETag is %s", tag)
	}
	for _, h := range []string{tag, "W/" + tag, `"other", ` + tag, "*"} {
		if r := s.do("GET", "/v1/docs/a?key=x", "", "If-None-Match", h); r.status != 304 || r.body != "" {
			t.Errorf("If-None-Match %s: %d", h, r.status)
		}
	}
	put("x", `{"n":4}`)
	s.want(s.do("GET", "/v1/docs/a?key=x", "", "If-None-Match", tag), 200, `{"n":4}`)
	s.want(s.do("POST", "/v1/events/a", mutation(`"op":"delete","key":"x"`)), 200, "")
	s.want(s.do("GET", "/v1/docs/a?key=x", ""), 404, "")
}

// TestDocsInPages reads more documents than a page holds, among them many keys without one.
func TestDocsInPages(t *testing.T) {
	s := newServer(t)
	var list []store.Mutation
	for i := range 400 {
		m := store.Mutation{ID: store.NewID(), Stream: "a", Op: store.OpPut, Key: fmt.Sprintf("%04d", i), Data: []byte(`"` + strings.Repeat("x", 4000) + `"`)}
		list = append(list, m)
	}
	if _, err := s.db.AppendWait(t.Context(), &store.Push{Mutations: list}); err != nil {
		t.Fatal(err)
	}
	page, err := wire.DecodeDocsPage([]byte(s.do("GET", "/v1/docs/a", "", "Accept-Encoding", "identity").body))
	if err != nil || len(page.Docs) != 400 {
		t.Fatalf("%d documents, %v", len(page.Docs), err)
	}
}

func TestStreams(t *testing.T) {
	s := newServer(t)
	for _, name := range []string{"a", "b/1", "b/2", "c"} {
		s.say(name, "1")
	}
	s.want(s.do("GET", "/v1/streams", ""), 200, `[{"stream":"a","head":1,"count":1},{"stream":"b/1"`)
	s.want(s.do("GET", "/v1/streams?prefix=b/&after=b/1", ""), 200, `{"streams":[{"stream":"b/2","head":3,"count":1}]}`)
	s.want(s.do("GET", "/v1/streams?limit=1", ""), 200, `{"streams":[{"stream":"a","head":1,"count":1}]}`)
	s.want(s.do("GET", "/v1/streams?prefix=z", ""), 200, `{"streams":[]}`)
}

func TestHealth(t *testing.T) {
	var sick error
	s := newServer(t, func(o *Options) { o.Ready = func() error { return sick } })
	s.want(s.do("GET", "/healthz", ""), 200, "ok")
	s.want(s.do("GET", "/readyz", ""), 200, "ready")
	sick = &store.Refusal{Code: store.CodeReadOnly, Message: "the disk is full"}
	s.want(s.do("GET", "/readyz", ""), 503, "the disk is full")
	s.want(s.do("GET", "/healthz", ""), 200, "ok")
}

func TestMethodsAndHead(t *testing.T) {
	s := newServer(t)
	s.say("a", "1")
	r := s.want(s.do("DELETE", "/v1/events/a", ""), 405, "unsupported")
	if r.header.Get("Allow") != "OPTIONS, GET, HEAD, POST" {
		t.Errorf("Allow is %q", r.header.Get("Allow"))
	}
	s.want(s.do("GET", "/v1/nothing", ""), 404, "not_found")
	s.want(s.do("GET", "/", ""), 404, "not_found")
	if r := s.do("HEAD", "/v1/events/a", ""); r.status != 200 || r.body != "" || r.header.Get("Content-Length") == "0" {
		t.Errorf("HEAD: %d %v", r.status, r.header)
	}
	if r := s.do("OPTIONS", "/v1/docs/a", ""); r.status != http.StatusNoContent || r.header.Get("Allow") == "" {
		t.Errorf("OPTIONS: %d %v", r.status, r.header)
	}
}
