package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"sync"
	"syscall"

	"tidemark/store"
)

// A running server owns its data file, so other commands ask it through a Unix socket beside the file. Who may open the
// socket is decided by its mode, 0600: the user that runs the server.

func controlPath(data string) string { return data + ".sock" }

// control serves the commands of the same user on the same machine.
type control struct {
	web     *http.Server
	path    string
	done    chan struct{}
	cancel  context.CancelFunc // gives up the backups under way
	backups sync.WaitGroup

	mu     sync.Mutex
	closed bool // no backup begins any more
}

// listenControl is called by the one process that holds the data file's lock, so a socket that is there is a leftover.
func listenControl(db *store.Store) (*control, error) {
	path := controlPath(db.Path())
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	mask := syscall.Umask(0o177)
	ln, err := net.Listen("unix", path)
	syscall.Umask(mask)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	ctx, cancel := context.WithCancel(context.Background())
	c := &control{path: path, done: make(chan struct{}), cancel: cancel}
	mux.HandleFunc("POST /backup", func(w http.ResponseWriter, r *http.Request) {
		if !c.begin() {
			http.Error(w, "the server is stopping", http.StatusServiceUnavailable)
			return
		}
		defer c.backups.Done()
		serveBackup(db, w, r)
	})
	mux.HandleFunc("GET /stats", func(w http.ResponseWriter, _ *http.Request) { json.NewEncoder(w).Encode(db.Stats()) })
	c.web = &http.Server{Handler: mux, ReadHeaderTimeout: headerTimeout,
		BaseContext: func(net.Listener) context.Context { return ctx }}
	go func() {
		defer close(c.done)
		c.web.Serve(ln)
	}()
	return c, nil
}

// begin counts a backup in, unless Close was called.
func (c *control) begin() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.backups.Add(1)
	}
	return !c.closed
}

// Close gives up what is under way and waits until nothing of it is left, neither a process that verifies nor half a file. It
// is idempotent.
func (c *control) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.cancel()
	err := c.web.Close()
	<-c.done
	c.backups.Wait()
	return err
}

// controlLine is one line of an answer.
type controlLine struct {
	Done, Total int64
	Info        *store.BackupInfo `json:",omitempty"`
	Error       string            `json:",omitempty"`
}

// serveBackup makes a backup and tells how far it is. A client that does not take what it is told, because it was suspended or its
// terminal is, misses some of that and holds nothing up: trimming waits for the copy.
func serveBackup(db *store.Store, w http.ResponseWriter, r *http.Request) {
	out := json.NewEncoder(w)
	lines, told := make(chan controlLine, 1), make(chan struct{})
	go func() {
		defer close(told)
		flush := http.NewResponseController(w).Flush
		for l := range lines {
			out.Encode(l)
			flush()
		}
	}()
	info, err := db.Backup(r.Context(), r.URL.Query().Get("to"), func(done, total int64) {
		select {
		case lines <- controlLine{Done: done, Total: total}:
		default:
		}
	})
	close(lines)
	<-told
	if err != nil {
		out.Encode(controlLine{Error: err.Error()})
		return
	}
	out.Encode(controlLine{Info: &info})
}

// errNoServer means that no server answers for the data file.
var errNoServer = errors.New("no server is running on it")

// askBackup asks the server that owns data to back it up.
func askBackup(ctx context.Context, data, to string, show func(done, total int64)) (info store.BackupInfo, err error) {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", controlPath(data))
	}
	t := &http.Transport{DialContext: dial}
	defer t.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://control/backup?to="+url.QueryEscape(to), nil)
	if err != nil {
		return info, err
	}
	res, err := (&http.Client{Transport: t}).Do(req)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
			return info, errNoServer
		}
		return info, err
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() {
		var l controlLine
		switch err := json.Unmarshal(lines.Bytes(), &l); {
		case err != nil:
			return info, err
		case l.Error != "":
			return info, errors.New(l.Error)
		case l.Info != nil:
			return *l.Info, nil
		}
		show(l.Done, l.Total)
	}
	return info, errors.Join(fmt.Errorf("the server ended before the backup was complete"), lines.Err())
}
