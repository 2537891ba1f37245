package httpapi

import (
	"context"
	"errors"
	"net/http"
	"sync"

	"tidemark/internal/respond"
	"tidemark/internal/wire"
	"tidemark/store"
)

// buffers hold a page of encoded events while it is written. A reader that waits owns none.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

// maxKept bounds what a buffer may keep when it goes back.
const maxKept = 1 << 20

// follow sends events as they come, each with the id to resume from, until the reader leaves or cannot be continued.
func (c *call) follow(f store.Filter, from store.Cursor, ok bool) error {
	standing, err := c.resume(f, from)
	if err != nil {
		return err
	}
	if !ok {
		from.Seq = standing.LogHead
	}
	if from.Seq > 0 { // what is trimmed already is refused, not reset
		if _, err := c.Log.Read(f, from.Seq, store.PageLimit{Events: 1}); err != nil {
			return err
		}
	}
	h := c.w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
	ctx, cancel := c.untilExpiry()
	defer cancel()
	out := respond.Plain(c.w, c.Stall)
	out.Begin(http.StatusOK, contentSSE, respond.Unknown)
	if c.r.Method == http.MethodHead {
		return nil
	}
	out.Write([]byte(": tidemark.v1\n\n"))
	out.Push()
	err = c.pump(ctx, out, f, from.Seq)
	if _, trimmed := errors.AsType[*store.TrimmedError](err); trimmed {
		return c.sendReset(out, f)
	}
	if errors.Is(err, context.DeadlineExceeded) || c.ending.Err() != nil { // the token expired, or the server stops: a clean end
		return finish(out)
	}
	return &aborted{err}
}

// untilExpiry bounds a long answer by the life of the caller's token, and of the server.
func (c *call) untilExpiry() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(c.r.Context())
	if !c.who.Expires.IsZero() {
		ctx, cancel = context.WithDeadline(c.r.Context(), c.who.Expires)
	}
	stop := context.AfterFunc(c.ending, cancel)
	return ctx, func() { stop(); cancel() }
}

// pump writes page after page and waits for more, with a comment now and then that shows a vanished reader.
func (c *call) pump(ctx context.Context, out *respond.Body, f store.Filter, after store.Seq) error {
	for out.Err() == nil {
		page, err := c.Log.Read(f, after, store.PageLimit{})
		if err != nil {
			return err
		}
		after = page.Through
		if len(page.Events) > 0 {
			c.writeSSE(out, page.Events, f.Wide())
		}
		if page.More {
			continue
		}
		if err := c.quiet(ctx, out, f, after); err != nil {
			return err
		}
	}
	return out.Err()
}

func (c *call) writeSSE(out *respond.Body, events []store.Event, wide bool) {
	buf := buffers.Get().(*[]byte)
	b, log := (*buf)[:0], c.Log.LogID()
	for i := range events {
		b = wire.AppendSSE(b, &events[i], wide, log)
	}
	out.Write(b)
	out.Push()
	if *buf = b; cap(b) <= maxKept {
		buffers.Put(buf)
	}
}

// quiet waits until there is more to send.
func (c *call) quiet(ctx context.Context, out *respond.Body, f store.Filter, after store.Seq) error {
	for out.Err() == nil {
		beat, cancel := context.WithTimeout(ctx, c.Heartbeat)
		err := c.Live.Wait(beat, f, after)
		cancel()
		if err == nil || ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
		out.Write([]byte(": \n\n"))
		out.Push()
	}
	return out.Err()
}

// sendReset tells a reader who fell behind what the log has lost, and ends the answer.
func (c *call) sendReset(out *respond.Body, f store.Filter) error {
	st, err := c.Log.Resume(f, store.Cursor{})
	if err != nil {
		return &aborted{err}
	}
	out.Write(wire.AppendSSEReset(nil, &wire.Reset{
		Reason: store.ResetTrimmed, Log: c.Log.LogID(), Floor: st.Floor, Head: st.Head,
	}))
	out.Push()
	return finish(out)
}
