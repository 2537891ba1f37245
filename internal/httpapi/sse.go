package httpapi

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

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
	// What is trimmed already is refused, not reset.
	if _, err := c.Log.Read(f, from.Seq, store.PageLimit{Events: 1}); err != nil {
		return err
	}
	h := c.w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
	fl := &follower{API: c.API, filter: f, after: from.Seq, expires: c.who.Expires}
	if out, ok := respond.Detach(c.w, c.r, contentSSE, c.Stall, c.ending); ok {
		c.followers.Go(func() {
			if fl.run(c.ending, out) != nil {
				out.Abort()
			}
		})
		return nil
	}
	out := respond.Plain(c.w, c.Stall)
	out.Begin(http.StatusOK, contentSSE, respond.Unknown)
	if c.r.Method == http.MethodHead {
		return nil
	}
	return fl.run(c.r.Context(), out)
}

// follower is a reader of server-sent events. It holds nothing of its request.
type follower struct {
	*API
	filter  store.Filter
	after   store.Seq
	expires time.Time // of the reader's token; zero: never
}

// run sends events until the reader leaves, his token expires, the server stops, or he cannot be continued.
func (fl *follower) run(ctx context.Context, out *respond.Body) error {
	ctx, cancel := fl.bounded(ctx)
	defer cancel()
	out.Write([]byte(": tidemark.v1\n\n"))
	out.Push()
	err := fl.pump(ctx, out)
	if _, trimmed := errors.AsType[*store.TrimmedError](err); trimmed {
		return fl.sendReset(out)
	}
	if errors.Is(err, context.DeadlineExceeded) || fl.ending.Err() != nil { // the token expired, or the server stops: a clean end
		return finish(out)
	}
	return &aborted{err}
}

// bounded ends a context with the reader's token, and with the server.
func (fl *follower) bounded(parent context.Context) (context.Context, context.CancelFunc) {
	var ctx context.Context
	var cancel context.CancelFunc
	if fl.expires.IsZero() {
		ctx, cancel = context.WithCancel(parent)
	} else {
		ctx, cancel = context.WithDeadline(parent, fl.expires)
	}
	stop := context.AfterFunc(fl.ending, cancel)
	return ctx, func() { stop(); cancel() }
}

// pump writes page after page and waits for more, with a comment now and then that shows a vanished reader.
func (fl *follower) pump(ctx context.Context, out *respond.Body) error {
	for out.Err() == nil {
		page, err := fl.Log.Read(fl.filter, fl.after, store.PageLimit{})
		if err != nil {
			return err
		}
		fl.after = page.Through
		if len(page.Events) > 0 {
			fl.write(out, page.Events)
		}
		if err := ctx.Err(); err != nil { // also while there is more: he comes back for it
			return err
		}
		if page.More {
			continue
		}
		if err := fl.quiet(ctx, out); err != nil {
			return err
		}
	}
	return out.Err()
}

func (fl *follower) write(out *respond.Body, events []store.Event) {
	buf := buffers.Get().(*[]byte)
	b, log, wide := (*buf)[:0], fl.Log.LogID(), fl.filter.Wide()
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
func (fl *follower) quiet(ctx context.Context, out *respond.Body) error {
	for out.Err() == nil {
		beat, cancel := context.WithTimeout(ctx, fl.Heartbeat)
		err := fl.Live.Wait(beat, fl.filter, fl.after)
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
func (fl *follower) sendReset(out *respond.Body) error {
	st, err := fl.Log.Resume(fl.filter, store.Cursor{})
	if err != nil {
		return &aborted{err}
	}
	out.Write(wire.AppendSSEReset(nil, &wire.Reset{
		Reason: store.ResetTrimmed, Log: fl.Log.LogID(), Floor: st.Floor, Head: st.Head,
	}))
	out.Push()
	return finish(out)
}
