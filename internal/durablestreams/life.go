package durablestreams

import (
	"net/http"
	"slices"
	"strconv"
	"time"

	"tidemark/store"
)

func nowMS() int64 { return time.Now().UnixMilli() }

// change is what a push makes of a stream's life.
type change struct {
	stream *stream
	next   meta
}

// commit commits changes of lives: the push ends with the document of the last of them. The caller holds the mu of every
// stream, and none has an append on its way. A request that is given up does not stop it, for nobody would know what came
// of it.
func (s *Server) commit(p *store.Push, changes ...change) (store.Seq, error) {
	at, err := appendWait(s.ending, s.Log, p)
	for _, c := range changes {
		if err != nil {
			c.stream.current.Store(nil) // whatever came of it, the log knows
			continue
		}
		s.settle(c.stream, c.next, at)
	}
	return at, err
}

// settle takes over a document that is on disk. at is its seq, which only a document needs that begins a life or ends one.
func (s *Server) settle(st *stream, m meta, at store.Seq) {
	m, err := decodeMeta(&store.Doc{Seq: at, Data: m.encode()})
	if err != nil {
		st.current.Store(nil)
		return
	}
	st.touch(m.Touched)
	st.current.Store(&life{meta: m, exists: !m.Gone})
	s.waiters.nudge(st.name)
}

// drain waits until no append of the stream is on its way. The caller holds st.mu.
func (s *Server) drain(st *stream) error {
	if f := st.lane.newest(); f.wait(s.ending) != nil {
		return s.ending.Err()
	}
	return nil
}

// wish is what a PUT asks for.
type wish struct {
	typ     string // "": not said
	ttl     *int64
	expires int64
	closed  bool
	source  store.Stream // "": no fork
	at      string       // offset of the fork, "": the source's end
	sub     uint64
}

