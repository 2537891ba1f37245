package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestFailStop lets the file system refuse a write in the middle of a load, in a way that a full disk does not (EFBIG). The
// server must stop at once, say so by its exit code and marker, and the next one must verify the file and go on, with
// nothing acknowledged lost.
func TestFailStop(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("writes until the file may not grow, and checks it twice")
	}
	srv := newServer(t)
	srv.start()
	h := newHistory()
	crowd := newCrowd(t, srv, h, rand.New(rand.NewPCG(7, 7)))
	if err := h.sleep(t.Context(), 200*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	srv.stop()

	plain := srv.opts.Exe
	srv.opts.Exe = limited(t, plain, srv.opts.Data)
	srv.start()
	select {
	case <-srv.proc.Exited():
	case <-time.After(time.Minute):
		t.Fatal("the server does not stop")
	}
	if exit, ok := errors.AsType[*exec.ExitError](srv.proc.Err()); !ok || exit.ExitCode() != 3 {
		t.Fatalf("it ended with %v:\n%s", srv.proc.Err(), srv.proc.Stderr())
	}
	if _, err := os.Stat(srv.opts.Data + ".failed"); err != nil {
		t.Error(err)
	}

	srv.opts.Exe = plain
	srv.start()
	if _, err := os.Stat(srv.opts.Data + ".failed"); err == nil {
		t.Error("the marker is still there")
	}
	crowd.finish()
	for _, problem := range h.judge(srv.readLog()) {
		t.Error(problem)
	}
	srv.stop()
	srv.check()
}

// limited returns a program that runs exe, and may not let the file grow by more than 512 KiB.
func limited(t *testing.T, exe, file string) string {
	t.Helper()
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(t.TempDir(), "limited")
	text := fmt.Sprintf("#!/bin/sh\nulimit -f %d\nexec %q \"$@\"\n", info.Size()/512+1024, exe)
	if err := os.WriteFile(script, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return script
}
