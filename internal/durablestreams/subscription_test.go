package durablestreams

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

type claimed struct {
	Wake       string        `json:"wake_id"`
	Generation uint64        `json:"generation"`
	Token      string        `json:"token"`
	Streams    []streamState `json:"streams"`
}

func (c *claimed) body(done bool, acks ...ack) string {
	return string(encode(wakeRequest{Wake: c.Wake, Generation: c.Generation, Acks: acks, Done: done}))
}

func (s *site) claim(worker string) (c claimed) {
	s.t.Helper()
	return decodeAs[claimed](s.t, s.want(s.do("POST", "__ds/subscriptions/p/claim", `{"worker":"`+worker+`"}`), 200, "").body)
}

func (s *site) act(action string, c claimed, body string) reply {
	return s.do("POST", "__ds/subscriptions/p/"+action, body, "Authorization", "Bearer "+c.Token)
}

// wakes reads how many wakes the stream of workers tells of, once it is at least n.
func (s *site) wakes(n int) int {
	s.t.Helper()
	for begin := time.Now(); time.Since(begin) < 30*time.Second; {
		r := s.do("GET", "w", "")
		if r.status == 200 {
			if got := len(decodeAs[[]wakeEvent](s.t, r.body)); got >= n {
				return got
			}
		}
		if r.status != 404 {
			s.do("GET", "w?offset=now&live=long-poll", "")
		} else {
			time.Sleep(time.Millisecond) // the first wake makes the stream
		}
	}
	s.t.Fatal("no wake came")
	return 0
}

// TestPullWake follows one subscription through leases that are used, given back, lost by time and lost by a restart.
func TestPullWake(t *testing.T) {
	s := newSite(t)
	s.want(s.do("PUT", "in/old", `[1]`, asJSON...), 201, "")
	sub := `{"type":"pull-wake","pattern":"in/*","wake_stream":"w","lease_ttl_ms":1000}`
	s.want(s.do("PUT", "__ds/subscriptions/p", sub), 201, `"streams":[]`)
	s.want(s.do("PUT", "__ds/subscriptions/p", sub), 200, "")
	s.want(s.do("PUT", "__ds/subscriptions/p", strings.Replace(sub, "1000", "2000", 1)), 409, "SUBSCRIPTION_CONFLICT")
	s.want(s.do("POST", "__ds/subscriptions/p/claim", `{"worker":"x"}`), 409, "NO_PENDING_WORK")
	s.want(s.do("PUT", "in/a", `[1]`, asJSON...), 201, "")
	s.wakes(1)

	first := s.claim("one")
	if len(first.Streams) != 1 || first.Streams[0].Path != "in/a" {
		t.Fatalf("%+v", first) // in/old was there before the subscription
	}
	s.want(s.do("POST", "__ds/subscriptions/p/claim", `{"worker":"two"}`), 409, `"current_holder":"one"`)
	s.want(s.act("ack", claimed{Token: "guess"}, first.body(true)), 409, "FENCED")
	s.want(s.do("POST", "__ds/subscriptions/p/ack", first.body(true)), 401, "TOKEN_INVALID")
	s.want(s.act("ack", first, first.body(false, ack{"in/a", "9999999999999999"})), 400, "INVALID_OFFSET")
	s.want(s.act("ack", first, first.body(false, ack{"out/of/reach", first.Streams[0].Tail})), 400, "INVALID_OFFSET")
	s.want(s.act("release", first, first.body(false)), 204, "")
	s.wakes(2) // the work is still there

	second := s.claim("two")
	time.Sleep(1100 * time.Millisecond) // the lease is measured in real time by another process
	third := s.claim("three")
	s.want(s.act("ack", second, second.body(true, ack{"in/a", second.Streams[0].Tail})), 409, "FENCED")
	s.want(s.do("POST", "in/a", `[2]`, asJSON...), 204, "")
	s.want(s.act("ack", third, third.body(true, ack{"in/a", third.Streams[0].Tail})), 200, `"next_wake":true`)

	fourth := s.claim("four")
	if fourth.Generation <= third.Generation || fourth.Streams[0].Acked != third.Streams[0].Tail {
		t.Errorf("%+v after %+v", fourth, third)
	}
	before := s.wakes(1)
	s.reopen()
	s.wakes(before + 1)
	s.want(s.act("ack", fourth, fourth.body(true, ack{"in/a", fourth.Streams[0].Tail})), 409, "FENCED")
	fifth := s.claim("five")
	s.want(s.act("ack", fifth, fifth.body(true, ack{"in/a", fifth.Streams[0].Tail})), 200, `{"next_wake":false,"ok":true}`)
	s.reopen()
	s.want(s.do("POST", "__ds/subscriptions/p/claim", `{"worker":"x"}`), 409, "NO_PENDING_WORK")
	s.want(s.do("DELETE", "__ds/subscriptions/p", ""), 204, "")
	s.want(s.act("ack", fifth, fifth.body(true)), 410, "SUBSCRIPTION_GONE")
	s.reopen()
	s.want(s.do("GET", "__ds/subscriptions/p", ""), 404, "SUBSCRIPTION_NOT_FOUND")
}

// TestRefusedWake refuses to write a wake down: it comes a little later.
func TestRefusedWake(t *testing.T) {
	var log *flaky
	s := newSite(t, onFlaky(&log))
	s.want(s.do("PUT", "__ds/subscriptions/p", `{"type":"pull-wake","pattern":"in/*","wake_stream":"w"}`), 201, "")
	log.next(1)
	s.want(s.do("PUT", "in/a", `[1]`, asJSON...), 201, "")
	s.wakes(1)
}

