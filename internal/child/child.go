package child

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"tidemark/store"
)

// Server is a running server. Start, Kill and Stop belong to one goroutine; what only looks (Memory, CPU, Stats) may be called
// beside them.
type Server struct {
	URL  string // http://127.0.0.1:port
	Data string // the data file

	cmd    *exec.Cmd
	exited chan struct{} // closed when the process is gone
	err    error         // what Wait returned, after exited
	stderr tailBuffer
}

// Options say how to start a server.
type Options struct {
	Exe    string   // the binary; "": this one
	Data   string   // the data file
	Listen string   // "": a free port of 127.0.0.1
	Args   []string // more arguments of serve
	Env    []string // more environment variables
	Prefix []string // a command that becomes the server: its arguments are followed by the server's command line
}

// startPatience is how long a server may take to say where it listens.
const startPatience = time.Minute

var listening = regexp.MustCompile(`listening +(http://\S+)`)

// Start runs a server and waits until it says where it listens.
func Start(ctx context.Context, o Options) (*Server, error) {
	if o.Exe == "" {
		exe, err := os.Executable()
		if err != nil {
			return nil, err
		}
		o.Exe = exe
	}
	if o.Listen == "" {
		o.Listen = "127.0.0.1:0"
	}
	s := &Server{Data: o.Data, exited: make(chan struct{})}
	line := append(slices.Clone(o.Prefix), o.Exe, "serve", "--listen", o.Listen, "--data", o.Data)
	line = append(line, o.Args...)
	s.cmd = exec.Command(line[0], line[1:]...)
	s.cmd.Env = append(os.Environ(), o.Env...)
	s.cmd.Stderr = &s.stderr
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	url := make(chan string, 1)
	go s.watch(out, url)
	select {
	case s.URL = <-url:
		return s, nil
	case <-s.exited:
		return nil, fmt.Errorf("child: the server ended before it listened: %w\n%s", s.err, s.stderr.String())
	case <-time.After(startPatience):
		err = errors.New("child: the server does not say that it listens")
	case <-ctx.Done():
		err = ctx.Err()
	}
	return nil, errors.Join(err, s.Kill())
}

// watch reads the server's output until it ends.
func (s *Server) watch(out io.Reader, url chan<- string) {
	defer close(s.exited)
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if m := listening.FindSubmatch(lines.Bytes()); m != nil {
			url <- string(m[1])
			break
		}
	}
	io.Copy(io.Discard, out)
	s.err = s.cmd.Wait()
}

// Exited is closed when the process is gone; Err tells how it ended.
func (s *Server) Exited() <-chan struct{} { return s.exited }

// Err returns the process's end, nil for exit code 0. It may be called after Exited.
func (s *Server) Err() error { return s.err }

// Stderr returns the end of what the server wrote to standard error.
func (s *Server) Stderr() string { return s.stderr.String() }

// Pid returns the process id.
func (s *Server) Pid() int { return s.cmd.Process.Pid }

// Kill ends the server with SIGKILL and waits until it is gone.
func (s *Server) Kill() error {
	err := s.cmd.Process.Kill()
	<-s.exited
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

// Stop ends the server with SIGTERM and waits until it is gone; an exit code other than 0 is an error.
func (s *Server) Stop() error {
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-s.exited
	if s.err != nil {
		return fmt.Errorf("child: %w\n%s", s.err, s.stderr.String())
	}
	return nil
}

// RSS returns the resident memory that is the process's own; see Memory.
func (s *Server) RSS() int64 {
	own, _ := s.Memory()
	return own
}

// Memory returns the resident memory in bytes: what is the process's own, and the total with the pages of the mapped data file,
// which the kernel gives to whoever needs them. 0 where the platform does not tell.
func (s *Server) Memory() (own, total int64) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.Pid()))
	if err != nil {
		return 0, 0
	}
	for line := range strings.Lines(string(status)) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		kb, _ := strconv.ParseInt(f[1], 10, 64)
		switch f[0] {
		case "RssAnon:":
			own = kb << 10
		case "VmRSS:":
			total = kb << 10
		}
	}
	return own, total
}

// CPU returns the processor time that the process has used; 0 where the platform does not tell.
func (s *Server) CPU() time.Duration {
	const ticks = 100 // of a second: USER_HZ, the same on every Linux
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.Pid()))
	if err != nil {
		return 0
	}
	// The name, in parentheses, may hold anything; utime and stime are the 12th and 13th field behind it.
	f := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(f) < 13 {
		return 0
	}
	user, _ := strconv.ParseInt(f[11], 10, 64)
	system, _ := strconv.ParseInt(f[12], 10, 64)
	return time.Duration(user+system) * time.Second / ticks
}

// Stats asks the server for its counters, through the socket beside the data file.
func (s *Server) Stats(ctx context.Context) (st store.Stats, err error) {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", s.Data+".sock")
	}
	t := &http.Transport{DialContext: dial, DisableKeepAlives: true}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://control/stats", nil)
	if err != nil {
		return st, err
	}
	res, err := (&http.Client{Transport: t}).Do(req)
	if err != nil {
		return st, err
	}
	defer res.Body.Close()
	return st, json.NewDecoder(res.Body).Decode(&st)
}

// tailBuffer keeps the last bytes written to it.
type tailBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

const tailSize = 16 << 10

func (t *tailBuffer) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.b.Len() > tailSize {
		t.b.Next(t.b.Len() - tailSize)
	}
	return t.b.Write(p)
}

func (t *tailBuffer) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.String()
}
