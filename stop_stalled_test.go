package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"tidemark/client"
	"tidemark/internal/cli"
	"tidemark/internal/durablestreams"
	"tidemark/internal/respond"
	"tidemark/store"
	"tidemark/wsapi"
)

// TestStopFitsIntoItsTime adds up everything that a stop may wait for, and leaves a second for closing the file.
func TestStopFitsIntoItsTime(t *testing.T) {
	sum := cli.DrainTime + wsapi.Grace + respond.Grace + durablestreams.CloseTime
	if sum > cli.StopTime-time.Second {
		t.Errorf("the parts of a stop add up to %v of %v", sum, cli.StopTime)
	}
}

// TestStopHeldUp: readers who take nothing, of both kinds, and a backup whose verification hangs do not keep a server from
// ending by itself, with 0. No half backup is left.
func TestStopHeldUp(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("it finds the verifying process in /proc")
	}
	srv := newServer(t)
	srv.start()
	c := srv.client(client.Options{})
	data := bytes.Repeat([]byte("1"), 200<<10)
	for range 20 {
		ms := make([]store.Mutation, 4)
		for i := range ms {
			ms[i] = store.Mutation{Stream: "a", Type: "n", Data: data}
		}
		if _, err := c.Push(t.Context(), ms...); err != nil {
			t.Fatal(err)
		}
	}
	c.Close()

	ws := dialRaw(t, srv.opts.Listen)
	ws.nc.(*net.TCPConn).SetReadBuffer(4 << 10)
	ws.send([]byte(`{"type":"hello"}`))
	ws.expect(`"type":"welcome"`)
	ws.send([]byte(`{"type":"subscribe","sub":1,"stream":"a","from":"start"}`))
	ws.expect(`"type":"subscribed"`)
	sse, err := net.Dial("tcp", srv.opts.Listen)
	if err != nil {
		t.Fatal(err)
	}
	defer sse.Close()
	sse.(*net.TCPConn).SetReadBuffer(4 << 10)
	fmt.Fprintf(sse, "GET /v1/events/a?since=0 HTTP/1.1\r\nHost: %s\r\nAccept: text/event-stream\r\n\r\n", srv.opts.Listen)
	res, err := http.ReadResponse(bufio.NewReader(sse), nil)
	if err != nil || res.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("%+v, %v", res, err)
	}

	to, answer := hangBackup(t, srv)
	signalTo(t, srv, syscall.SIGTERM)
	select {
	case <-srv.proc.Exited():
	case <-time.After(2 * cli.StopTime): // a busy machine; the bounds themselves are held to above
		t.Fatalf("it does not end:\n%s", srv.proc.Stderr())
	}
	if err := srv.proc.Err(); err != nil {
		t.Errorf("it ended with %v:\n%s", err, srv.proc.Stderr())
	}
	if !strings.Contains(srv.proc.Stderr(), "cutting them off") {
		t.Errorf("nobody held it up:\n%s", srv.proc.Stderr())
	}
	if text := <-answer; strings.Contains(text, `"Info":{`) {
		t.Errorf("the backup is said to be complete: %s", text)
	}
	if _, err := os.Stat(to); err == nil {
		t.Error("there is a backup that was not verified")
	}
	srv.check()
}

// hangBackup begins a backup, and stops the process that verifies it. The answer of the server comes when it ends.
func hangBackup(t *testing.T, srv *server) (to string, answer chan string) {
	t.Helper()
	dir := t.TempDir()
	for n := range 50 { // it may be done before it is found
		to := filepath.Join(dir, strconv.Itoa(n))
		answer := make(chan string, 1)
		go func() { answer <- askForBackup(srv, to) }()
		for {
			if pid := childOf(srv.proc.Pid()); pid != 0 && verifies(pid) && syscall.Kill(pid, syscall.SIGSTOP) == nil && stopped(pid) {
				t.Cleanup(func() { // it must be gone by then
					if stopped(pid) {
						t.Error("the process that verifies has outlived the server")
						syscall.Kill(pid, syscall.SIGKILL)
					}
				})
				return to, answer
			}
			if len(answer) > 0 {
				break
			}
		}
	}
	t.Fatal("no backup could be held up")
	return "", nil
}

func askForBackup(srv *server, to string) string {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", srv.opts.Data+".sock")
	}
	c := &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
	res, err := c.Post("http://control/backup?to="+url.QueryEscape(to), "", nil)
	if err != nil {
		return err.Error()
	}
	defer res.Body.Close()
	text, _ := io.ReadAll(res.Body)
	return string(text)
}

// childOf returns a child process, 0: none.
func childOf(pid int) int {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, task := range tasks {
		if len(bytes.TrimSpace(text)) > 0 {
			break
		}
		text, _ = os.ReadFile(task)
	}
	first, _, _ := strings.Cut(strings.TrimSpace(string(text)), " ")
	child, _ := strconv.Atoi(first)
	return child
}

// verifies reports whether a process has become the one that checks a file. Before that it holds its parent up as well.
func verifies(pid int) bool {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return bytes.Contains(text, []byte("\x00check\x00--child\x00"))
}

// stopped reports whether a process is there and does nothing, for it was sent SIGSTOP.
func stopped(pid int) bool {
	for {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return false
		}
		switch state := bytes.TrimSpace(stat[bytes.LastIndexByte(stat, ')')+1:]); state[0] {
		case 'T':
			return true
		case 'Z', 'X':
			return false
		}
	}
}