// TestDropPending takes away the only stream with news before anybody claims it: news of another one wake again.
func TestDropPending(t *testing.T) {
	s := newSite(t)
	s.want(s.do("PUT", "__ds/subscriptions/p", `{"type":"pull-wake","streams":["in/a","in/b"],"wake_stream":"w"}`), 201, "")
	s.want(s.do("PUT", "in/a", `[1]`, asJSON...), 201, "")
	s.wakes(1)
	s.want(s.do("DELETE", "__ds/subscriptions/p/streams/in/a", ""), 204, "")
	s.want(s.do("POST", "__ds/subscriptions/p/claim", `{"worker":"x"}`), 409, "NO_PENDING_WORK")
	s.want(s.do("PUT", "in/b", `[1]`, asJSON...), 201, "")
	s.wakes(2)
	if c := s.claim("one"); len(c.Streams) != 1 || c.Streams[0].Path != "in/b" {
		t.Errorf("%+v", c)
	}
}

// TestWakeOfNothing: what a subscription was to be woken for may be gone, or the subscription itself, when its turn comes.
func TestWakeOfNothing(t *testing.T) {
	s := newSite(t)
	s.want(s.do("PUT", "__ds/subscriptions/p", `{"type":"pull-wake","streams":["in/a"],"wake_stream":"w"}`), 201, "")
	subs := s.ds.subs
	subs.mu.Lock()
	sub := subs.known["p"]
	subs.mu.Unlock()
	subs.start(sub, make(chan struct{}, 1))
	subs.mu.Lock()
	if sub.phase != idle {
		t.Error("it was woken for nothing")
	}
	sub.deleted = true
	subs.mu.Unlock()
	s.want(s.do("POST", "__ds/subscriptions/p/claim", `{"worker":"x"}`), 404, "SUBSCRIPTION_NOT_FOUND")
	s.want(s.do("POST", "__ds/subscriptions/p/streams", `{"streams":["in/b"]}`), 404, "SUBSCRIPTION_NOT_FOUND")
}

// TestLateAck lets a lease run out while its holder's acks are on their way to the disk.
func TestLateAck(t *testing.T) {
	var log *flaky
	s := newSite(t, onFlaky(&log))
	s.want(s.do("PUT", "__ds/subscriptions/p", `{"type":"pull-wake","pattern":"in/*","wake_stream":"w"}`), 201, "")
	s.want(s.do("PUT", "in/a", `[1]`, asJSON...), 201, "")
	s.wakes(1)
	first := s.claim("one")
	log.mu.Lock()
	log.before = func() {
		s.ds.subs.mu.Lock()
		s.ds.subs.known["p"].deadline = time.Now()
		s.ds.subs.mu.Unlock()
		s.ds.subs.due(time.Now())
	}
	log.mu.Unlock()
	s.want(s.act("ack", first, first.body(false, ack{"in/a", formatOffset(1)})), 409, "FENCED")
	s.wakes(2)
	if second := s.claim("two"); second.Generation <= first.Generation {
		t.Errorf("%+v after %+v", second, first)
	}
}

// TestNamedStreams names as many streams as a subscription may, and one more.
func TestNamedStreams(t *testing.T) {
	s := newSite(t)
	list := make([]string, maxNamed+1)
	for i := range list {
		list[i] = fmt.Sprintf("in/%d", i)
	}
	put := func(list []string) reply {
		return s.do("PUT", "__ds/subscriptions/p", string(encode(map[string]any{"type": "pull-wake", "wake_stream": "w", "streams": list})))
	}
	s.want(put(list), 400, "at most 1000 streams")
	s.want(put(list[:maxNamed]), 201, "")
	s.want(s.do("POST", "__ds/subscriptions/p/streams", `{"streams":["in/0","in/1"]}`), 204, "") // they are named already
	s.want(s.do("POST", "__ds/subscriptions/p/streams", `{"streams":["in/1000"]}`), 400, "at most 1000 streams")
	s.want(s.do("DELETE", "__ds/subscriptions/p/streams/in/0", ""), 204, "")
	s.want(s.do("POST", "__ds/subscriptions/p/streams", `{"streams":["in/1000"]}`), 204, "")
}

// TestWebhookRetry has a receiver that fails first, and one that sends the server elsewhere.
func TestWebhookRetry(t *testing.T) {
	s := newSite(t)
	calls := make(chan notification, 16)
	fail := true
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		calls <- decodeAs[notification](t, string(body))
		if fail {
			fail = false
			http.Redirect(w, r, s.web.URL, http.StatusTemporaryRedirect)
			return
		}
		_, _ = w.Write([]byte(`{"done":true}`))
	}))
	defer hook.Close()
	s.want(s.do("PUT", "__ds/subscriptions/h", `{"type":"webhook","streams":["a"],"webhook":{"url":"`+hook.URL+`"}}`), 201, `"link_type":"explicit"`)
	s.want(s.do("PUT", "a", `[1]`, asJSON...), 201, "")
	first, second := <-calls, <-calls
	if first.Wake != second.Wake || first.Generation != second.Generation || len(second.Streams) != 1 {
		t.Errorf("%+v, then %+v", first, second)
	}
	tail := s.do("HEAD", "a", "").header.Get(hNextOffset)
	for range 100 {
		if strings.Contains(s.do("GET", "__ds/subscriptions/h", "").body, `"acked_offset":"`+second.Streams[0].Tail+`"`) {
			if second.Streams[0].Tail > tail {
				t.Errorf("%s is beyond %s", second.Streams[0].Tail, tail)
			}
			return
		}
		s.do("GET", "a?offset=now&live=long-poll", "")
	}
	t.Error("what the receiver finished was not acknowledged")
}
