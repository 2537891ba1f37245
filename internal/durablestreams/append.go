package durablestreams

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"tidemark/internal/respond"
	"tidemark/store"
)

// order is what a POST asks for.
type order struct {
	typ      string // media type, "": none
	messages []store.Mutation
	empty    bool // there is no body
	closing  bool // the stream ends with it
	claim    claim
	label    string
}

// outcome is what came of it.
type outcome struct {
	next   store.Seq // the offset behind it
	dup    bool
	seq    uint64 // the producer's highest
	closed bool
	flight *flight // the append on its way; nil: there is none
}

// post appends to the stream, closes it, or does both as one.
func (c *call) post() error {
	o := order{typ: c.r.Header.Get("Content-Type"), closing: c.r.Header.Get(hClosed) == "true", label: c.r.Header.Get(hSeq)}
	if len(o.label) > maxLabel {
		return badRequest("Stream-Seq has at most 512 bytes")
	}
	var err error
	if o.claim, err = parseClaim(c.r.Header); err != nil {
		return err
	}
	body, err := c.body()
	if err != nil {
		return err
	}
	o.empty = len(body) == 0
	st, err := c.streams.get(c.name)
	if err != nil {
		return err
	}
	defer c.streams.release(st)
	l, err := c.living(st)
	if err != nil {
		return err
	}
	if err := c.compose(l, &o, body); err != nil {
		return err
	}
	if err := c.charge(len(o.messages)); err != nil {
		return err
	}
	out, err := c.submit(st, l, &o)
	if err != nil {
		return err
	}
	st.touch(nowMS())
	return c.acknowledge(&o, out)
}

// charge counts a write of so many messages against the caller. One without any changes a document.
func (c *call) charge(messages int) error {
	wait := c.Charge(c.r, c.who.Subject, max(1, messages))
	if wait == 0 {
		return nil
	}
	seconds := int64((wait + time.Second - 1) / time.Second)
	return refuse(http.StatusTooManyRequests, string(store.CodeRateLimited), "too many writes in too short a time").
		with("Retry-After", strconv.FormatInt(seconds, 10))
}

// compose makes events of the body.
func (c *call) compose(l *life, o *order, body []byte) (err error) {
	switch {
	case o.empty && o.closing:
		return nil
	case o.empty:
		return badRequest("the body is empty")
	case o.typ == "":
		return badRequest("Content-Type is missing")
	case essence(o.typ) != essence(l.Type):
		return refuse(http.StatusConflict, "content_type_mismatch", "the stream's media type is "+l.Type)
	}
	o.messages, err = c.messages(l.Type, body)
	return err
}

func (c *call) acknowledge(o *order, out outcome) error {
	h := c.w.Header()
	h.Set(hNextOffset, formatOffset(out.next))
	if out.closed {
		h.Set(hClosed, "true")
	}
	status := http.StatusNoContent
	if o.claim.id != "" {
		h.Set(hEpoch, strconv.FormatUint(o.claim.epoch, 10))
		h.Set(hProdSeq, strconv.FormatUint(out.seq, 10))
		if !out.dup && !o.empty {
			status = http.StatusOK
		}
	}
	c.w.WriteHeader(status)
	return nil
}

// submit judges the order in its turn and carries it out. No answer leaves before what it rests on is on disk: also a
// refusal waits for the appends that it was judged behind.
func (c *call) submit(st *stream, seen *life, o *order) (outcome, error) {
	ctx := c.r.Context()
	if seen.implicit && o.marks() != nil { // nothing but its marks tells that this protocol was used
		if err := c.marks.begin(ctx); err != nil {
			return outcome{}, err
		}
	}
	for {
		out, behind, err := c.attempt(st, seen, o)
		if waited := behind.wait(ctx); ctx.Err() != nil {
			return outcome{}, ctx.Err()
		} else if waited != nil || errors.Is(err, errAgain) {
			continue
		}
		if err == nil && out.flight != nil {
			if err = out.flight.wait(ctx); err == nil {
				out.next = out.flight.seq
			}
		}
		if err == nil && out.dup {
			out.next, err = c.tailNow(st)
		}
		return out, err
	}
}

// errAgain asks to judge once more.
var errAgain = errors.New("durablestreams: judge again")

// attempt is one turn. behind is what the result rests on, if that is not on disk yet.
func (c *call) attempt(st *stream, seen *life, o *order) (out outcome, behind *flight, err error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if busy := st.lane.ready(); busy != nil {
		return outcome{}, busy, errAgain
	}
	l, err := c.known(st)
	if err == nil {
		err = st.usable(l)
	}
	if err == nil && l.start() != seen.start() {
		err = refuse(http.StatusNotFound, "not_found", "the stream was deleted meanwhile")
	}
	if err == nil {
		out, err = c.judge(st, l, o)
	}
	switch {
	case err != nil || out.dup:
		return out, st.lane.newest(), err
	case o.closing:
		return c.close(st, l, o)
	}
	f, err := st.lane.launch(c.r.Context(), c.Log, c.push(o), o.marks())
	if err != nil {
		return outcome{}, nil, err
	}
	return outcome{flight: f, seq: o.claim.seq}, nil, nil
}

// judge decides in the order of the protocol: the producer's place first, so that a repeated request gets its first answer
// even from a stream that is closed by now, then closure, then the writer's own sequence.
func (c *call) judge(st *stream, l *life, o *order) (out outcome, err error) {
	if o.claim.id != "" {
		if out, err = c.judgeClaim(st, l, o.claim); err != nil || out.dup {
			out.closed = l.Closed
			return out, err
		}
	}
	if l.Closed {
		if o.closing && o.empty && o.claim.id == "" {
			return outcome{closed: true, dup: true}, nil
		}
		return out, refuse(http.StatusConflict, "stream_closed", "the stream is closed").
			with(hClosed, "true").with(hNextOffset, formatOffset(l.End))
	}
	if o.label == "" {
		return outcome{}, nil
	}
	m, ok, err := c.mark(st, l, "")
	if err == nil && ok && o.label <= m.Label {
		err = refuse(http.StatusConflict, "sequence_conflict", "Stream-Seq is not above the last one")
	}
	return outcome{}, err
}

