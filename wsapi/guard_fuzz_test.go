package wsapi

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/lxzan/gws"

	"tidemark/internal/wire"
)

// memConn hands out bytes in steps, and swallows what is written.
type memConn struct {
	net.Conn
	r    io.Reader
	step int
}

func (c *memConn) Read(p []byte) (int, error)  { return c.r.Read(p[:min(len(p), c.step)]) }
func (c *memConn) Write(p []byte) (int, error) { return len(p), nil }
func (c *memConn) Close() error                { return nil }
func (c *memConn) SetDeadline(time.Time) error { return nil }

// recorder is what gws tells of a connection, as text.
type recorder struct{ seen []string }

func (r *recorder) note(what string, p []byte) {
	r.seen = append(r.seen, fmt.Sprintf("%s %x", what, p))
}
func (r *recorder) OnOpen(*gws.Conn)             {}
func (r *recorder) OnClose(*gws.Conn, error)     {}
func (r *recorder) OnPing(_ *gws.Conn, p []byte) { r.note("ping", p) }
func (r *recorder) OnPong(_ *gws.Conn, p []byte) { r.note("pong", p) }
func (r *recorder) OnMessage(_ *gws.Conn, m *gws.Message) {
	r.note(fmt.Sprint("message ", m.Opcode), m.Bytes())
	m.Close()
}

// fakeKeeper lets a guard be without a connection.
type fakeKeeper struct {
	max     int
	claimed int
	refused *wire.Close
	open    int // messages that began and did not end
}

func (k *fakeKeeper) limit(uint64) int    { return k.max }
func (k *fakeKeeper) claim(n int) error   { k.claimed += n; return nil }
func (k *fakeKeeper) now() int64          { return 1 }
func (k *fakeKeeper) waits()              {}
func (k *fakeKeeper) heard(int)           {}
func (k *fakeKeeper) begins()             { k.open = 1 }
func (k *fakeKeeper) ends()               { k.open = 0 }
func (k *fakeKeeper) refuse(c wire.Close) { k.refused = &c }
func (k *fakeKeeper) closes([]byte)       {}
func (k *fakeKeeper) stopped() bool       { return k.refused != nil }

const fuzzLimit = 4096

// readAll lets gws read what a client sent, and returns what gws told.
func readAll(t *testing.T, nc net.Conn) *recorder {
	r := &recorder{}
	u := gws.NewUpgrader(r, &gws.ServerOption{ReadMaxPayloadSize: fuzzLimit, ReadBufferSize: gwsBuffer, Logger: gwsLogger{}})
	hs := handshake{key: "dGhlIHNhbXBsZSBub25jZQ=="}
	socket, err := u.UpgradeFromConn(nc, bufio.NewReaderSize(nc, gwsBuffer), hs.request())
	check(t, err)
	if g, ok := nc.(*guard); ok {
		g.open = true
	}
	socket.ReadLoop()
	return r
}

// bare is gws without a guard; false: it panicked.
func bare(t *testing.T, p []byte, step int) (r *recorder, ok bool) {
	defer func() { ok = recover() == nil }()
	return readAll(t, &memConn{r: bytes.NewReader(p), step: step}), true
}

// FuzzGuard compares a guarded gws with a bare one: what passes the guard is what gws reads anyhow, and nothing that the
// guard admits makes gws fail.
func FuzzGuard(f *testing.F) {
	for _, h := range hostile {
		f.Add(h.send[:min(len(h.send), 600)], byte(0))
		f.Add(h.send[:min(len(h.send), 600)], byte(1))
	}
	f.Add(join(padded(300, 0), padded(300, 7), ping("x"), pong("y"), clientFrame(bitFin|opClose, []byte{3, 232})), byte(5))
	f.Fuzz(func(t *testing.T, p []byte, step byte) {
		by := int(step)
		if by == 0 {
			by = 1 << 20
		}
		k := &fakeKeeper{max: fuzzLimit}
		g := &guard{}
		g.init(&memConn{r: bytes.NewReader(p), step: by}, k, false)
		got := readAll(t, g)
		g.discard()
		g.release()
		if k.claimed > len(p)+fuzzLimit {
			t.Errorf("%d bytes were claimed for %d", k.claimed, len(p))
		}
		want, ok := bare(t, p, by)
		switch {
		case !ok && k.refused == nil:
			t.Error("gws panics on what the guard admits")
		case !ok:
		case len(got.seen) > len(want.seen) || !slices.Equal(got.seen, want.seen[:len(got.seen)]):
			t.Errorf("guarded: %q\nbare: %q", got.seen, want.seen)
		case k.refused == nil && len(got.seen) != len(want.seen):
			t.Errorf("the guard swallowed something: %q\nbare: %q", got.seen, want.seen)
		}
	})
}

// FuzzInflate inflates anything within its bounds.
func FuzzInflate(f *testing.F) {
	d := deflaters.Get().(*deflater)
	for _, s := range []string{"", "hello", string(repeated("hello ", 1000))} {
		z, err := d.deflate([][]byte{[]byte(s)})
		check(f, err)
		f.Add(slices.Clone(z))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		in := inflaters.Get().(*inflater)
		defer in.put()
		room := inflateRoom(len(p), 1<<16)
		out, err := in.inflate(slices.Clone(p), room)
		if err == nil && len(out) > room || cap(in.out) > 4*room+1024 {
			t.Errorf("%d bytes became %d, with memory for %d", len(p), len(out), cap(in.out))
		}
	})
}

// TestFuzzSeeds fails when the seeds that were kept are missing.
func TestFuzzSeeds(t *testing.T) {
	for _, name := range []string{"FuzzGuard", "FuzzInflate"} {
		files, err := filepath.Glob(filepath.Join("testdata", "fuzz", name, "*"))
		if err != nil || len(files) < 3 {
			t.Errorf("%s has %d seeds (%v)", name, len(files), err)
		}
	}
	if _, err := os.Stat("testdata"); err != nil {
		t.Error(err)
	}
}
