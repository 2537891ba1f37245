package durablestreams

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"tidemark/store"
	eventsync "tidemark/sync"
)

// parseFork reads the headers of a fork.
func (c *call) parseFork(w *wish) (err error) {
	h := c.r.Header
	from, sub := h.Get(hForkedFrom), h.Get(hForkSub)
	w.at = h.Get(hForkOffset)
	if from == "" {
		if sub != "" || w.at != "" {
			return badRequest("Stream-Fork-Offset and Stream-Fork-Sub-Offset need Stream-Forked-From")
		}
		return nil
	}
	name, err := url.PathUnescape(strings.TrimPrefix(from, Path))
	if err != nil {
		return badRequest("Stream-Forked-From is no path of a stream")
	}
	if w.source, err = parseName(name); err != nil {
		return err
	}
	if w.at != "" {
		if _, err := parseOffset(w.at); err != nil {
			return badRequest("Stream-Fork-Offset is not an offset")
		}
	}
	if sub != "" {
		if w.sub, err = parseCount(sub); err != nil {
			return badRequest("Stream-Fork-Sub-Offset is not a number")
		}
	}
	return c.may(eventsync.ActRead, store.Only(w.source))
}

// putFork makes a stream that begins with what another one has up to some point.
func (c *call) putFork(st *stream, w wish, body []byte) error {
	if w.source == st.name {
		return refuse(http.StatusConflict, "conflict", "a stream cannot be forked from itself")
	}
	source, err := c.streams.get(w.source)
	if err != nil {
		return err
	}
	defer c.streams.release(source)
	if err := c.clear(st); err != nil {
		return err
	}
	c.forking.Lock()
	defer c.forking.Unlock()
	st.mu.Lock()
	defer st.mu.Unlock()
	source.mu.Lock()
	defer source.mu.Unlock()
	if done, err := c.confirm(st, w); done || err != nil {
		return err
	}
	from, err := c.forkable(source, &w)
	if err != nil {
		return err
	}
	m := meta{Type: w.typ, TTL: w.ttl, Expires: w.expires, Closed: w.closed, Touched: nowMS()}
	if m.Type == "" {
		m.Type = from.Type
	}
	if m.TTL == nil && m.Expires == 0 {
		m.TTL, m.Expires = from.TTL, from.Expires
	}
	piece, err := c.branch(&m, source, from, w)
	if err != nil {
		return err
	}
	parent := from.meta
	parent.Forks++
	return c.create(st, m, piece, body, change{source, parent})
}

// forkable returns the life of a source that can be forked as wished.
func (c *call) forkable(source *stream, w *wish) (*life, error) {
	l, err := c.fresh(source)
	if err != nil {
		return nil, err
	}
	err = source.usable(l)
	switch {
	case err != nil && l.exists && (l.Hidden || l.Forks > 0):
		return nil, refuse(http.StatusConflict, "gone", "the source was deleted")
	case err != nil:
		return nil, err
	case w.typ != "" && essence(w.typ) != essence(l.Type):
		return nil, refuse(http.StatusConflict, "content_type_mismatch", "the source's media type is "+l.Type)
	}
	return l, nil
}

// branch sets where the fork leaves its source, and returns the piece of a message that it begins with.
func (c *call) branch(m *meta, source *stream, from *life, w wish) ([]store.Mutation, error) {
	at, err := c.tail(source.name, from)
	if err != nil {
		return nil, err
	}
	if w.at != "" {
		wanted, err := parseOffset(w.at)
		if err != nil || wanted > at {
			return nil, badRequest("Stream-Fork-Offset is beyond the end of the source")
		}
		at = wanted
	}
	m.Fork = &forkPoint{Source: source.name, Start: from.start(), At: at, Sub: w.sub}
	upto := at
	var piece []store.Mutation
	if w.sub > 0 {
		if upto, piece, err = c.cut(source.name, from, at, w.sub); err != nil {
			return nil, err
		}
	}
	for _, seg := range from.segments(source.name) {
		if seg.To = min(seg.To, upto); seg.From < seg.To {
			m.Base = append(m.Base, seg)
		}
	}
	return piece, nil
}

