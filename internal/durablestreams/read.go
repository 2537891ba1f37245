package durablestreams

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"tidemark/internal/respond"
	"tidemark/store"
)

// question is what a GET asks for.
type question struct {
	begin  bool // from the beginning of the stream
	now    bool // from its end
	after  store.Seq
	live   string // "", "long-poll" or "sse"
	cursor string
}

func parseQuestion(raw string) (q question, err error) {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return q, badRequest("the query is malformed")
	}
	offset, given := values["offset"]
	if given && (len(offset) != 1 || offset[0] == "") {
		return q, badRequest("offset needs one value that is not empty")
	}
	if q.live = values.Get("live"); q.live != "" && q.live != "long-poll" && q.live != "sse" {
		return q, badRequest("live is long-poll or sse")
	}
	if q.live != "" && !given {
		return q, badRequest("live needs an offset")
	}
	q.cursor = values.Get("cursor")
	switch {
	case !given || offset[0] == "-1":
		q.begin = true
	case offset[0] == "now":
		q.now = true
	default:
		if q.after, err = parseOffset(offset[0]); err != nil {
			return q, badRequest("offset is not one that this server gave")
		}
	}
	return q, nil
}

// get reads the stream.
func (c *call) get() error {
	q, err := parseQuestion(c.r.URL.RawQuery)
	if err != nil {
		return err
	}
	st, err := c.streams.get(c.name)
	if err != nil {
		return err
	}
	defer c.streams.release(st)
	l, err := c.living(st)
	if err != nil {
		return err
	}
	st.touch(nowMS())
	if q.now {
		if q.after, err = c.tail(st.name, l); err != nil {
			return err
		}
	}
	if q.after > c.Log.Head() {
		return badRequest("offset is beyond the end of the log")
	}
	switch q.live {
	case "sse":
		return c.follow(st, q)
	case "long-poll":
		return c.poll(st, q)
	}
	return c.catchUp(st.name, l, q)
}

// chunk is a page of a stream with what must be said about it.
type chunk struct {
	events []store.Event
	next   store.Seq // the offset behind it
	more   bool      // there is more to read now
	closed bool      // and nothing will follow
}

// read reads the page behind an offset.
func (s *Server) read(name store.Stream, l *life, q question) (chunk, scan, error) {
	sc := scan{log: s.Log, segments: l.segments(name), after: q.after}
	read := sc.next
	if q.begin {
		read = sc.beginning
	}
	page, err := read(store.PageLimit{})
	out := chunk{events: page.Events, next: q.after, more: page.More, closed: l.Closed && !page.More}
	if n := len(page.Events); n > 0 {
		out.next = page.Events[n-1].Seq
	}
	switch {
	case out.closed:
		out.next = l.End
	case !out.more:
		out.next = max(out.next, l.start())
	}
	return out, sc, err
}

// catchUp answers with everything up to the end of the stream as it is now.
func (c *call) catchUp(name store.Stream, l *life, q question) error {
	h := c.w.Header()
	h.Set("Content-Type", l.Type)
	h.Set("Cache-Control", "no-cache")
	if q.now {
		h.Set("Cache-Control", "no-store")
		h.Set(hNextOffset, formatOffset(q.after))
		h.Set(hUpToDate, "true")
		if l.Closed {
			h.Set(hClosed, "true")
		}
		return c.send(l, nil)
	}
	page, rest, err := c.read(name, l, q)
	if err != nil {
		return err
	}
	if page.more {
		if page.next, err = c.tail(name, l); err != nil {
			return err
		}
		page.closed = l.Closed
	}
	tag := c.tag(q, page)
	h.Set("ETag", tag)
	h.Set(hNextOffset, formatOffset(page.next))
	h.Set(hUpToDate, "true")
	if page.closed {
		h.Set(hClosed, "true")
	}
	if matches(c.r.Header.Values("If-None-Match"), tag) {
		c.w.WriteHeader(http.StatusNotModified)
		return nil
	}
	if !page.more {
		return c.send(l, page.events)
	}
	return c.stream(l, page, rest)
}

// tag names what a read has answered: in one log, the range of seqs, and whether the end of a closed stream was in it.
func (c *call) tag(q question, page chunk) string {
	tag := `"` + c.Log.LogID().String()[:8] + "-" + formatOffset(q.after) + "-" + formatOffset(page.next)
	if page.closed {
		tag += "-closed"
	}
	return tag + `"`
}

