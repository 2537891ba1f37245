package main

import (
	"context"
	"os/exec"
	"sync"

	"github.com/rogpeppe/go-internal/testscript"

	"tidemark/internal/child"
)

// servers are the running servers of scripts, one for each.
type servers struct {
	mu sync.Mutex
	of map[string]*child.Server // by the script's folder
}

var scriptServers = servers{of: make(map[string]*child.Server)}

func (s *servers) start(ts *testscript.TestScript, args []string) {
	exe, err := exec.LookPath("tidemark")
	ts.Check(err)
	proc, err := child.Start(context.Background(), child.Options{Exe: exe, Data: ts.MkAbs("data.tidemark"), Args: args})
	ts.Check(err)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.of[ts.Getenv("WORK")] = proc
	ts.Setenv("TIDEMARK_SERVER", proc.URL)
	ts.Defer(func() { proc.Kill() })
}

func (s *servers) take(ts *testscript.TestScript) *child.Server {
	s.mu.Lock()
	defer s.mu.Unlock()
	proc := s.of[ts.Getenv("WORK")]
	if proc == nil {
		ts.Fatalf("no server is running")
	}
	delete(s.of, ts.Getenv("WORK"))
	return proc
}
