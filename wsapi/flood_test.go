package wsapi

import (
	"bytes"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"tidemark/internal/wire"
	"tidemark/store"
	eventsync "tidemark/sync"
)

// toll is what hostile connections cost: memory and goroutines, while there are some and after.
type toll struct {
	t          testing.TB
	heap       uint64
	goroutines int
}

func inUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}

func newToll(t testing.TB) toll { return toll{t, inUse(), runtime.NumGoroutine()} }

func (k *toll) below(mib int) {
	k.t.Helper()
	if grown := int64(inUse()) - int64(k.heap); grown > int64(mib)<<20 {
		k.t.Errorf("memory grew by %d MiB, want less than %d", grown>>20, mib)
	}
}

// paid waits until no goroutine of theirs is left.
func (k *toll) paid(r *rig) {
	k.t.Helper()
	waitFor(k.t, "the connections to end", func() bool { return r.ws.Stats().Conns == 0 })
	waitFor(k.t, "the goroutines to end", func() bool {
		if runtime.NumGoroutine() <= k.goroutines+3 { // net/http's own come and go
			return true
		}
		return !strings.Contains(stacks(), "wsapi.(*conn)")
	})
}

func stacks() string {
	buf := make([]byte, 1<<20)
	return string(buf[:runtime.Stack(buf, true)])
}

// hung is far beyond what a busy machine takes: who waits longer waits for somebody else.
const hung = 30 * time.Second

// responsive fails when an ordinary client has to wait.
func (r *rig) responsive(c *rawConn) {
	r.t.Helper()
	start := time.Now()
	c.write(pushText("calm", []store.ID{store.NewID()}))
	c.expect("ack")
	if d := time.Since(start); d > hung {
		r.t.Errorf("another client waited %v", d)
	}
}

func many(n int, fn func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { fn(i) })
	}
	wg.Wait()
}

// TestHeadersAndSilence opens connections that declare large messages and send nothing of them.
func TestHeadersAndSilence(t *testing.T) {
	n := 1000
	if testing.Short() {
		n = 200
	}
	r := newRig(t, rigOptions{})
	calm := r.dial().hello()
	k := newToll(t)
	conns := make([]*rawConn, n)
	for i := range conns {
		conns[i] = r.dial()
		size := uint64(1 << 20)
		if i%2 == 0 {
			conns[i].hello()
		} else {
			size = wire.MaxHello
		}
		conns[i].write(join(rawHeader(0x81, 0xff, long(size)...), mask0))
	}
	k.below(64 + 32)
	r.responsive(calm)
	for _, c := range conns {
		c.Close()
	}
	calm.Close()
	k.paid(r)
	waitFor(t, "the budget to be free", func() bool { return r.engine.Budget().Used() == 0 })
	k.below(24)
}

// TestFloods sends as fast as it can what is legal one by one, and is closed for it, while others are served.
func TestFloods(t *testing.T) {
	const attackers = 20
	for _, flood := range []struct {
		name  string
		frame []byte
		codes map[uint16]bool
	}{
		{"pings", clientFrame(bitFin|opPing, repeated("x", 100)), map[uint16]bool{4400: true}},
		{"empty fragments", clientFrame(opContinuation, nil), map[uint16]bool{4400: true, 1002: true}},
		{"empty messages", clientFrame(bitFin|opText, nil), map[uint16]bool{4400: true}},
		{"close frames", clientFrame(bitFin|opClose, nil), map[uint16]bool{closeNoStatus: true}},
	} {
		t.Run(flood.name, func(t *testing.T) {
			r := newRig(t, rigOptions{})
			calm := r.dial().hello()
			k := newToll(t)
			many(attackers, func(int) {
				c := r.dial().hello()
				if flood.name == "empty fragments" {
					c.try(clientFrame(opText, nil))
				}
				all := bytes.Repeat(flood.frame, 1000)
				go func() {
					for c.try(all) {
					}
				}()
				if code := c.untilClose(); code != 0 && !flood.codes[code] { // 0: the kernel dropped our close frame
					t.Errorf("closed with %d", code)
				}
				c.Close()
			})
			r.responsive(calm)
			k.below(16)
			if n := r.ws.Stats().Closes; n[4400]+n[1002]+n[closeNoStatus] < attackers {
				t.Errorf("closed: %v", n)
			}
			calm.Close()
			k.paid(r)
		})
	}
}

// TestStalledReaders lets subscribers stop reading while much passes: memory stays, nobody waits, and they are closed as slow.
func TestStalledReaders(t *testing.T) {
	readers, pushes := 100, 400
	if testing.Short() {
		readers, pushes = 30, 100
	}
	r := newRig(t, rigOptions{ws: Options{WriteTimeout: time.Second, SendBuffer: 16 << 10},
		engine: eventsync.Options{Budget: 16 << 20}})
	calm := r.dial().hello()
	k := newToll(t)
	for range readers {
		c := r.dial().hello()
		check(t, c.Conn.(*net.TCPConn).SetReadBuffer(8<<10))
		c.text(`{"type":"subscribe","sub":1,"stream":"calm"}`)
	}
	data := []byte(`"` + strings.Repeat("x", 50_000) + `"`)
	for range pushes {
		m := wire.Push{Stream: "calm", HasStream: true, Push: store.Push{Mutations: []store.Mutation{
			{ID: store.NewID(), Stream: "calm", Type: "t", Data: data}}}}
		start := time.Now()
		calm.write(clientFrame(bitFin|opText, m.Append(nil)))
		calm.expect("ack")
		if d := time.Since(start); d > hung {
			t.Errorf("the writer waited %v", d)
		}
	}
	k.below(16 + 32 + 32 + 32) // the budget, encoded pages, the log's tail, and what collecting lags behind
	waitFor(t, "the stalled to be closed", func() bool { return r.ws.Stats().Closes[4001] == int64(readers) })
	r.responsive(calm)
	calm.Close()
	k.paid(r)
}

// TestFragmentsDoNotWaitForEachOther: more connections than the budget has room for send a large message in two frames, the second when all
// have sent the first. Nobody may hold a part of the budget while he waits for more of it.
func TestFragmentsDoNotWaitForEachOther(t *testing.T) {
	const senders = 20
	r := newRig(t, rigOptions{engine: eventsync.Options{Budget: 16 << 20}})
	long := `"` + strings.Repeat("x", 900_000) + `"`
	var first sync.WaitGroup
	first.Add(senders)
	many(senders, func(int) {
		c := r.dial().hello()
		m := wire.Push{Stream: "calm", HasStream: true, Push: store.Push{Mutations: []store.Mutation{
			{ID: store.NewID(), Stream: "calm", Type: "t", Data: []byte(long)}}}}
		text := m.Append(nil)
		cut := len(text) - 100_000
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			c.try(clientFrame(opText, text[:cut]))
		}()
		select { // those whose turn has not come send it later
		case <-sent:
		case <-time.After(time.Second):
		}
		first.Done()
		first.Wait()
		<-sent
		c.try(clientFrame(bitFin|opContinuation, text[cut:]))
		c.expect("ack")
		c.Close()
	})
}

// TestOneHostileFrame sends each hostile frame over a socket, and the process lives.
func TestOneHostileFrame(t *testing.T) {
	r := newRig(t, rigOptions{})
	many(len(hostile), func(i int) {
		c := r.dial().hello()
		c.try(hostile[i].send)
		if code := c.untilClose(); code != hostile[i].want {
			t.Errorf("%s: closed with %d, want %d", hostile[i].name, code, hostile[i].want)
		}
	})
	if n := r.ws.Stats(); n.Panics != 0 {
		t.Errorf("%+v", n)
	}
}