// matches compares weakly, as RFC 9110 wants it for If-None-Match: our tags hold neither commas nor quotes inside.
func matches(headers []string, tag string) bool {
	for _, h := range headers {
		for t := range strings.SplitSeq(h, ",") {
			if t = strings.TrimSpace(t); t == "*" || strings.TrimPrefix(t, "W/") == tag {
				return true
			}
		}
	}
	return false
}

// send writes a body that is in memory.
func (c *call) send(l *life, events []store.Event) error {
	buf := buffers.get()
	defer buffers.put(buf)
	*buf = appendBody((*buf)[:0], events, isJSON(l.Type))
	out := respond.Compressed(c.w, c.r, len(*buf), c.Stall)
	out.Begin(http.StatusOK, l.Type, len(*buf))
	out.Write(*buf)
	return finish(out)
}

// stream writes a body page by page, up to the end that its headers told.
func (c *call) stream(l *life, page chunk, rest scan) error {
	json := isJSON(l.Type)
	out := respond.Compressed(c.w, c.r, respond.Unknown, c.Stall)
	out.Begin(http.StatusOK, l.Type, respond.Unknown)
	buf := buffers.get()
	defer buffers.put(buf)
	b := (*buf)[:0]
	if json {
		b = append(b, '[')
	}
	events, first := page.events, true
	for out.Err() == nil {
		before := len(b)
		b = appendMessages(b, events, json, first)
		first = first && len(b) == before
		if out.Write(b); rest.after >= page.next {
			break
		}
		b = b[:0]
		next, err := rest.next(store.PageLimit{})
		if err != nil {
			return &aborted{err}
		}
		if cutAt(&next, page.next); len(next.Events) == 0 {
			break
		}
		events = next.Events
	}
	*buf = b
	if json {
		out.Write([]byte{']'})
	}
	return finish(out)
}

func appendBody(dst []byte, events []store.Event, json bool) []byte {
	if !json {
		return appendMessages(dst, events, false, true)
	}
	return append(appendMessages(append(dst, '['), events, true, true), ']')
}

func finish(out *respond.Body) error {
	if err := out.End(); err != nil {
		return &aborted{err}
	}
	return nil
}

// poll answers with what comes behind the offset, as soon as something does.
func (c *call) poll(st *stream, q question) error {
	timeout := time.NewTimer(c.LongPoll)
	defer timeout.Stop()
	for {
		news := c.waiters.join(st.name)
		l, page, err := c.look(st, &q)
		if err != nil || anyBelongs(page.events, isJSON(l.Type)) || page.closed {
			c.waiters.leave(st.name, news)
			if err != nil {
				return err
			}
			return c.sendPoll(l, q, page)
		}
		q.after, q.begin = page.next, false
		over := false
		select {
		case <-news.news:
		case <-timeout.C:
			over = true
		case <-c.ending.Done():
			over = true
		case <-c.r.Context().Done():
			over = true
		}
		c.waiters.leave(st.name, news)
		st.touch(nowMS())
		if over {
			return c.sendPoll(l, q, chunk{next: page.next})
		}
	}
}

// look reads what is behind the offset now, of a stream that still lives.
func (s *Server) look(st *stream, q *question) (*life, chunk, error) {
	l, err := s.living(st)
	if err != nil {
		return nil, chunk{}, err
	}
	page, _, err := s.read(st.name, l, *q)
	return l, page, err
}

func anyBelongs(events []store.Event, json bool) bool {
	for i := range events {
		if belongs(&events[i], json) {
			return true
		}
	}
	return false
}

func (c *call) sendPoll(l *life, q question, page chunk) error {
	h := c.w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set(hNextOffset, formatOffset(page.next))
	h.Set(hCursor, nextCursor(q.cursor, time.Now()))
	if !page.more {
		h.Set(hUpToDate, "true")
	}
	if page.closed {
		h.Set(hClosed, "true")
	}
	if !anyBelongs(page.events, isJSON(l.Type)) {
		c.w.WriteHeader(http.StatusNoContent)
		return nil
	}
	return c.send(l, page.events)
}