// put makes a stream, or confirms that there is one like it.
func (c *call) put() error {
	w, err := c.parseWish()
	if err != nil {
		return err
	}
	body, err := c.body()
	if err != nil {
		return err
	}
	st, err := c.streams.get(c.name)
	if err != nil {
		return err
	}
	defer c.streams.release(st)
	if w.source != "" {
		return c.putFork(st, w, body)
	}
	if err := c.clear(st); err != nil {
		return err
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if done, err := c.confirm(st, w); done || err != nil {
		return err
	}
	typ := w.typ
	if typ == "" {
		typ = defaultType
	}
	m := meta{Type: typ, TTL: w.ttl, Expires: w.expires, Closed: w.closed, Touched: nowMS()}
	return c.create(st, m, nil, body)
}

func (c *call) parseWish() (w wish, err error) {
	h := c.r.Header
	if w.typ = h.Get("Content-Type"); w.typ != "" && essence(w.typ) == "" {
		return w, badRequest("Content-Type is no media type")
	}
	w.closed = h.Get(hClosed) == "true"
	ttl, expires := h.Get(hTTL), h.Get(hExpires)
	if ttl != "" && expires != "" {
		return w, badRequest("Stream-TTL and Stream-Expires-At exclude each other")
	}
	if ttl != "" {
		n, err := parseCount(ttl)
		if err != nil || n > maxTTL {
			return w, badRequest("Stream-TTL is not a number of seconds")
		}
		w.ttl = new(int64)
		*w.ttl = int64(n)
	}
	if expires != "" {
		t, err := time.Parse(time.RFC3339, expires)
		if err != nil {
			return w, badRequest("Stream-Expires-At is not a time as in RFC 3339")
		}
		w.expires = t.UnixMilli()
	}
	return w, c.parseFork(&w)
}

// maxTTL is a century: more is a mistake, and would overflow a duration at some point.
const maxTTL = 100 * 366 * 24 * 3600

// clear deletes a stream whose time is over, so that what it was a fork of learns of it.
func (c *call) clear(st *stream) error {
	l, err := c.lifeOf(st)
	if err == nil && l.mortal() && l.Forks == 0 && st.ended(l, time.Now()) {
		err = c.lapse(st)
	}
	return err
}

// confirm answers a PUT of a stream that exists: 200 when it is as wished. false: there is none. The caller holds st.mu.
func (c *call) confirm(st *stream, w wish) (bool, error) {
	l, err := c.known(st)
	if err != nil {
		return true, err
	}
	over := st.ended(l, time.Now())
	switch {
	case l.exists && (l.Hidden || over && l.Forks > 0):
		return true, refuse(http.StatusConflict, "gone", "the stream was deleted, but for its forks")
	case !l.exists || over:
		return false, nil
	case !l.like(w):
		return true, refuse(http.StatusConflict, "conflict", "there is a stream of another kind at this path")
	}
	tail, err := c.tail(st.name, l)
	if err != nil {
		return true, err
	}
	c.describe(l, tail)
	c.w.WriteHeader(http.StatusOK)
	return true, nil
}

// like reports whether the stream is what the wish would have made.
func (l *life) like(w wish) bool {
	same := w.closed == l.Closed && (w.source == "" || l.Fork != nil)
	if w.source == "" || w.typ != "" {
		typ := w.typ
		if typ == "" {
			typ = defaultType
		}
		same = same && essence(typ) == essence(l.Type)
	}
	if l.Fork == nil || w.ttl != nil || w.expires != 0 {
		same = same && w.expires == l.Expires && (w.ttl == nil) == (l.TTL == nil) && (w.ttl == nil || *w.ttl == *l.TTL)
	}
	return same && l.sameFork(w)
}

func (l *life) sameFork(w wish) bool {
	if w.source == "" {
		return true
	}
	if w.at != "" {
		if at, err := parseOffset(w.at); err != nil || at != l.Fork.At {
			return false
		}
	}
	return w.source == l.Fork.Source && w.sub == l.Fork.Sub
}

// create writes a new life of the stream: its first messages, what changes of other streams, then its document. The caller
// holds the streams' mu.
func (c *call) create(st *stream, m meta, lead []store.Mutation, body []byte, others ...change) error {
	o := order{messages: lead}
	if len(body) > 0 {
		list, err := c.firstMessages(m.Type, body)
		if err != nil {
			return err
		}
		o.messages = slices.Concat(lead, list)
	}
	if err := c.charge(len(o.messages)); err != nil {
		return err
	}
	if err := c.drain(st); err != nil {
		return err
	}
	var more []store.Mutation
	for _, ch := range others {
		more = append(more, document(metaStream, string(ch.stream.name), ch.next.encode()))
	}
	m.Lead = len(o.messages) + len(more)
	st.used.Store(m.Touched)
	p := c.push(&o, append(more, document(metaStream, string(st.name), m.encode()))...)
	if _, err := c.commit(p, append(others, change{st, m})...); err != nil {
		return err
	}
	l, err := c.known(st)
	if err != nil {
		return err
	}
	tail, err := c.tail(st.name, l)
	if err != nil {
		return err
	}
	c.describe(l, tail)
	c.w.Header().Set("Location", c.url(c.r.URL.EscapedPath()))
	c.w.WriteHeader(http.StatusCreated)
	return nil
}

// firstMessages is messages, but that the empty batch is no mistake when a stream is made.
func (c *call) firstMessages(contentType string, body []byte) ([]store.Mutation, error) {
	if isJSON(contentType) {
		return c.values(body)
	}
	return c.messages(contentType, body)
}

// url makes an absolute URL of a path here, as the client sees it.
func (c *call) url(path string) string {
	scheme := "http"
	if c.r.TLS != nil || c.r.Header.Get("X-Forwarded-Proto") == "https" {
		scheme = "https"
	}
	return scheme + "://" + c.r.Host + path
}

// describe sets the headers that tell of a stream.
func (c *call) describe(l *life, tail store.Seq) {
	h := c.w.Header()
	h.Set("Content-Type", l.Type)
	h.Set(hNextOffset, formatOffset(tail))
	if l.Closed {
		h.Set(hClosed, "true")
	}
	if l.TTL != nil {
		h.Set(hTTL, strconv.FormatInt(*l.TTL, 10))
	}
	if l.Expires != 0 {
		h.Set(hExpires, time.UnixMilli(l.Expires).UTC().Format("2006-01-02T15:04:05.000Z"))
	}
}

// head tells of a stream without reading it, so it does not lengthen its life.
func (c *call) head() error {
	st, err := c.streams.get(c.name)
	if err != nil {
		return err
	}
	defer c.streams.release(st)
	l, err := c.living(st)
	if err != nil {
		return err
	}
	tail, err := c.tail(st.name, l)
	if err != nil {
		return err
	}
	c.describe(l, tail)
	c.w.Header().Set("Cache-Control", "no-store")
	c.w.WriteHeader(http.StatusOK)
	return nil
}

// delete ends a stream.
func (c *call) delete() error {
	st, err := c.streams.get(c.name)
	if err != nil {
		return err
	}
	defer c.streams.release(st)
	if _, err := c.living(st); err != nil {
		return err
	}
	if err := c.charge(0); err != nil {
		return err
	}
	if err := c.remove(st, c.who.Subject); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

// saveUse writes down when a stream with a sliding life was used last.
func (s *Server) saveUse(st *stream) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	l := st.current.Load()
	if l == nil || !l.mortal() || st.ended(l, time.Now()) {
		return nil
	}
	if err := s.drain(st); err != nil {
		return err
	}
	next := l.meta
	next.Touched = st.used.Load()
	return s.commitDocs("", change{st, next})
}

// commitDocs commits documents and nothing else, as one push.
func (s *Server) commitDocs(by string, changes ...change) error {
	p := &store.Push{By: by, Atomic: len(changes) > 1}
	for _, c := range changes {
		p.Mutations = append(p.Mutations, document(metaStream, string(c.stream.name), c.next.encode()))
	}
	_, err := s.commit(p, changes...)
	return err
}