func (c *call) judgeClaim(st *stream, l *life, cl claim) (out outcome, err error) {
	m, ok, err := c.mark(st, l, cl.id)
	if err != nil {
		return out, err
	}
	expected := uint64(0)
	if ok && cl.epoch == m.Epoch {
		expected = m.Seq + 1
	}
	switch {
	case ok && cl.epoch < m.Epoch:
		return out, refuse(http.StatusForbidden, "stale_epoch", "a newer epoch of this producer has written").
			with(hEpoch, strconv.FormatUint(m.Epoch, 10))
	case ok && cl.epoch > m.Epoch && cl.seq != 0:
		return out, badRequest("a new epoch begins with Producer-Seq 0")
	case cl.seq < expected:
		return outcome{dup: true, seq: m.Seq}, nil
	case cl.seq > expected:
		return out, refuse(http.StatusConflict, "sequence_gap", "appends of this producer are missing").
			with(hExpected, strconv.FormatUint(expected, 10)).with(hReceived, strconv.FormatUint(cl.seq, 10))
	}
	return outcome{}, nil
}

// mark returns what a producer has said last, appends on their way included.
func (c *call) mark(st *stream, l *life, producer string) (mark, bool, error) {
	if m, ok := st.lane.foresee(producer); ok {
		return m, true, nil
	}
	return c.marks.get(st.name, producer, l.start())
}

// marks returns what the order leaves behind.
func (o *order) marks() map[string]mark {
	if o.claim.id == "" && o.label == "" {
		return nil
	}
	out := make(map[string]mark, 2)
	if o.claim.id != "" {
		out[o.claim.id] = mark{Epoch: o.claim.epoch, Seq: o.claim.seq}
	}
	if o.label != "" {
		out[""] = mark{Label: o.label}
	}
	return out
}

// push makes the push of an order; what must be remembered stands in its last event.
func (c *call) push(o *order, more ...store.Mutation) *store.Push {
	p := &store.Push{By: c.who.Subject, Mutations: append(o.messages, more...)}
	for i := range o.messages {
		p.Mutations[i].Stream = c.name
	}
	p.Atomic = len(p.Mutations) > 1
	p.Mutations[len(p.Mutations)-1].Extra = appendExtra(nil, o.claim, o.label)
	return p
}

// close ends the stream, with the order's last messages as one push. The caller holds st.mu.
func (c *call) close(st *stream, l *life, o *order) (outcome, *flight, error) {
	if f := st.lane.newest(); f.wait(c.ending) != nil {
		return outcome{}, f, errAgain // it was judged by what has not come true
	}
	next := l.meta
	next.Closed, next.End, next.Touched = true, 0, nowMS()
	p := c.push(o, document(metaStream, string(st.name), next.encode()))
	end, err := c.commit(p, change{st, next})
	return outcome{next: end, seq: o.claim.seq, closed: true}, nil, err
}

// tailNow returns the offset of the stream's end. The caller does not hold st.mu.
func (s *Server) tailNow(st *stream) (store.Seq, error) {
	l, err := s.lifeOf(st)
	if err != nil {
		return 0, err
	}
	return s.tail(st.name, l)
}

// tail returns the offset of the end of a stream with that life.
func (s *Server) tail(name store.Stream, l *life) (store.Seq, error) {
	if l.Closed {
		return l.End, nil
	}
	standing, err := s.Log.Resume(store.Only(name), store.Cursor{})
	return max(l.start(), standing.Head), err
}

// bodyTime is how long a request's body may take.
const bodyTime = 30 * time.Second

// body reads the request's body.
func (c *call) body() ([]byte, error) {
	body, err := respond.ReadBody(c.w, c.r, c.MaxAppend, bodyTime)
	switch {
	case errors.Is(err, respond.ErrTooLarge):
		return nil, refuse(http.StatusRequestEntityTooLarge, string(store.CodeTooLarge), "the body is larger than the server takes")
	case err != nil:
		return nil, badRequest("the body did not arrive whole")
	}
	return body, nil
}

// Bounds of what becomes part of a producer's mark: of its id, which is in the key, and of the writer's own sequence. A mark that no limit of the
// server lets be written down would keep the log from being trimmed.
const (
	maxProducer = 512
	maxLabel    = 512
)

// parseClaim reads the producer's headers: all of them or none.
func parseClaim(h http.Header) (c claim, err error) {
	id, hasID := h[hProducer]
	epoch, hasEpoch := h[hEpoch]
	seq, hasSeq := h[hProdSeq]
	switch {
	case !hasID && !hasEpoch && !hasSeq:
		return c, nil
	case !hasID || !hasEpoch || !hasSeq || len(id) > 1 || len(epoch) > 1 || len(seq) > 1:
		return c, badRequest("Producer-Id, Producer-Epoch and Producer-Seq belong together")
	case id[0] == "" || len(id[0]) > maxProducer || store.HasControl(id[0]):
		return c, badRequest("Producer-Id needs 1 to 512 bytes without control characters")
	}
	c.id = id[0]
	if c.epoch, err = parseCount(epoch[0]); err != nil {
		return c, badRequest("Producer-Epoch is not a number from 0 to 2^53-1")
	}
	if c.seq, err = parseCount(seq[0]); err != nil {
		return c, badRequest("Producer-Seq is not a number from 0 to 2^53-1")
	}
	return c, nil
}
