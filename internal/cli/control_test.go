package cli

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tidemark/store"
)

// stuckWriter is a client that takes nothing before it is let go.
type stuckWriter struct {
	http.ResponseWriter
	free chan struct{}
}

func (w stuckWriter) Write(b []byte) (int, error) {
	<-w.free
	return w.ResponseWriter.Write(b)
}

// TestBackupForAClientThatIsSuspended: the backup is made, whether somebody reads how far it is or not.
func TestBackupForAClientThatIsSuspended(t *testing.T) {
	dir := t.TempDir()
	db, err := store.Open(filepath.Join(dir, "a.tidemark"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	p := &store.Push{By: "tester", Mutations: []store.Mutation{{ID: store.NewID(), Stream: "s", Type: "t", Data: []byte("1")}}}
	if _, err := db.AppendWait(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(dir, "b.tidemark")
	answer := httptest.NewRecorder()
	w := stuckWriter{answer, make(chan struct{})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		serveBackup(db, w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/backup?to="+url.QueryEscape(to), nil))
	}()
	deadline := time.Now().Add(time.Minute)
	for _, err := os.Stat(to); err != nil; _, err = os.Stat(to) {
		if time.Now().After(deadline) {
			t.Error("the backup waits for its client")
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	close(w.free)
	<-done
	if !strings.Contains(answer.Body.String(), `"Info":{`) {
		t.Errorf("the answer was %s", answer.Body)
	}
}
