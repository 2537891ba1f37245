package client

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"

	"tidemark/internal/wire"
	"tidemark/store"
)

// Result is the server's answer to one mutation.
type Result struct {
	ID   store.ID
	Seq  store.Seq // its place in the log; of a duplicate the original one
	Prev store.Seq // the event before it in its stream; 0 of a duplicate
	At   int64     // server time, Unix ms; 0 of a duplicate
	Dup  bool      // it was there already
	Err  error     // nil: accepted and on disk; else a *store.Refusal, or why it was given up
}

// entry is one push of the application: a mutation, or several as one (atomic). Its text is made once and sent again byte
// for byte until it is answered.
type entry struct {
	text    []byte // mutation objects, comma-separated, each naming its stream
	cut     int    // end of the stream's field in the text of a lone mutation: text[idEnd:cut] names the stream
	ids     []store.ID
	stream  store.Stream // of a lone mutation
	log     store.ID     // of the numeric expects; zero with expects: not known yet
	expects bool         // there is a numeric expect
	atomic  bool
	scratch []byte
	results []Result
	one     func(Result)   // answers a lone mutation
	all     func([]Result) // answers all of an atomic push
}

// idEnd is where `{"id":"<36 characters>"` ends, with which every mutation's text begins.
const idEnd = len(`{"id":""`) + 36

var entries = sync.Pool{New: func() any { return new(entry) }}

// newEntry returns an empty entry from the pool; release gives it back.
func newEntry() *entry {
	e := entries.Get().(*entry)
	*e = entry{text: e.text[:0], ids: e.ids[:0], results: e.results[:0], scratch: e.scratch[:0]}
	return e
}

func (e *entry) release() {
	e.one, e.all = nil, nil
	clear(e.results)
	entries.Put(e)
}

// add encodes one more mutation. Its Data must be compact and valid JSON already.
func (e *entry) add(m *store.Mutation) {
	if len(e.ids) > 0 {
		e.text = append(e.text, ',')
	}
	e.text = wire.AppendMutation(e.text, m, true)
	e.ids = append(e.ids, m.ID)
	if m.Expect.Kind == store.ExpectSeq {
		e.expects = true
		if !m.Expect.Log.IsZero() {
			e.log = m.Expect.Log
		}
	}
}

