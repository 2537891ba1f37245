package httpapi

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"tidemark/internal/auth"
	"tidemark/store"
)

// recorder takes an answer, for a short time: then the reader is gone.
type recorder struct {
	*httptest.ResponseRecorder
	ctx context.Context
}

func newRecorder(t *testing.T) *recorder {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	t.Cleanup(cancel)
	return &recorder{httptest.NewRecorder(), ctx}
}

var fuzzOnce struct {
	sync.Once
	s *server
}

// fuzzServer is one server for all inputs of a fuzz worker.
func fuzzServer(t *testing.T) *server {
	fuzzOnce.Do(func() {
		dir, err := os.MkdirTemp("", "httpapi")
		if err != nil {
			t.Fatal(err)
		}
		atExit = append(atExit, func() { os.RemoveAll(dir) })
		quiet := slog.New(slog.DiscardHandler)
		db, err := store.Open(filepath.Join(dir, "log"), store.Options{Logger: quiet})
		if err != nil {
			t.Fatal(err)
		}
		api, err := New(Options{Log: db, Live: still{}, Authenticate: auth.Everybody(), Logger: quiet})
		if err != nil {
			t.Fatal(err)
		}
		fuzzOnce.s = &server{db: db, api: api}
	})
	return fuzzOnce.s
}

// still is an engine where nothing ever happens.
type still struct{}

func (still) Wait(ctx context.Context, _ store.Filter, _ store.Seq) error {
	<-ctx.Done()
	return ctx.Err()
}

func (still) Signal(store.Stream, string, []byte) {}

var atExit []func()

func TestMain(m *testing.M) {
	code := m.Run()
	for _, f := range atExit {
		f()
	}
	os.Exit(code)
}
