package durablestreams

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"tidemark/store"
	eventsync "tidemark/sync"
)

// TestOneLog writes a stream by this protocol and without it; each sees what the other wrote.
func TestOneLog(t *testing.T) {
	s := newSite(t)
	push := func(m store.Mutation) {
		m.ID, m.Stream = store.NewID(), "room/1"
		if _, err := s.db.AppendWait(t.Context(), &store.Push{Mutations: []store.Mutation{m}}); err != nil {
			t.Fatal(err)
		}
	}
	s.want(s.do("GET", "room/1", ""), 404, "not_found")
	push(store.Mutation{Type: "said", Data: []byte(`{"n":1}`)})
	s.want(s.do("GET", "room/1", ""), 200, `[{"n":1}]`)
	s.want(s.do("PUT", "room/1", "", asJSON...), 200, "")
	s.want(s.do("PUT", "room/1", "", asText...), 409, "")
	s.want(s.do("POST", "room/1", `[{"n":2},{"n":3}]`, asJSON...), 204, "")
	push(store.Mutation{Op: store.OpDelete, Key: "x"})
	s.want(s.do("GET", "room/1", ""), 200, `[{"n":1},{"n":2},{"n":3},null]`)
	page, err := s.db.Read(store.Only("room/1"), 1, store.PageLimit{})
	if err != nil || len(page.Events) != 3 {
		t.Fatalf("%+v, %v", page, err)
	}
	if e := page.Events[0]; e.Type != "message" || e.By != "ann" || !e.Flags.Has(store.FlagMore) {
		t.Errorf("%+v", e)
	}
	// Once closed here, what others write is theirs alone.
	s.want(s.do("POST", "room/1", "", hClosed, "true"), 204, "")
	push(store.Mutation{Type: "said", Data: []byte(`4`)})
	r := s.want(s.do("GET", "room/1", ""), 200, `[{"n":1},{"n":2},{"n":3},null]`)
	if r.header.Get(hClosed) != "true" {
		t.Error("the stream is not closed")
	}
}

// TestRestart closes and opens the log between all steps: what the protocol knows of a stream is in the log.
func TestRestart(t *testing.T) {
	s := newSite(t)
	step := func(method, path, body string, status int, headers ...string) reply {
		t.Helper()
		r := s.want(s.do(method, path, body, headers...), status, "")
		s.reopen()
		return r
	}
	step("PUT", "a", "one", 201, with(asText, hTTL, "3600")...)
	step("POST", "a", "two", 200, with(asText, claimOf("p", "3", "0")...)...)
	step("POST", "a", "two", 204, with(asText, claimOf("p", "3", "0")...)...)
	step("POST", "a", "x", 403, with(asText, claimOf("p", "2", "9")...)...)
	step("POST", "a", "x", 409, with(asText, claimOf("p", "3", "2")...)...)
	step("POST", "a", "3", 204, with(asText, hSeq, "b")...)
	step("POST", "a", "x", 409, with(asText, hSeq, "b")...)
	step("POST", "a", "x", 400, with(asText, hSeq, strings.Repeat("c", maxLabel+1))...)
	step("PUT", "f", "", 201, hForkedFrom, Path+"a")
	step("POST", "f", "four", 204, asText...)
	step("POST", "a", "", 204, with([]string{hClosed, "true"}, claimOf("p", "3", "1")...)...)
	step("POST", "a", "", 204, with([]string{hClosed, "true"}, claimOf("p", "3", "1")...)...)
	step("POST", "a", "x", 409, asText...)
	if r := step("HEAD", "a", "", 200); r.header.Get(hTTL) != "3600" || r.header.Get(hClosed) != "true" {
		t.Errorf("%v", r.header)
	}
	step("DELETE", "a", "", 204)
	step("GET", "a", "", 410)
	if r := step("GET", "f", "", 200); r.body != "onetwo3four" {
		t.Errorf("the fork has %q", r.body)
	}
	step("DELETE", "f", "", 204)
	step("GET", "a", "", 404)
	step("PUT", "a", "new", 201, asText...)
	if r := step("GET", "a", "", 200); r.body != "new" {
		t.Errorf("the new stream has %q", r.body)
	}
	step("POST", "a", "x", 200, with(asText, claimOf("p", "0", "0")...)...) // its producers are new, too
}

