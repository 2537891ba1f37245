package durablestreams

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"math/rand/v2"
	"net/http"
	"time"

	"tidemark/internal/respond"
	"tidemark/store"
)

// follow sends what comes behind the offset as server-sent events: each data event is followed by a control event that tells
// where the reader stands. After a while the reader is let go, and comes again from there.
func (c *call) follow(st *stream, q question) error {
	l, _, err := c.look(st, &q) // what cannot be read is refused before the answer begins
	if err != nil {
		return err
	}
	h := c.w.Header()
	h.Set("Cache-Control", "no-cache")
	h.Set("X-Accel-Buffering", "no")
	if !isText(l.Type) {
		h.Set(hEncoding, "base64")
	}
	fl := &follower{Server: c.Server, stream: st, question: q, life: c.life()}
	if out, ok := respond.Detach(c.w, c.r, "text/event-stream", c.Stall, c.ending); ok {
		c.streams.pin(st)
		c.running.Go(func() {
			defer c.streams.release(st)
			if fl.run(c.ending, out) != nil {
				out.Abort()
			}
		})
		return nil
	}
	out := respond.Plain(c.w, c.Stall)
	out.Begin(http.StatusOK, "text/event-stream", respond.Unknown)
	return fl.run(c.r.Context(), out)
}

// follower is a reader of server-sent events. It holds nothing of its request.
type follower struct {
	*Server
	stream *stream
	life   time.Duration
	question
}

// life is how long a reader is served before he must come again, and show his token again. It differs by up to an eighth, so
// that readers who came together do not all come again together.
func (c *call) life() time.Duration {
	life := c.SSELife - rand.N(c.SSELife/8+1)
	if c.who.Expires.IsZero() {
		return life
	}
	return min(life, max(0, time.Until(c.who.Expires)))
}

// run sends events until the stream ends, the reader's time is over, or he leaves.
func (fl *follower) run(ctx context.Context, out *respond.Body) error {
	life := time.NewTimer(fl.life)
	defer life.Stop()
	for told := false; out.Err() == nil; told = true {
		news := fl.waiters.join(fl.stream.name)
		more, err := fl.step(out, told)
		if err == nil && !more {
			more = fl.pause(ctx, news, life.C)
		}
		fl.waiters.leave(fl.stream.name, news)
		if err != nil || !more || ctx.Err() != nil {
			break // also when it was deleted, or trimmed away under the reader: he comes again and is told so
		}
	}
	return finish(out)
}

// errEnded tells that nothing more will come.
var errEnded = errors.New("durablestreams: the stream is closed")

// step sends what there is; more: there is more to send at once.
func (fl *follower) step(out *respond.Body, told bool) (more bool, err error) {
	l, page, err := fl.look(fl.stream, &fl.question)
	if err != nil {
		return false, err
	}
	data := anyBelongs(page.events, isJSON(l.Type))
	if data || page.closed || !told {
		writeSSE(out, l.Type, fl.cursor, page, data)
	}
	fl.after, fl.begin = page.next, false
	if page.closed {
		return false, errEnded
	}
	return page.more, nil
}

// pause waits for news; false: it is time to go.
func (fl *follower) pause(ctx context.Context, news *topic, over <-chan time.Time) bool {
	defer func() { fl.stream.touch(nowMS()) }()
	select {
	case <-news.news:
		return true
	case <-over:
	case <-fl.ending.Done():
	case <-ctx.Done():
	}
	return false
}

func writeSSE(out *respond.Body, contentType, cursor string, page chunk, data bool) {
	buf := buffers.get()
	defer buffers.put(buf)
	b := (*buf)[:0]
	if data {
		b = appendDataEvent(b, contentType, page.events)
	}
	b = appendControl(b, page, nextCursor(cursor, time.Now()))
	out.Write(b)
	out.Push()
	*buf = b
}

// appendDataEvent appends the messages of a page as one event.
func appendDataEvent(dst []byte, contentType string, events []store.Event) []byte {
	dst = append(dst, "event: data\n"...)
	switch {
	case isJSON(contentType): // compact JSON has no line breaks
		dst = append(dst, "data:"...)
		return append(appendBody(dst, events, true), "\n\n"...)
	case isText(contentType):
		text := buffers.get()
		defer buffers.put(text)
		*text = appendMessages((*text)[:0], events, false, true)
		return append(appendLines(dst, *text), '\n')
	}
	raw := buffers.get()
	defer buffers.put(raw)
	*raw = appendMessages((*raw)[:0], events, false, true)
	dst = append(dst, "data:"...)
	return append(base64.StdEncoding.AppendEncode(dst, *raw), "\n\n"...)
}

// appendLines appends text as data fields: every line break that a reader knows of (CRLF, LF, CR) begins a new field, so
// nothing in the text can end the event or begin another.
func appendLines(dst, text []byte) []byte {
	for {
		n := bytes.IndexAny(text, "\r\n")
		line := text
		if n >= 0 {
			line = text[:n]
		}
		dst = append(dst, "data:"...)
		if len(line) > 0 && line[0] == ' ' { // readers take one space away
			dst = append(dst, ' ')
		}
		dst = append(append(dst, line...), '\n')
		if n < 0 {
			return dst
		}
		if text[n] == '\r' && n+1 < len(text) && text[n+1] == '\n' {
			n++
		}
		text = text[n+1:]
	}
}

// appendControl appends the event that tells where the reader stands.
func appendControl(dst []byte, page chunk, cursor string) []byte {
	dst = append(dst, "event: control\ndata:{\"streamNextOffset\":\""...)
	dst = append(append(dst, formatOffset(page.next)...), '"')
	switch {
	case page.closed:
		dst = append(dst, `,"upToDate":true,"streamClosed":true`...)
	default:
		dst = append(append(append(dst, `,"streamCursor":"`...), cursor...), '"')
		if !page.more {
			dst = append(dst, `,"upToDate":true`...)
		}
	}
	return append(dst, "}\n\n"...)
}
