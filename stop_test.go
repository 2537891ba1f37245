package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// TestStop: SIGTERM answers what came, tells every client when to come back, each another time, closes with 1001, and exits
// with 0.
func TestStop(t *testing.T) {
	srv := newServer(t)
	srv.start()
	var lines []*rawLine
	for range 8 {
		l := dialRaw(t, srv.opts.Listen)
		l.send([]byte(`{"type":"hello"}`))
		l.expect(`"type":"welcome"`)
		lines = append(lines, l)
	}
	for i, l := range lines {
		l.send(fmt.Appendf(nil, `{"type":"push","stream":"a","mutations":[{"id":"0192a0b1-0000-7000-8000-00000000000%d","type":"t"}]}`, i+1))
		l.expect(`"seq":`)
	}
	signalTo(t, srv, syscall.SIGTERM)
	times := map[int]bool{}
	for _, l := range lines {
		var bye struct {
			Type, Reason string
			After        int `json:"reconnect_after_ms"`
		}
		_, text := l.frame()
		if err := json.Unmarshal(text, &bye); err != nil || bye.Type != "goodbye" || bye.Reason != "shutdown" || bye.After <= 0 {
			t.Errorf("got %s", text)
		}
		times[bye.After] = true
		if code := l.closeCode(); code != 1001 {
			t.Errorf("closed with %d", code)
		}
		l.nc.Close()
	}
	if len(times) < len(lines)/2 {
		t.Errorf("the times to come back are not spread: %v", times)
	}
	<-srv.proc.Exited()
	if err := srv.proc.Err(); err != nil {
		t.Error(err)
	}
}

// TestSecondSignal: while a slow request holds the drain up, another signal ends the process at once.
func TestSecondSignal(t *testing.T) {
	srv := newServer(t)
	srv.start()
	nc, err := net.Dial("tcp", srv.opts.Listen)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	fmt.Fprintf(nc, "POST /v1/events/a HTTP/1.1\r\nHost: %s\r\nExpect: 100-continue\r\nContent-Length: 10\r\n\r\n", srv.opts.Listen)
	if _, err := nc.Read(make([]byte, 1)); err != nil { // 100: the server waits for the body
		t.Fatal(err)
	}
	every := time.NewTicker(20 * time.Millisecond)
	defer every.Stop()
	for {
		select {
		case <-srv.proc.Exited():
			exit, ok := errors.AsType[*exec.ExitError](srv.proc.Err())
			if !ok || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGTERM {
				t.Errorf("it ended with %v, not by the signal", srv.proc.Err())
			}
			return
		case <-every.C:
			signalTo(t, srv, syscall.SIGTERM)
		}
	}
}

func signalTo(t *testing.T, srv *server, sig os.Signal) {
	t.Helper()
	p, err := os.FindProcess(srv.proc.Pid())
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
}
