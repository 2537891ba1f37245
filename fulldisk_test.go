package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tidemark/internal/smalldisk"
)

// TestFullDisk fills the disk of a real server under it. Writes are refused with read_only and "later", those behind the
// first refused one, too, however small they are; reads go on. Once there is room the same ids are accepted in their order.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	dir := smalldisk.Mount(t, "64m")
	srv := newServer(t)
	srv.opts.Data = filepath.Join(dir, "data.tidemark")
	srv.start()
	l := dialRaw(t, srv.opts.Listen)
	l.send([]byte(`{"type":"hello"}`))
	l.expect(`"type":"welcome"`)

	ballast := filepath.Join(dir, "ballast")
	smalldisk.Fill(t, ballast)
	big := strings.Repeat("x", 200<<10)
	var refused int
	for n := 1; refused == 0; n++ {
		if n > 400 {
			t.Fatal("the disk never fills")
		}
		if r := l.push(note(n, big))[0]; r.Error != nil {
			r.isReadOnly(t)
			refused = n
		}
	}
	if refused < 2 {
		t.Fatal("nothing was written before the disk was full: the reserve is not there")
	}
	status, text := get(t, srv.url()+"/readyz")
	if status != http.StatusServiceUnavailable {
		t.Errorf("readyz says %d %s", status, text)
	}
	if status, text := get(t, srv.url()+"/v1/events/a?since=0&limit=1"); status != http.StatusOK || !strings.Contains(text, `"seq":1`) {
		t.Errorf("reading gets %d %.100s", status, text)
	}

	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	waitReady(t, srv.url())
	l.push(note(refused+1, "small"))[0].isReadOnly(t) // the order lock: the first refused one has to come first
	rs := l.push(note(refused, big), note(refused+1, "small"))
	for i, r := range rs {
		if r.Error != nil || r.Seq != refused+i {
			t.Errorf("resent mutation %d got %+v", i, r)
		}
	}
	if r := l.push(note(1, big))[0]; !r.Dup || r.Seq != 1 {
		t.Errorf("what was acknowledged before got %+v", r)
	}
	srv.stop()
	srv.check()
}

// pushResult is one result of an ack.
type pushResult struct {
	Seq   int
	Dup   bool
	Error *struct {
		Code  string
		Later bool
	}
}

func (r pushResult) isReadOnly(t *testing.T) {
	t.Helper()
	if r.Error == nil || r.Error.Code != "read_only" || !r.Error.Later {
		t.Fatalf("got %+v, not read_only with later", r)
	}
}

// note is the n-th mutation.
func note(n int, data string) string {
	return fmt.Sprintf(`{"id":"0192a0b1-0000-7000-8000-%012d","type":"note","data":%q}`, n, data)
}

// push sends mutations and returns their results.
func (l *rawLine) push(mutations ...string) []pushResult {
	l.t.Helper()
	l.nc.SetDeadline(time.Now().Add(30 * time.Second))
	l.send([]byte(`{"type":"push","stream":"a","mutations":[` + strings.Join(mutations, ",") + `]}`))
	_, text := l.frame()
	var ack struct {
		Type    string
		Results []pushResult
	}
	if err := json.Unmarshal(text, &ack); err != nil || ack.Type != "ack" || len(ack.Results) != len(mutations) {
		l.t.Fatalf("got %s", text)
	}
	return ack.Results
}

func get(t *testing.T, url string) (status int, text string) {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

// waitReady waits until the server has noticed that there is room.
func waitReady(t *testing.T, url string) {
	t.Helper()
	every := time.NewTicker(50 * time.Millisecond)
	defer every.Stop()
	for range 1200 {
		if status, _ := get(t, url+"/readyz"); status == http.StatusOK {
			return
		}
		<-every.C
	}
	t.Fatal("the server does not become ready again")
}