// cut finds the point that lies inside of the append behind an offset: after so many messages of a JSON batch, which is
// an offset like any other, or after so many bytes of a binary append, of which a copy is the piece.
func (c *call) cut(name store.Stream, from *life, at store.Seq, sub uint64) (upto store.Seq, piece []store.Mutation, err error) {
	events, err := c.firstAppend(name, from, at)
	if err != nil {
		return 0, nil, err
	}
	if isJSON(from.Type) {
		if sub > uint64(len(events)) {
			return 0, nil, badRequest("Stream-Fork-Sub-Offset is beyond the append")
		}
		return events[sub-1].Seq, nil, nil
	}
	for i := range events {
		n := min(sub, uint64(len(events[i].Data)))
		piece = append(piece, store.Mutation{ID: store.NewID(), Type: messageType, Bytes: true, Data: events[i].Data[:n:n]})
		if sub -= n; sub == 0 {
			return at, piece, nil
		}
	}
	return 0, nil, badRequest("Stream-Fork-Sub-Offset is beyond the append")
}

// firstAppend returns the messages of the first append behind an offset.
func (c *call) firstAppend(name store.Stream, l *life, at store.Seq) (out []store.Event, err error) {
	json := isJSON(l.Type)
	s := scan{segments: l.segments(name), log: c.Log, after: at}
	for {
		page, err := s.next(store.PageLimit{Events: 1})
		if err != nil {
			return nil, err
		}
		for i := range page.Events {
			if belongs(&page.Events[i], json) {
				out = append(out, page.Events[i])
			}
			if len(out) > 0 && !page.Events[i].Flags.Has(store.FlagMore) {
				return out, nil
			}
		}
		if !page.More {
			return out, nil
		}
	}
}

// fresh returns the life of a stream with no append on its way. The caller holds st.mu.
func (s *Server) fresh(st *stream) (*life, error) {
	if err := s.drain(st); err != nil {
		return nil, err
	}
	return s.known(st)
}

// remove deletes a stream. by is who asked for it.
func (s *Server) remove(st *stream, by string) error {
	return s.removeIf(st, by, func(*life) bool { return true })
}

// lapse deletes a stream whose time is over. It asks in its turn, when nobody else can change the stream: meanwhile it may have
// been used, or made anew.
func (s *Server) lapse(st *stream) error {
	return s.removeIf(st, "", func(l *life) bool { return st.ended(l, time.Now()) })
}

// removeIf deletes a stream that still is as wanted, or hides it while forks of it live; as one with it go the sources that
// were only waiting for their last fork.
func (s *Server) removeIf(st *stream, by string, wanted func(*life) bool) error {
	s.forking.Lock()
	defer s.forking.Unlock()
	st.mu.Lock()
	defer st.mu.Unlock()
	l, err := s.fresh(st)
	switch {
	case err != nil:
		return err
	case !l.exists || l.Hidden || !wanted(l):
		return nil
	case l.Forks > 0:
		next := l.meta
		next.Hidden = true
		return s.commitDocs(by, change{st, next})
	}
	changes := []change{{st, l.gone()}}
	for l.Fork != nil {
		source, err := s.streams.get(l.Fork.Source)
		if err != nil {
			return err
		}
		defer s.streams.release(source)
		source.mu.Lock()
		defer source.mu.Unlock()
		parent, err := s.fresh(source)
		if err != nil {
			return err
		}
		if !parent.exists || parent.start() != l.Fork.Start || parent.Forks == 0 {
			break
		}
		if next, last := parent.without(source); !last {
			changes = append(changes, change{source, next})
			break
		}
		changes = append(changes, change{source, parent.gone()})
		l = parent
	}
	return s.commitDocs(by, changes...)
}

// gone returns what remains of a stream that was deleted.
func (l *life) gone() meta {
	start := l.start()
	return meta{Type: l.Type, Start: &start, Gone: true}
}

// without returns the life of a source with one fork less; last: it was only there for this one.
func (l *life) without(st *stream) (next meta, last bool) {
	next = l.meta
	next.Forks--
	return next, next.Forks == 0 && (l.Hidden || st.ended(l, time.Now()))
}
