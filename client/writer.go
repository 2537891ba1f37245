package client

import (
	"encoding/binary"
	"fmt"
	"syscall"
	"time"

	"tidemark/internal/wire"
)

// authRef is the ref of re-authentication; those of pushes are numbers.
var authRef = wire.StringRef("auth")

const (
	controlBurst  = 64 << 10         // bytes of messages other than pushes in one write
	keepBuffer    = 128 << 10        // a larger write buffer is given back
	pingPatience  = 10 * time.Second // for an answer to a ping, when nothing else came
	closePatience = time.Second      // for a close frame to leave
)

// timetable is what the writer does at certain times.
type timetable struct {
	heartbeat time.Duration
	tick      time.Time // the next look at the connection's health
	pinged    time.Time // when the last ping was sent
	auth      time.Time // when to ask for a new token; zero: never
	retry     time.Time // when to send again what the server refused with "later"; zero: nothing
	tries     backoff
}

// next returns the time of the earliest entry.
func (t *timetable) next() time.Time {
	at := t.tick
	for _, other := range [...]time.Time{t.auth, t.retry} {
		if !other.IsZero() && other.Before(at) {
			at = other
		}
	}
	return at
}

// expires plans for a new token when four fifths of the time are over.
func (t *timetable) expires(now time.Time, unixMS int64, renewable bool) {
	t.auth = time.Time{}
	if unixMS != 0 && renewable {
		t.auth = now.Add(max(time.UnixMilli(unixMS).Sub(now)*4/5, time.Second))
	}
}

func (t *timetable) retryLater(now time.Time) {
	if t.retry.IsZero() {
		t.retry = now.Add(t.tries.next())
	}
}

// write is the goroutine that writes: whatever has come together since the last write goes out in the next.
func (k *conn) write() {
	defer close(k.broken)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		wait, more, err := k.writeSome()
		if err != nil {
			k.fail(err)
			return
		}
		if more {
			continue
		}
		timer.Reset(wait)
		select {
		case <-k.wake:
		case <-timer.C:
		case <-k.ctx.Done():
			return
		}
	}
}

// writeSome writes what there is, or returns for how long there will be nothing unless somebody says so.
func (k *conn) writeSome() (wait time.Duration, more bool, err error) {
	k.writing.Lock()
	defer k.writing.Unlock()
	if len(k.rest) == 0 {
		if wait, err = k.composeRest(); err != nil || len(k.rest) == 0 {
			k.sleeps = time.Now().Add(wait)
			return wait, false, err
		}
	}
	_, err = k.nc.Write(k.rest)
	k.c.stats.sent.Add(uint64(len(k.rest)))
	k.rest = nil
	return 0, true, err
}

// composeRest makes what is to be written next. k.writing is held.
func (k *conn) composeRest() (wait time.Duration, err error) {
	if cap(k.buf) > keepBuffer {
		k.buf = nil
	}
	k.buf, wait, err = k.compose(k.buf[:0])
	k.rest = k.buf
	return wait, err
}

// writeNow does on the reader's goroutine what the write goroutine would do, without waking it and without waiting for the socket: most
// applications push again when they are answered. What it cannot do it leaves to the write goroutine.
func (k *conn) writeNow() {
	if k.raw == nil || !k.writing.TryLock() {
		k.wakeWriter()
		return
	}
	defer k.writing.Unlock()
	var wait time.Duration
	if len(k.rest) == 0 {
		var err error
		if wait, err = k.composeRest(); err != nil {
			k.fail(err)
			return
		}
		if len(k.rest) > 0 && k.raw.Write(k.attempt) == nil {
			k.c.stats.prompt.Add(1)
			k.c.stats.sent.Add(uint64(k.taken))
			if k.rest = k.rest[k.taken:]; len(k.rest) > 0 {
				k.c.stats.promptCut.Add(1)
			}
		}
	}
	if len(k.rest) > 0 || time.Now().Add(wait).Before(k.sleeps) {
		k.wakeWriter()
	}
}

// tryWrite writes once, without waiting, what the socket takes.
func (k *conn) tryWrite(fd uintptr) bool {
	n, err := syscall.Write(int(fd), k.rest)
	if k.taken = n; err != nil {
		k.taken = 0 // the write goroutine finds out what is wrong
	}
	return true
}

// fail ends the connection from the writer's side.
func (k *conn) fail(err error) {
	k.c.mu.Lock()
	if k.failed == nil {
		k.failed = err
	}
	k.c.mu.Unlock()
	k.nc.Close()
}

// shut ends the connection politely: a close frame, then the end, within closePatience.
func (k *conn) shut() {
	k.nc.SetWriteDeadline(time.Now().Add(closePatience))
	k.c.mu.Lock()
	k.closing = true
	k.c.mu.Unlock()
	k.wakeWriter()
}

