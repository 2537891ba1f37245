package respond

import (
	"bytes"
	"net"
	"net/http"
	"strconv"
	"time"
)

// Detach begins an answer of unknown size that lives longer than its handler: the connection leaves the HTTP server, whose
// buffers, goroutines and request are then free, which for a reader who mostly waits is most of what he costs. The handler
// returns, and another goroutine owns the Body, whose End closes the connection.
//
// Nobody reads from the connection any more, so a peer who left shows at the next write only: write something now and then.
// It returns false, and has done nothing, where that cannot be done: HTTP/2, HTTP/1.0, writers of tests.
func Detach(w http.ResponseWriter, r *http.Request, contentType string, stall time.Duration) (*Body, bool) {
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
	b := &Body{dst: c, close: c.end, flush: func() error { return nil }, conn: conn}
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
	if err := d.conn.SetWriteDeadline(time.Now().Add(d.stall)); err != nil {
		return err
	}
	all := net.Buffers(pieces)
	_, err := all.WriteTo(d.conn)
	return err
}

func (d *detached) end() error { return d.send([]byte("0\r\n\r\n")) }
