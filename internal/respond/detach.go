package respond

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// Detach begins an answer of unknown size that lives longer than its handler: the connection leaves the HTTP server, whose
// buffers, goroutines and request are then free, which for a reader who mostly waits is most of what he costs. The handler
// returns, and another goroutine owns the Body, whose End closes the connection.
//
// Nobody reads from the connection any more, so a peer who left shows at the next write only: write something now and then.
// When ending does, the reader has Grace to take what is left, however much he was given before.
//
// It returns false, and has done nothing, where that cannot be done: HTTP/2, HTTP/1.0, writers of tests.
func Detach(w http.ResponseWriter, r *http.Request, contentType string, stall time.Duration, ending context.Context) (*Body, bool) {
	if r.ProtoMajor != 1 || r.ProtoMinor != 1 || r.Method != http.MethodGet {
		return nil, false
	}
	h, ok := w.(http.Hijacker)
	if !ok {
		return nil, false
	}
	header := w.Header().Clone()
	conn, _, err := h.Hijack()
	if err != nil {
		return nil, false
	}
	c := &detached{conn: conn, stall: stall}
	forget := context.AfterFunc(ending, c.hurry)
	b := &Body{dst: c, close: c.end, flush: func() error { return nil }, conn: conn, forget: forget}
	header.Set("Content-Type", contentType)
	header.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	header.Set("Transfer-Encoding", "chunked")
	header.Set("Connection", "close")
	var head bytes.Buffer
	head.WriteString("HTTP/1.1 200 OK\r\n")
	_ = header.Write(&head) // a buffer takes everything
	head.WriteString("\r\n")
	b.err = c.send(head.Bytes())
	return b, true
}

// detached writes chunks to a connection that has no HTTP server any more.
type detached struct {
	conn  net.Conn
	stall time.Duration

	mu   sync.Mutex
	last time.Time // when it has to be over; zero: not yet known
}

// Grace is how long a detached reader may hold up a server that ends.
const Grace = time.Second

// hurry is called when the server ends, while a write may be under way.
func (d *detached) hurry() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.last = time.Now().Add(Grace)
	_ = d.conn.SetWriteDeadline(d.last) // a connection that is closed needs none
}

// allow gives the next write its time.
func (d *detached) allow() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.last.IsZero() {
		return nil
	}
	return d.conn.SetWriteDeadline(time.Now().Add(d.stall))
}

// Write writes p in chunks, each with its own deadline.
func (d *detached) Write(p []byte) (n int, err error) {
	for len(p) > 0 && err == nil {
		part := p[:min(len(p), chunkBytes)]
		if err = d.send(strconv.AppendInt(nil, int64(len(part)), 16), crlf, part, crlf); err == nil {
			n, p = n+len(part), p[len(part):]
		}
	}
	return n, err
}

var crlf = []byte("\r\n")

func (d *detached) send(pieces ...[]byte) error {
	if err := d.allow(); err != nil {
		return err
	}
	all := net.Buffers(pieces)
	_, err := all.WriteTo(d.conn)
	return err
}

func (d *detached) end() error { return d.send([]byte("0\r\n\r\n")) }
