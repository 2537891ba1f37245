package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"tidemark/internal/child"
)

// TestReadmeTour does what the README's tour says, line by line, and compares what comes with what it shows.
func TestReadmeTour(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a process for each line")
	}
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	steps := tourSteps(string(text))
	if len(steps) < 10 {
		t.Fatalf("only %d steps found", len(steps))
	}
	dir := t.TempDir()
	for _, s := range steps {
		if s.command == "" {
			srv, err := child.Start(t.Context(), child.Options{Exe: tidemarkBinary(t), Data: filepath.Join(dir, "data.tidemark")})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { srv.Kill() })
			t.Setenv("TIDEMARK_SERVER", srv.URL)
			continue
		}
		s.run(t, dir)
	}
}

// tourStep is one command of the tour, without "go run .", and the lines that it shows.
type tourStep struct {
	command string
	shows   []string
}

func tourSteps(readme string) (steps []tourStep) {
	open := false
	for line := range strings.Lines(readme) {
		line, code := strings.CutPrefix(strings.TrimRight(line, "\n"), "    ")
		command, is := strings.CutPrefix(line, "$ go run .")
		switch {
		case !code:
			open = false
		case is:
			open = true
			steps = append(steps, tourStep{command: strings.TrimSpace(command)})
		case open:
			last := &steps[len(steps)-1]
			last.shows = append(last.shows, line)
		}
	}
	return steps
}

// run compares by pattern: "…" is anything, and so are times. A command that shows nothing only has to work, or, when it
// follows a stream for ever, to begin.
func (s *tourStep) run(t *testing.T, dir string) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	follows := strings.HasPrefix(s.command, "tail ")
	if follows {
		limited, stop := context.WithTimeout(ctx, 1500*time.Millisecond)
		defer stop()
		ctx = limited
	}
	cmd := exec.CommandContext(ctx, "sh", "-c", "exec tidemark "+s.command)
	cmd.Dir = dir
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	got := strings.TrimSpace(out.String())
	if len(s.shows) == 0 {
		if err != nil && !follows {
			t.Errorf("%s: %v\n%s", s.command, err, got)
		}
		return
	}
	pattern := regexp.QuoteMeta(strings.Join(s.shows, "\n"))
	pattern = strings.ReplaceAll(pattern, "…", ".*")
	pattern = regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\\\.\d{3}`).ReplaceAllString(pattern, `\d{4}-\d\d-\d\d [\d:.]+`)
	if !regexp.MustCompile("^" + pattern + "$").MatchString(got) {
		t.Errorf("%s shows:\n%s\nThe README says:\n%s", s.command, got, strings.Join(s.shows, "\n"))
	}
}
