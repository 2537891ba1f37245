package respond

import (
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Unknown is the size of a body that is not known when it begins.
const Unknown = -1

// Bounds of output.
const (
	compressFrom = 1 << 10  // a smaller body is not worth compressing
	chunkBytes   = 16 << 10 // what is written under one deadline: a line of a few KB/s still makes it
)

// Body is the body of one answer on its way out. After an error it takes what it is given and writes nothing. It must not be
// used concurrently.
type Body struct {
	w      http.ResponseWriter
	stall  time.Duration
	ctl    *http.ResponseController
	dst    io.Writer // what takes the body: the connection, or a compressor before it
	close  func() error
	flush  func() error // makes what was written leave the compressor
	err    error
	enc    string // content coding, "": none
	pool   *sync.Pool
	conn   net.Conn    // of a detached body
	forget func() bool // with conn: ends the waiting for the server's end
}

// Compressed prepares a body of a size that is given or Unknown, in the coding that the client prefers. A write that makes no
// progress for as long as stall is an error.
func Compressed(w http.ResponseWriter, r *http.Request, size int, stall time.Duration) *Body {
	b := Plain(w, stall)
	w.Header().Add("Vary", "Accept-Encoding")
	if size == Unknown || size >= compressFrom {
		b.enc = coding(r.Header.Get("Accept-Encoding"))
	}
	return b
}

// Plain prepares a body that is never compressed.
func Plain(w http.ResponseWriter, stall time.Duration) *Body {
	return &Body{w: w, stall: stall, ctl: http.NewResponseController(w)}
}

// Begin writes the head of the answer; every other header has been set.
func (b *Body) Begin(status int, contentType string, size int) {
	h := b.w.Header()
	h.Set("Content-Type", contentType)
	nothing := func() error { return nil }
	b.dst, b.close, b.flush = slowWriter{b}, nothing, nothing
	switch {
	case b.enc != "":
		h.Set("Content-Encoding", b.enc)
		b.compress()
	case size != Unknown:
		h.Set("Content-Length", strconv.Itoa(size))
	}
	b.w.WriteHeader(status)
}

// compressor is what gzip and zstd writers have in common.
type compressor interface {
	io.Writer
	Reset(io.Writer)
	Flush() error
	Close() error
}

// Writers are kept: a new one costs more than most answers.
var (
	gzips = sync.Pool{New: func() any { w, _ := gzip.NewWriterLevel(io.Discard, gzip.BestSpeed); return compressor(w) }}
	zstds = sync.Pool{New: func() any {
		w, _ := zstd.NewWriter(io.Discard, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
			zstd.WithWindowSize(128<<10), zstd.WithLowerEncoderMem(true))
		return compressor(w)
	}}
)

func (b *Body) compress() {
	if b.pool = &gzips; b.enc == "zstd" {
		b.pool = &zstds
	}
	w := b.pool.Get().(compressor)
	w.Reset(slowWriter{b})
	b.dst, b.close, b.flush = w, w.Close, w.Flush
}

// coding chooses from an Accept-Encoding header: zstd before gzip, unless the client refuses or prefers otherwise.
func coding(accept string) string {
	best, bestQ := "", 0.0
	for part := range strings.SplitSeq(accept, ",") {
		name, params, _ := strings.Cut(part, ";")
		name = strings.ToLower(strings.TrimSpace(name))
		if name != "gzip" && name != "zstd" {
			continue
		}
		q := quality(params)
		if q > bestQ || q == bestQ && q > 0 && name == "zstd" {
			best, bestQ = name, q
		}
	}
	return best
}

func quality(params string) float64 {
	k, v, ok := strings.Cut(params, "=")
	if !ok || !strings.EqualFold(strings.TrimSpace(k), "q") {
		return 1
	}
	q, err := strconv.ParseFloat(strings.TrimSpace(v), 64)
	if err != nil || q < 0 || q > 1 {
		return 0
	}
	return q
}

// Write appends to the body; Err tells whether it came to that.
func (b *Body) Write(p []byte) {
	if b.err == nil && len(p) > 0 {
		_, b.err = b.dst.Write(p)
	}
}

// Err returns the error that ended the body early, or nil.
func (b *Body) Err() error { return b.err }

// Abort ends a detached body in a way that shows the reader that it is not whole.
func (b *Body) Abort() {
	if b.conn != nil {
		b.forget()
		_ = b.conn.Close()
	}
}

// Push makes everything that was written leave now.
func (b *Body) Push() {
	if b.err == nil {
		b.err = b.flush()
	}
	if b.err == nil && b.conn == nil {
		b.err = b.ctl.Flush()
	}
}

// End completes the body, or returns why it could not be: then the connection must be cut, so that nobody takes the answer as
// whole.
func (b *Body) End() error {
	if b.err == nil {
		b.err = b.close()
	}
	if b.conn != nil {
		b.forget()
		_ = b.conn.Close() // what was written is on its way
	}
	if b.pool != nil {
		w := b.dst.(compressor)
		w.Reset(io.Discard)
		b.pool.Put(w)
		b.pool = nil
	}
	return b.err
}

// slowWriter writes in chunks, each with its own deadline.
type slowWriter struct{ b *Body }

func (s slowWriter) Write(p []byte) (n int, err error) {
	for len(p) > 0 && err == nil {
		_ = s.b.ctl.SetWriteDeadline(time.Now().Add(s.b.stall))
		var m int
		m, err = s.b.w.Write(p[:min(len(p), chunkBytes)])
		n, p = n+m, p[m:]
	}
	return n, err
}
