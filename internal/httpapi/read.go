package httpapi

import (
	"context"
	"errors"
	"mime"
	"net/http"
	"strings"
	"time"

	"tidemark/internal/respond"
	"tidemark/internal/wire"
	"tidemark/store"
)

// Media types of a read of events beside JSON.
const (
	contentSSE   = "text/event-stream"
	contentLines = "application/x-ndjson"
)

// getEvents reads events in the form that the client accepts.
func (c *call) getEvents() error {
	f, err := c.filter()
	if err != nil {
		return err
	}
	c.w.Header().Add("Vary", "Accept")
	from, ok, err := c.cursor()
	if err != nil {
		return err
	}
	switch accepted(c.r.Header.Values("Accept")) {
	case contentSSE:
		return c.follow(f, from, ok)
	case contentLines:
		return c.sendLines(f, from, ok)
	}
	return c.sendPage(f, from, ok)
}

// accepted returns which of the special forms the client asks for, "": none, so JSON.
func accepted(headers []string) string {
	for _, h := range headers {
		for part := range strings.SplitSeq(h, ",") {
			if kind, _, err := mime.ParseMediaType(part); err == nil && (kind == contentSSE || kind == contentLines) {
				return kind
			}
		}
	}
	return ""
}

// cursor returns where the caller wants to go on: Last-Event-ID before since. false: it named nothing.
func (c *call) cursor() (from store.Cursor, ok bool, err error) {
	if from.Log, err = c.idParam("log"); err != nil {
		return from, false, err
	}
	if from.Mark, err = c.idParam("mark"); err != nil {
		return from, false, err
	}
	if from.Seq, ok, err = c.seqParam("since"); err != nil {
		return from, false, err
	}
	if id := c.r.Header.Get("Last-Event-ID"); id != "" {
		last, e := wire.ParseEventID(id)
		if e != nil {
			return from, false, e
		}
		if last.Log.IsZero() && last.Seq == from.Seq {
			last.Log, last.Mark = from.Log, from.Mark
		}
		return last, true, nil
	}
	return from, ok, nil
}

// resume checks that the caller can go on from its cursor.
func (c *call) resume(f store.Filter, from store.Cursor) (store.Standing, error) {
	st, err := c.Log.Resume(f, from)
	if err == nil && st.Reset != store.ResetNone {
		err = wire.FromReset(st.Reset)
	}
	return st, err
}

// sendPage answers with one page as JSON, and waits for it when there is nothing and the caller wants that.
func (c *call) sendPage(f store.Filter, from store.Cursor, ok bool) error {
	limit, err := c.limitParam()
	if err != nil {
		return err
	}
	wait, err := c.waitParam()
	if err != nil {
		return err
	}
	standing, err := c.resume(f, from)
	if err != nil {
		return err
	}
	if !ok {
		from.Seq = standing.Floor
	}
	page, err := c.await(f, from.Seq, limit, wait)
	if err != nil {
		return err
	}
	out := wire.EventsPage{Wide: f.Wide(), Events: page.Events, Seq: page.Through, Head: standing.Head, Floor: standing.Floor}
	if n := len(page.Events); n > 0 {
		out.Head = max(out.Head, page.Events[n-1].Seq)
	}
	if f.Wide() {
		out.Head = max(out.Head, out.Seq)
	}
	c.w.Header().Set("Cache-Control", "no-store")
	return c.send(http.StatusOK, out.Append(nil))
}

// await reads a page that has events, or after the time to wait an empty one.
func (c *call) await(f store.Filter, after store.Seq, limit int, wait time.Duration) (store.Page, error) {
	ctx, cancel := context.WithTimeout(c.r.Context(), wait)
	defer cancel()
	defer context.AfterFunc(c.ending, cancel)()
	for {
		page, err := c.Log.Read(f, after, store.PageLimit{Events: limit})
		if err != nil || len(page.Events) > 0 {
			return page, err
		}
		after = page.Through
		if page.More {
			continue
		}
		err = c.Live.Wait(ctx, f, after)
		switch {
		case errors.Is(err, context.DeadlineExceeded), err != nil && c.ending.Err() != nil:
			return page, nil
		case err != nil:
			return page, err
		}
	}
}

// sendLines writes everything up to the head that the log has now, a line per event. Tidemark-Seq is that head: the cursor
// to go on from when the answer has come whole.
func (c *call) sendLines(f store.Filter, from store.Cursor, ok bool) error {
	standing, err := c.resume(f, from)
	if err != nil {
		return err
	}
	if !ok {
		from.Seq = standing.Floor
	}
	page, err := c.Log.Read(f, from.Seq, store.PageLimit{})
	if err != nil {
		return err
	}
	end := max(standing.LogHead, from.Seq)
	c.w.Header().Set("Cache-Control", "no-store")
	c.w.Header().Set("Tidemark-Seq", end.String())
	out := c.compressed(respond.Unknown)
	out.Begin(http.StatusOK, contentLines, respond.Unknown)
	for buf := []byte(nil); c.r.Method != http.MethodHead; {
		var whole bool
		buf, whole = appendLines(buf[:0], page.Events, f.Wide(), end)
		if out.Write(buf); out.Err() != nil || whole || !page.More || page.Through >= end {
			break
		}
		if page, err = c.Log.Read(f, page.Through, store.PageLimit{}); err != nil {
			return &aborted{err}
		}
	}
	return finish(out)
}

// appendLines appends the events up to end; whole: the page went further.
func appendLines(dst []byte, events []store.Event, wide bool, end store.Seq) ([]byte, bool) {
	for i := range events {
		if events[i].Seq > end {
			return dst, true
		}
		dst = append(wire.AppendEvent(dst, &events[i], wide), '\n')
	}
	return dst, false
}