// TestCheckpoint has more producers than an overlay keeps unwritten, and trims the log below them.
func TestCheckpoint(t *testing.T) {
	s := newSite(t)
	s.want(s.do("PUT", "a", "", asText...), 201, "")
	for i := range 20 {
		s.want(s.do("POST", "a", "x", with(asText, claimOf(fmt.Sprintf("p%d", i), "1", "0")...)...), 200, "")
	}
	if err := s.ds.marks.save(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.ds.marks.mu.Lock()
	dirty := s.ds.marks.dirty
	clear(s.ds.marks.overlay)
	s.ds.marks.mu.Unlock()
	if dirty != 0 {
		t.Errorf("%d entries are dirty after the checkpoint", dirty)
	}
	s.want(s.do("POST", "a", "x", with(asText, claimOf("p7", "0", "0")...)...), 403, "stale_epoch")
	if err := s.db.Trim(t.Context(), s.db.Head()-3); err != nil {
		t.Fatal(err)
	}
	s.reopen()
	s.want(s.do("POST", "a", "x", with(asText, claimOf("p3", "1", "0")...)...), 204, "")
	s.want(s.do("POST", "a", "x", with(asText, claimOf("p3", "1", "1")...)...), 200, "")
	s.want(s.do("GET", "a?offset="+formatOffset(1), ""), 410, "trimmed")
	s.want(s.do("GET", "a", ""), 200, "x")
}

// TestTrimWaitsForMarks trims all that the log lets go and kills the server: what producers have said is known.
func TestTrimWaitsForMarks(t *testing.T) {
	s := newSite(t)
	say := func(seq string, status int) {
		t.Helper()
		s.want(s.do("POST", "a", seq, with(asText, claimOf("p", "0", seq)...)...), status, "")
	}
	trim := func() {
		t.Helper()
		if err := s.db.Trim(t.Context(), s.db.Head()); err != nil {
			t.Fatal(err)
		}
	}
	s.want(s.do("PUT", "a", "", asText...), 201, "")
	s.want(s.do("PUT", "b", "", asText...), 201, "")
	trim()
	if s.db.Floor() != s.db.Head() {
		t.Errorf("nothing was said, and trimming ends at %d of %d", s.db.Floor(), s.db.Head())
	}
	say("0", 200)
	say("1", 200)
	trim()
	s.kill()
	say("1", 204)
	say("2", 200)
	s.want(s.do("POST", "a", "", with([]string{hClosed, "true"}, claimOf("p", "0", "3")...)...), 204, "")
	trim()
	s.kill()
	say("3", 204)
	if m := s.ds.marks; !m.due(time.Now().Add(markWait)) {
		t.Error("trimming waits for long")
	} else if err := m.save(t.Context()); err != nil {
		t.Fatal(err)
	}
	trim()
	if s.db.Floor() != s.db.Head() {
		t.Errorf("all is written down, and trimming ends at %d of %d", s.db.Floor(), s.db.Head())
	}
	s.kill()
	say("3", 204)
}

// TestFirstMarks writes as a producer to a stream that was made in another way, the first use of this protocol.
func TestFirstMarks(t *testing.T) {
	s := newSite(t)
	m := store.Mutation{ID: store.NewID(), Stream: "a", Type: "said", Data: []byte(`0`)}
	if _, err := s.db.AppendWait(t.Context(), &store.Push{Mutations: []store.Mutation{m}}); err != nil {
		t.Fatal(err)
	}
	s.want(s.do("POST", "a", "1", with(asJSON, claimOf("p", "0", "0")...)...), 200, "")
	s.kill()
	s.want(s.do("POST", "a", "1", with(asJSON, claimOf("p", "0", "0")...)...), 204, "")
	s.want(s.do("GET", "a", ""), 200, "[0,1]")
}

// flaky is a log that refuses pushes now and then, as one whose disk is full for a moment.
type flaky struct {
	*store.Store
	mu    sync.Mutex
	left  int // pushes until the next refusal
	after int // and then until the one after it; 0: 7

	before func() // called once before the next push, unless nil
}

func (f *flaky) Append(ctx context.Context, p *store.Push) error {
	f.mu.Lock()
	f.left--
	refuse, before := f.left < 0, f.before
	if f.before = nil; refuse {
		f.left = cmp.Or(f.after, 7)
	}
	f.mu.Unlock()
	if before != nil {
		before()
	}
	if refuse {
		p.Refused = make([]*store.Refusal, len(p.Mutations))
		for i := range p.Refused {
			p.Refused[i] = &store.Refusal{Code: store.CodeReadOnly, Message: "full"}
		}
	}
	return f.Store.Append(ctx, p)
}

// next has the log refuse the push after so many others, and then none for long.
func (f *flaky) next(left int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.left, f.after = left, 1<<30
}

// onFlaky puts a flaky log below the server, which refuses nothing at first.
func onFlaky(log **flaky) func(*Options) {
	return func(o *Options) {
		*log = &flaky{Store: o.Log.(*store.Store), left: 1 << 30}
		o.Log = *log
	}
}

// TestRefusedDelete has readers at a stream of which nobody knows what came of its deletion: they read on, for it is there.
func TestRefusedDelete(t *testing.T) {
	var log *flaky
	s := newSite(t, onFlaky(&log), func(o *Options) { o.LongPoll = time.Minute })
	s.want(s.do("PUT", "a", `["first"]`, asJSON...), 201, "")
	res, err := http.Get(s.web.URL + Path + "a?offset=-1&live=sse")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	until := func(text string) {
		t.Helper()
		for lines.Scan() {
			if strings.Contains(lines.Text(), text) {
				return
			}
		}
		t.Fatalf("the reader is let go before %s", text)
	}
	until("first")
	until("upToDate")
	log.next(0)
	s.want(s.do("DELETE", "a", ""), 503, "read_only")
	m := store.Mutation{ID: store.NewID(), Stream: "a", Type: "said", Data: []byte(`"second"`)}
	if _, err := s.db.AppendWait(t.Context(), &store.Push{Mutations: []store.Mutation{m}}); err != nil {
		t.Fatal(err)
	}
	until("second")
	log.next(0)
	s.want(s.do("DELETE", "a", ""), 503, "read_only")
	s.want(s.do("POST", "a", `"third"`, asJSON...), 204, "")
	until("third")
}

// TestExpiryAsksAgain uses a stream that was found to be over before it is removed: it stays.
func TestExpiryAsksAgain(t *testing.T) {
	s := newSite(t)
	s.want(s.do("PUT", "a", "kept", with(asText, hTTL, "3600")...), 201, "")
	g := &s.ds.streams
	st, err := g.get("a")
	if err != nil {
		t.Fatal(err)
	}
	s.ds.forking.Lock()
	st.used.Store(1)
	done := make(chan struct{})
	go func() { defer close(done); g.expire(time.Now()) }()
	for pins := 0; pins < 2; runtime.Gosched() {
		g.mu.Lock()
		pins = st.pins
		g.mu.Unlock()
	}
	st.touch(nowMS())
	s.ds.forking.Unlock()
	<-done
	g.release(st)
	s.want(s.do("GET", "a", ""), 200, "kept")
}

// TestRefusedTouch refuses to write down the use of a stream: it is still known as one that ends by itself.
func TestRefusedTouch(t *testing.T) {
	var log *flaky
	s := newSite(t, onFlaky(&log))
	s.want(s.do("PUT", "a", "", with(asText, hTTL, "3600")...), 201, "")
	g := &s.ds.streams
	g.mu.Lock()
	g.known["a"].touch(nowMS() + time.Hour.Milliseconds())
	g.mu.Unlock()
	log.next(0)
	g.expire(time.Now())
	g.mu.Lock()
	defer g.mu.Unlock()
	if st := g.known["a"]; st == nil || !st.settled() {
		t.Error("it is forgotten")
	}
}

// TestRefusedAppends lets producers run into refusals, several appends of each on their way at once: none behind a refused
// one may take effect before it, so that in the end each message is there once, in order.
func TestRefusedAppends(t *testing.T) {
	var log *flaky
	s := newSite(t, func(o *Options) {
		log = &flaky{Store: o.Log.(*store.Store), left: 5}
		o.Log = log
	})
	for s.do("PUT", "a", "", asJSON...).status != 201 {
	}
	var wg sync.WaitGroup
	const producers, each = 4, 40
	for p := range producers {
		id := fmt.Sprint("p", p)
		for n := range each {
			wg.Go(func() {
				for {
					r := s.do("POST", "a", fmt.Sprintf(`["%s-%d"]`, id, n), with(asJSON, claimOf(id, "0", fmt.Sprint(n))...)...)
					switch r.status {
					case 200, 204:
						return
					case 409, 503: // its predecessor is not there yet, or it was refused
					default:
						t.Errorf("%d %s", r.status, r.body)
						return
					}
				}
			})
		}
	}
	wg.Wait()
	log.mu.Lock()
	log.left = 1 << 30 // what is written at the end is not refused
	log.mu.Unlock()
	next := map[string]int{}
	for _, m := range decodeAs[[]string](t, s.do("GET", "a", "").body) {
		id, n, _ := strings.Cut(m, "-")
		if n != fmt.Sprint(next[id]) {
			t.Fatalf("%s comes after %d of its producer", m, next[id]-1)
		}
		next[id]++
	}
	for id, n := range next {
		if n != each {
			t.Errorf("%s has %d of %d", id, n, each)
		}
	}
	if len(next) != producers {
		t.Errorf("%d producers", len(next))
	}
}

// TestRights asks for the rights of each action, of forks' sources and of subscriptions.
func TestRights(t *testing.T) {
	s := newSite(t, func(o *Options) {
		o.Authenticate = func(_ context.Context, token string) (eventsync.Principal, error) {
			if token == "" {
				return eventsync.Principal{}, &store.Refusal{Code: store.CodeUnauthorized, Message: "a token is needed"}
			}
			return eventsync.Principal{Subject: token, Allows: func(a eventsync.Action, f store.Filter) bool {
				return strings.HasPrefix(f.String(), token+"/") || a == eventsync.ActRead && strings.HasPrefix(f.String(), "public/")
			}}, nil
		}
	})
	ann, bob := []string{"Authorization", "Bearer ann"}, []string{"Authorization", "Bearer bob"}
	if r := s.want(s.do("GET", "ann/1", ""), 401, "unauthorized"); r.header.Get("WWW-Authenticate") == "" {
		t.Errorf("%v", r.header)
	}
	s.want(s.do("PUT", "ann/1", "x", with(ann, asText...)...), 201, "")
	s.want(s.do("GET", "ann/1", "", ann...), 200, "x")
	for _, m := range []string{"GET", "PUT", "POST", "DELETE"} {
		s.want(s.do(m, "ann/1", "", bob...), 403, "forbidden")
	}
	s.want(s.do("PUT", "bob/1", "", with(bob, hForkedFrom, Path+"ann/1")...), 403, "forbidden")
	s.want(s.do("PUT", "public/1", "", bob...), 403, "forbidden")
	sub := func(body string) reply { return s.do("PUT", "__ds/subscriptions/x", body, with(bob, asJSON...)...) }
	s.want(sub(`{"type":"pull-wake","pattern":"ann/*","wake_stream":"bob/w"}`), 403, "forbidden")
	s.want(sub(`{"type":"pull-wake","pattern":"**","wake_stream":"bob/w"}`), 403, "forbidden")
	s.want(sub(`{"type":"pull-wake","streams":["ann/1"],"wake_stream":"bob/w"}`), 403, "forbidden")
	s.want(sub(`{"type":"pull-wake","pattern":"public/*","wake_stream":"ann/w"}`), 403, "forbidden")
	s.want(sub(`{"type":"pull-wake","pattern":"public/*","wake_stream":"bob/w"}`), 201, "")
	s.want(s.do("GET", "__ds/subscriptions/x", "", ann...), 403, "forbidden")
	s.want(s.do("DELETE", "__ds/subscriptions/x", "", ann...), 403, "forbidden")
}

func TestNames(t *testing.T) {
	s := newSite(t)
	s.want(s.do("PUT", "secret", "secret", asText...), 201, "")
	s.want(s.do("PUT", "a%252fb", "odd", asText...), 201, "")
	s.want(s.do("PUT", "a/b", "plain", asText...), 201, "")
	for path, want := range map[string]string{
		"a%2fb": "plain", "a%2Fb": "plain", "%61/b": "plain", "a%252fb": "odd",
		"x/../secret": "stream_invalid", "x/%2e%2e/secret": "stream_invalid", "x%2f..%2fsecret": "stream_invalid",
		"/secret": "stream_invalid", "secret/": "stream_invalid", "./secret": "stream_invalid", "": "stream_invalid",
		"$durable/streams": "stream_invalid", "%24durable%2fkeys": "stream_invalid", "**": "stream_invalid", "a/**": "stream_invalid",
		"%5f_ds/x": "not_found", "__ds%2fsubscriptions": "not_found", "secret%00": "stream_invalid", "%fe": "stream_invalid",
	} {
		if r := s.do("GET", path, ""); !strings.Contains(r.body, want) || r.header.Get("Location") != "" {
			t.Errorf("%s: %d %s, want %s", path, r.status, r.body, want)
		}
	}
}

func TestRate(t *testing.T) {
	left := 5
	s := newSite(t, func(o *Options) {
		o.Charge = func(_ *http.Request, subject string, n int) time.Duration {
			if subject != "ann" || n > left {
				return 1500 * time.Millisecond
			}
			left -= n
			return 0
		}
	})
	s.want(s.do("PUT", "a", "", asJSON...), 201, "")
	s.want(s.do("PUT", "a", "", asJSON...), 200, "") // writes nothing
	s.want(s.do("POST", "a", `[1,2,3]`, asJSON...), 204, "")
	s.want(s.do("POST", "a", `[1,2]`, asJSON...), 429, "rate_limited")
	s.want(s.do("POST", "a", `1`, asJSON...), 204, "")
	for _, method := range []string{"POST", "DELETE"} {
		if r := s.want(s.do(method, "a", `1`, asJSON...), 429, "rate_limited"); r.header.Get("Retry-After") != "2" {
			t.Errorf("%v", r.header)
		}
	}
	s.want(s.do("PUT", "b", "", asJSON...), 429, "rate_limited")
	s.want(s.do("GET", "a", ""), 200, "[1,2,3,1]")
	s.want(s.do("GET", "b", ""), 404, "")
}

func TestLimits(t *testing.T) {
	s := newSite(t, func(o *Options) { o.MaxAppend, o.MaxMessage, o.MaxMessages = 2000, 600, 10 })
	s.want(s.do("PUT", "b", "", "Content-Type", "image/png"), 201, "")
	s.want(s.do("PUT", "j", "", asJSON...), 201, "")
	big := strings.Repeat("x", 1900)
	head := s.db.Head()
	s.want(s.do("POST", "b", big+big, "Content-Type", "image/png"), 413, "too_large")
	s.want(s.do("POST", "j", `"`+big+`"`, asJSON...), 413, "too_large")
	s.want(s.do("POST", "j", `[1,2,3,4,5,6,7,8,9,10,11]`, asJSON...), 413, "too_large")
	s.want(s.do("POST", "j", `[1,2`, asJSON...), 400, "")
	s.want(s.do("POST", "j", `1 2`, asJSON...), 400, "")
	s.want(s.do("POST", "j", strings.Repeat("[", 500), asJSON...), 400, "")
	s.want(s.do("POST", "j", `1`, with(asJSON, claimOf(strings.Repeat("p", 600), "0", "0")...)...), 400, "")
	if s.db.Head() != head {
		t.Error("something was kept")
	}
	s.want(s.do("POST", "b", big, "Content-Type", "image/png"), 204, "") // in pieces, as one
	s.want(s.do("GET", "b", ""), 200, big)
	s.want(s.do("POST", "j", `[[1],{"a":"]"},"\"]",2]`, asJSON...), 204, "")
	s.want(s.do("GET", "j", ""), 200, `[[1],{"a":"]"},"\"]",2]`)
	s.want(s.do("PATCH", "j", ""), 405, "unsupported")
}

// TestCatchUp reads far more than a page in one answer.
func TestCatchUp(t *testing.T) {
	s := newSite(t)
	s.want(s.do("PUT", "a", "", asJSON...), 201, "")
	const n = 5000
	batch := "[" + strings.Repeat(`,"`+strings.Repeat("x", 200)+`"`, 1000)[1:] + "]"
	for range n / 1000 {
		s.want(s.do("POST", "a", batch, asJSON...), 204, "")
	}
	r := s.do("GET", "a", "", "Accept-Encoding", "identity")
	if got := len(decodeAs[[]string](t, r.body)); got != n || r.header.Get(hUpToDate) != "true" {
		t.Errorf("%d messages, %v", got, r.header)
	}
	if again := s.do("GET", "a", "", "If-None-Match", r.header.Get("ETag")); again.status != http.StatusNotModified {
		t.Errorf("%d", again.status)
	}
	if rest := s.do("GET", "a?offset="+r.header.Get(hNextOffset), ""); rest.body != "[]" {
		t.Errorf("%s", rest.body)
	}
	fork := s.want(s.do("PUT", "f", `["last"]`, with(asJSON, hForkedFrom, Path+"a")...), 201, "")
	r = s.do("GET", "f", "")
	if got := len(decodeAs[[]string](t, r.body)); got != n+1 || r.header.Get(hNextOffset) != fork.header.Get(hNextOffset) {
		t.Errorf("%d messages, %v", got, r.header)
	}
}

func TestSSELifeAndDelete(t *testing.T) {
	s := newSite(t, func(o *Options) { o.SSELife = 50 * time.Millisecond })
	s.want(s.do("PUT", "a", " two\nlines", asText...), 201, "")
	r := s.do("GET", "a?offset=-1&live=sse", "")
	if !strings.HasPrefix(r.body, "event: data\ndata:  two\ndata:lines\n\nevent: control\ndata:{\"streamNextOffset\":\"") {
		t.Errorf("%q", r.body)
	}
	poll := make(chan reply)
	go func() { poll <- s.do("GET", "a?offset=now&live=long-poll", "") }()
	s.want(s.do("DELETE", "a", ""), 204, "")
	if r := <-poll; r.status != 404 {
		t.Errorf("the poll of a deleted stream got %d", r.status)
	}
}

func TestSSELivesAreSpread(t *testing.T) {
	c := &call{Server: &Server{Options: Options{SSELife: time.Minute}}}
	lives := map[time.Duration]bool{}
	for range 100 {
		life := c.life()
		if lives[life] = true; life > time.Minute || life < 52*time.Second {
			t.Fatalf("served for %v", life)
		}
	}
	if len(lives) < 90 {
		t.Errorf("%d different lives of 100", len(lives))
	}
	c.who.Expires = time.Now().Add(10 * time.Second)
	if life := c.life(); life > 10*time.Second {
		t.Errorf("served for %v, longer than the token holds", life)
	}
}

// FuzzRequests sends any request to a stream: it is answered, never with 500, and a refused one keeps nothing.
func FuzzRequests(f *testing.F) {
	f.Add("POST", "j", "offset=-1", "application/json", "true", "p", "0", "0", []byte(`[1,{"a":[]}]`))
	f.Add("PUT", "t/2", "", "text/plain; charset=utf-8", "", "", "", "", []byte("x"))
	f.Add("GET", "t", "offset=now&live=long-poll&cursor=9", "", "", "", "", "", []byte(nil))
	f.Add("PUT", "__ds/subscriptions/s", "", "application/json", "", "", "", "", []byte(`{"type":"pull-wake","pattern":"a/**/b","wake_stream":"w"}`))
	f.Add("POST", "__ds/subscriptions/s/ack", "", "", "", "", "", "", []byte(`{"wake_id":"","generation":1}`))
	dir := f.TempDir()
	s := &site{path: dir + "/log", set: []func(*Options){func(o *Options) { o.LongPoll, o.SSELife = time.Millisecond, time.Millisecond }}}
	f.Cleanup(s.close)
	f.Fuzz(func(t *testing.T, method, path, query, kind, closed, producer, epoch, seq string, body []byte) {
		if s.t = t; s.db == nil {
			s.open()
		}
		req, err := http.NewRequest(method, "http://x/", strings.NewReader(string(body)))
		if err != nil {
			return
		}
		req.URL.Path, req.URL.RawQuery = Path+path, query
		for name, v := range map[string]string{"Content-Type": kind, hClosed: closed, hProducer: producer, hEpoch: epoch, hProdSeq: seq, hForkedFrom: closed, hTTL: seq, hForkOffset: epoch} {
			if v != "" {
				req.Header.Set(name, v)
			}
		}
		w := newWriter()
		s.ds.ServeHTTP(w, req.WithContext(t.Context()))
		if w.status == http.StatusInternalServerError {
			t.Fatalf("%s %s?%s: %s", method, path, query, w.body)
		}
	})
}

// writer is the least that an answer needs.
type writer struct {
	header http.Header
	status int
	body   []byte
}

func newWriter() *writer { return &writer{header: http.Header{}} }

func (w *writer) Header() http.Header { return w.header }

func (w *writer) WriteHeader(status int) { w.status = status }

func (w *writer) Write(p []byte) (int, error) {
	w.body = append(w.body, p...)
	return len(p), nil
}