// lone marks where the stream's name stands in the text of the only mutation, so that a push of many for one stream can
// name it once.
func (e *entry) lone(s store.Stream) {
	e.stream = s
	e.cut = idEnd + len(`,"stream":""`) + len(s) + strings.Count(string(s), `"`) + strings.Count(string(s), `\`)
}

// answer tells the application.
func (e *entry) answer() {
	switch {
	case e.all != nil:
		e.all(e.results)
	case e.one != nil:
		e.one(e.results[0])
	}
}

// frame is one push message under way.
type frame struct {
	ref       int64
	entries   []*entry
	mutations int
}

// outbox holds mutations from when they are queued until they are answered, in order. It is a pure state machine: no
// goroutine, clock or I/O; its owner serialises the calls.
//
//	queued → (fill) → flying → (ack) → answered
//	                     ↓ "later"          ↑
//	                  held: nothing is sent until all that flies is answered, then the queue from the first refused
type outbox struct {
	queue  ring[*entry] // not sent on this connection, or to be sent again
	flying ring[frame]  // sent, not yet answered, in order
	again  []*entry     // answered with "later": they go back to the front of the queue when nothing flies any more
	spare  [][]*entry   // slices of answered frames

	unanswered int // mutations in flying
	bytes      int // text of everything above
	ref        int64
	held       bool // the server said "later", and its time has not come
}

// errAckOrder means that the server answered what was not asked: nothing more can be made of the connection.
var errAckOrder = errors.New("client: the server's answers do not match what was pushed")

func (o *outbox) add(e *entry) {
	o.queue.push(e)
	o.bytes += len(e.text)
}

// empty reports whether everything was answered.
func (o *outbox) empty() bool { return o.queue.len() == 0 && o.flying.len() == 0 && len(o.again) == 0 }

// sendable reports whether fill has something to do.
func (o *outbox) sendable(l wire.Limits) bool {
	if o.queue.len() == 0 || o.held || len(o.again) > 0 {
		return false
	}
	e := o.queue.at(0)
	return !e.oversized(l) && o.fits(e, 0, l)
}

// fits reports whether the push may fly beside what flies already. A push above the limit flies alone: the server's answer
// to it says what is wrong.
func (o *outbox) fits(e *entry, beside int, l wire.Limits) bool {
	n := o.unanswered + beside
	return n == 0 || n+len(e.ids) <= l.Inflight
}

// fill appends the next push message to dst: as much of the queue as fits size bytes and the server's limits. log is the
// log that numeric expects of unknown origin belong to.
func (o *outbox) fill(dst []byte, size int, l wire.Limits, log store.ID) []byte {
	f := frame{ref: o.ref + 1}
	if n := len(o.spare); n > 0 {
		f.entries, o.spare = o.spare[n-1][:0], o.spare[:n-1]
	}
	o.ref++
	push := wire.Push{Ref: wire.IntRef(f.ref)}
	o.take(&f, &push, min(size, l.Frame), l, log)
	dst = push.AppendOpen(dst)
	for i, e := range f.entries {
		if i > 0 {
			dst = append(dst, ',')
		}
		if push.HasStream {
			dst = append(dst, e.text[:idEnd]...)
			dst = append(dst, e.text[e.cut:]...)
		} else {
			dst = append(dst, e.text...)
		}
	}
	o.unanswered += f.mutations
	o.flying.push(f)
	return append(dst, wire.PushEnd...)
}

// take moves entries from the queue to the frame: an atomic push alone, others together while they fit. Where all are for
// one stream, the push names it once.
func (o *outbox) take(f *frame, push *wire.Push, size int, l wire.Limits, log store.ID) {
	bytes := 0
	for o.queue.len() > 0 {
		e := o.queue.at(0)
		if e.expects && e.log.IsZero() {
			e.log = log
		}
		first := len(f.entries) == 0
		switch {
		case first:
			push.Atomic, push.Stream, push.HasStream = e.atomic, e.stream, e.cut != 0
		case push.Atomic || e.atomic || bytes+len(e.text)+1 > size-256,
			f.mutations == l.Mutations, !o.fits(e, f.mutations, l),
			e.expects && !push.Log.IsZero() && e.log != push.Log:
			return
		}
		if e.expects {
			push.Log = e.log
		}
		push.HasStream = push.HasStream && e.stream == push.Stream
		bytes += len(e.text) + 1
		f.mutations += len(e.ids)
		f.entries = append(f.entries, e)
		o.queue.pop()
	}
}

// oversized reports whether no frame can carry the entry.
func (e *entry) oversized(l wire.Limits) bool { return len(e.text)+256 > l.Frame }

// stuck reports whether the queue begins with an entry that no frame can carry, and everything before it was answered.
func (o *outbox) stuck(l wire.Limits) bool {
	return o.queue.len() > 0 && o.flying.len() == 0 && len(o.again) == 0 && o.queue.at(0).oversized(l)
}

// unstick refuses what no frame can carry, once its turn to be answered has come, and appends it to done.
func (o *outbox) unstick(l wire.Limits, done []*entry) []*entry {
	for o.stuck(l) {
		e := o.queue.pop()
		o.bytes -= len(e.text)
		e.fail(&store.Refusal{Code: store.CodeTooLarge,
			Message: fmt.Sprintf("the push has %d bytes, frames of this server at most %d", len(e.text), l.Frame)})
		done = append(done, e)
	}
	return done
}

// fail gives every mutation of the entry the same answer.
func (e *entry) fail(err error) {
	e.results = e.results[:0]
	for _, id := range e.ids {
		e.results = append(e.results, Result{ID: id, Err: err})
	}
}

// ack takes the answer to the oldest push under way and appends the entries that have their final answer to done.
func (o *outbox) ack(m *wire.Ack, done []*entry) ([]*entry, error) {
	f, err := o.answered(m.Ref)
	if err != nil {
		return done, err
	}
	if err := f.matches(m.Results); err != nil {
		o.flying.unpop(f) // to be sent again, like everything else that flies
		o.unanswered += f.mutations
		return done, err
	}
	rest := m.Results
	for _, e := range f.entries {
		rs := rest[:len(e.ids)]
		rest = rest[len(e.ids):]
		if saysLater(rs) {
			o.again = append(o.again, e)
			continue
		}
		e.results = e.results[:0]
		for i := range rs {
			e.results = append(e.results, resultOf(&rs[i], e.ids[i]))
		}
		o.bytes -= len(e.text)
		done = append(done, e)
	}
	o.settle(f)
	return done, nil
}

// matches checks that there is one result for each mutation, in order.
func (f *frame) matches(rs []wire.Result) error {
	if len(rs) != f.mutations {
		return fmt.Errorf("%w: %d results for %d mutations", errAckOrder, len(rs), f.mutations)
	}
	for _, e := range f.entries {
		for _, id := range e.ids {
			if got := rs[0].ID; !got.IsZero() && got != id {
				return fmt.Errorf("%w: a result for %v, not %v", errAckOrder, got, id)
			}
			rs = rs[1:]
		}
	}
	return nil
}

// refused takes an error that answers a whole push.
func (o *outbox) refused(m *wire.Error, done []*entry) ([]*entry, error) {
	f, err := o.answered(m.Ref)
	if err != nil {
		return done, err
	}
	for _, e := range f.entries {
		if m.Later || m.Code.Later() {
			o.again = append(o.again, e)
			continue
		}
		e.fail(m.Refusal())
		o.bytes -= len(e.text)
		done = append(done, e)
	}
	o.settle(f)
	return done, nil
}

// answered takes the oldest frame under way, which the server answers first.
func (o *outbox) answered(ref wire.Ref) (frame, error) {
	n, ok := ref.Int()
	if !ok || o.flying.len() == 0 || o.flying.at(0).ref != n {
		return frame{}, fmt.Errorf("%w: ref %q", errAckOrder, ref)
	}
	f := o.flying.pop()
	o.unanswered -= f.mutations
	return f, nil
}

// settle ends a frame. When the server said "later" and nothing flies any more, what it refused goes back to the front of
// the queue, and held asks the owner for a pause.
func (o *outbox) settle(f frame) {
	clear(f.entries)
	if len(o.spare) < 4 {
		o.spare = append(o.spare, f.entries)
	}
	if len(o.again) > 0 && o.flying.len() == 0 {
		o.held = true
		o.requeue()
	}
}

func (o *outbox) requeue() {
	for i := len(o.again) - 1; i >= 0; i-- {
		o.queue.unpop(o.again[i])
	}
	clear(o.again)
	o.again = o.again[:0]
}

// resume ends the pause that held asked for.
func (o *outbox) resume() { o.held = false }

// lost puts back what has no answer when a connection ends: all of it is sent again, in order, on the next one.
func (o *outbox) lost() {
	var fs []frame
	for o.flying.len() > 0 {
		fs = append(fs, o.flying.pop())
	}
	for i := len(fs) - 1; i >= 0; i-- {
		for j := len(fs[i].entries) - 1; j >= 0; j-- {
			o.queue.unpop(fs[i].entries[j])
		}
	}
	o.requeue()
	o.unanswered, o.held = 0, false
}

// drop empties the outbox and returns what was in it, in order.
func (o *outbox) drop() (es []*entry) {
	o.lost()
	for o.queue.len() > 0 {
		es = append(es, o.queue.pop())
	}
	o.bytes = 0
	return es
}

func saysLater(rs []wire.Result) bool {
	for i := range rs {
		if e := rs[i].Err; e != nil && (e.Later || e.Code.Later()) {
			return true
		}
	}
	return false
}

func resultOf(r *wire.Result, id store.ID) Result {
	out := Result{ID: id, Seq: r.Seq, Prev: r.Prev, At: r.At, Dup: r.Dup}
	if r.Err != nil {
		refusal := r.Err.Refusal()
		refusal.Data = bytes.Clone(refusal.Data) // it is a part of the frame
		out.Err = refusal
	}
	return out
}
