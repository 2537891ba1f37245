package cli

import (
	"encoding/json"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"os"
	"syscall"

	"tidemark/store"
)

// A running server owns its data file, so other commands ask it through a Unix socket beside the file. Who may open the
// socket is decided by its mode, 0600: the user that runs the server.

func controlPath(data string) string { return data + ".sock" }

// control serves the commands of the same user on the same machine.
type control struct {
	web  *http.Server
	path string
	done chan struct{}
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
	mux.HandleFunc("GET /stats", func(w http.ResponseWriter, _ *http.Request) { json.NewEncoder(w).Encode(db.Stats()) })
	c := &control{web: &http.Server{Handler: mux, ReadHeaderTimeout: headerTimeout}, path: path, done: make(chan struct{})}
	go func() {
		defer close(c.done)
		c.web.Serve(ln)
	}()
	return c, nil
}

// Close ends what is under way.
func (c *control) Close() error {
	err := c.web.Close()
	<-c.done
	return err
}
