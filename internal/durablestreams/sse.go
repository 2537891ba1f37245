package durablestreams

import (
	"bytes"
	"encoding/base64"
	"net/http"
	"time"

	"tidemark/internal/respond"
	"tidemark/store"
)

// follow sends what comes behind the offset as server-sent events: each data event is followed by a control event that tells
// where the reader stands. After a while the reader is let go, and comes again from there.
func (c *call) follow(st *stream, q question) error {
	l, page, err := c.look(st, &q) // what cannot be read is refused before the answer begins
	if err != nil {
		return err
	}
	h := c.w.Header()
	h.Set("Cache-Control", "no-cache")
	h.Set("X-Accel-Buffering", "no")
	if !isText(l.Type) {
		h.Set(hEncoding, "base64")
	}
	out := respond.Plain(c.w, c.Stall)
	out.Begin(http.StatusOK, "text/event-stream", respond.Unknown)
	life := time.NewTimer(c.SSELife)
	defer life.Stop()
	for told := false; out.Err() == nil; {
		news := c.waiters.join(st.name)
		if l, page, err = c.look(st, &q); err != nil {
			c.waiters.leave(st.name, news)
			return finish(out) // deleted, or trimmed away under the reader: it comes again and is told so
		}
		any := anyBelongs(page.events, isJSON(l.Type))
		if any || page.closed || !told {
			c.writeSSE(out, l, q, page, any)
			told = true
		}
		q.after, q.begin = page.next, false
		done := page.closed
		if !page.more && !done {
			done = c.pause(news, life.C)
			st.touch(nowMS())
		}
		c.waiters.leave(st.name, news)
		if done {
			break
		}
	}
	return finish(out)
}

// pause waits for news; true: it is time to go.
func (c *call) pause(news *topic, over <-chan time.Time) bool {
	select {
	case <-news.news:
		return false
	case <-over:
	case <-c.ending.Done():
	case <-c.r.Context().Done():
	}
	return true
}

func (c *call) writeSSE(out *respond.Body, l *life, q question, page chunk, data bool) {
	buf := buffers.get()
	defer buffers.put(buf)
	b := (*buf)[:0]
	if data {
		b = appendDataEvent(b, l.Type, page.events)
	}
	b = appendControl(b, page, nextCursor(q.cursor, time.Now()))
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