// compose appends what there is to write; wait is the time until there may be more without a wake.
func (k *conn) compose(buf []byte) (out []byte, wait time.Duration, err error) {
	c := k.c
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if k.closing {
		return k.composeClose(buf)
	}
	if err := k.due(now); err != nil {
		return buf, 0, err
	}
	for _, p := range k.pongs {
		buf = appendFrame(buf, opPong, func(b []byte) []byte { return append(b, p...) })
	}
	clear(k.pongs)
	k.pongs = k.pongs[:0]
	k.wakeReader(now)
	n := 0
	for n < len(k.control) && len(buf) < controlBurst {
		buf = appendFrame(buf, opText, k.control[n].Append)
		n++
	}
	clear(k.control[:n])
	if k.control = k.control[n:]; len(k.control) == 0 {
		k.control = nil
	}
	if k.welcomed && !k.leaving {
		buf = k.composePush(buf)
	}
	return buf, time.Until(k.times.next()), nil
}

// wakeReader makes the server send a message when the reader has an answer to give that the server knows nothing of. All
// answers are the reader's, which keeps their order, and it sleeps until something comes. k.c.mu is held.
func (k *conn) wakeReader(now time.Time) {
	if k.welcomed && !k.leaving && !k.waking && k.c.out.stuck(k.limits) {
		k.waking, k.times.pinged = true, now
		k.control = append(k.control, &wire.Ping{})
	}
}

// composePush appends one push frame, if there is something to push.
func (k *conn) composePush(buf []byte) []byte {
	c := k.c
	if !c.out.sendable(k.limits) {
		return buf
	}
	c.stats.pushes.Add(1)
	return appendFrame(buf, opText, func(b []byte) []byte { return c.out.fill(b, c.o.PushBytes, k.limits, c.log) })
}

// composeClose appends what is queued already, then a close frame; the next call ends the writer.
func (k *conn) composeClose(buf []byte) ([]byte, time.Duration, error) {
	if k.leaving {
		return buf, 0, ErrClosed
	}
	k.leaving = true
	return appendFrame(buf, opClose, func(b []byte) []byte {
		return binary.BigEndian.AppendUint16(b, 1000)
	}), 0, nil
}

// due does what the timetable says.
func (k *conn) due(now time.Time) error {
	t := &k.times
	if !t.retry.IsZero() && !now.Before(t.retry) {
		t.retry = time.Time{}
		k.c.out.resume()
	}
	if !t.auth.IsZero() && !now.Before(t.auth) {
		t.auth = time.Time{}
		k.writer.Go(func() { k.renewToken(TokenExpires) })
	}
	if !now.Before(t.tick) {
		return k.health(now)
	}
	return nil
}

// health notices a server that is gone, and asks one that is merely quiet how far it is: that also moves the cursors of
// quiet streams. Any byte is a sign of life, and a reader that waits for its application is not waiting for the server.
func (k *conn) health(now time.Time) error {
	t := &k.times
	silent := k.in.waiting(now)
	asked := now.Sub(t.pinged)
	quiet := silent >= t.heartbeat
	switch {
	case quiet && asked < silent && asked >= pingPatience, !k.welcomed && silent >= t.heartbeat+pingPatience:
		return fmt.Errorf("%w since %v", errSilent, silent.Round(time.Second))
	case quiet:
		t.tick = now.Add(pingPatience)
	default:
		t.tick = now.Add(max(t.heartbeat-silent, time.Second))
	}
	if k.welcomed && (quiet && asked >= silent || len(k.c.subs) > 0 && asked >= 4*t.heartbeat) {
		t.pinged = now
		k.control = append(k.control, &wire.Ping{})
	}
	return nil
}

// renewToken asks for a new token and presents it.
func (k *conn) renewToken(why TokenReason) {
	token, err := k.c.o.Token(k.ctx, why)
	k.c.mu.Lock()
	defer k.c.mu.Unlock()
	if err != nil {
		k.times.auth = time.Now().Add(pingPatience)
	} else {
		k.control = append(k.control, &wire.Auth{Ref: authRef, Token: token})
	}
	k.wakeWriter()
}

// tokenRefused takes the server's refusal of a renewed token: another is asked for while the old one still holds.
func (k *conn) tokenRefused() {
	k.c.mu.Lock()
	defer k.c.mu.Unlock()
	k.times.auth = time.Now().Add(pingPatience)
	k.wakeWriter()
}

func (k *conn) authenticated(expires int64) {
	k.c.mu.Lock()
	defer k.c.mu.Unlock()
	k.times.expires(time.Now(), expires, k.c.o.Token != nil)
	k.wakeWriter()
}
