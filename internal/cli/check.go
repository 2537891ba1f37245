package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"

	"tidemark/store"
)

type checkCmd struct {
	File  string `arg:"" help:"Data file; no server may be running on it." type:"existingfile"`
	JSON  bool   `name:"json" help:"Print the report as JSON."`
	Child bool   `hidden:"" help:"Do the work and print it for the parent."`
}

// Run checks the file in a process of its own, because a badly damaged file can crash the one that reads it. It fails when
// anything is wrong.
func (c *checkCmd) Run(ctx context.Context, sys *system) error {
	if c.Child {
		return c.work(ctx, sys)
	}
	report, err := checkFile(ctx, sys, c.File)
	if err != nil {
		return err
	}
	if c.JSON {
		if err := json.NewEncoder(sys.out).Encode(report); err != nil {
			return err
		}
	} else {
		printReport(sys.out, report)
	}
	if len(report.Problems) > 0 {
		return errQuiet
	}
	return nil
}

// checkLine is one line from the child.
type checkLine struct {
	Done, Total int64
	Report      *store.Report `json:",omitempty"`
	Error       string        `json:",omitempty"`
}

func (c *checkCmd) work(ctx context.Context, sys *system) error {
	out := json.NewEncoder(sys.out)
	report, err := store.Check(ctx, c.File, func(done, total int64) { out.Encode(checkLine{Done: done, Total: total}) })
	if err != nil {
		return out.Encode(checkLine{Error: err.Error()})
	}
	return out.Encode(checkLine{Report: &report})
}

// checkFile runs the child and shows its progress.
func checkFile(ctx context.Context, sys *system, file string) (store.Report, error) {
	exe, err := os.Executable()
	if err != nil {
		return store.Report{}, err
	}
	cmd := exec.CommandContext(ctx, exe, "check", "--child", "--", file)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return store.Report{}, err
	}
	if err := cmd.Start(); err != nil {
		return store.Report{}, err
	}
	report, err := readCheck(sys, out)
	io.Copy(io.Discard, out)
	if waitErr := cmd.Wait(); waitErr != nil && report == nil && err == nil {
		first, _, _ := bytes.Cut(stderr.Bytes(), []byte("\n"))
		return store.Report{}, fmt.Errorf("%s is so badly damaged that reading it crashed the check (%w: %s)", file, waitErr, first)
	}
	if err != nil {
		return store.Report{}, err
	}
	return *report, nil
}

func readCheck(sys *system, out io.Reader) (*store.Report, error) {
	p := sys.progress("check")
	defer p.done()
	lines := bufio.NewReader(out)
	for {
		text, err := lines.ReadBytes('\n')
		if err != nil {
			return nil, nil // the child's exit tells more
		}
		var l checkLine
		switch err := json.Unmarshal(text, &l); {
		case err != nil:
			return nil, err
		case l.Error != "":
			return nil, errors.New(l.Error)
		case l.Report != nil:
			return l.Report, nil
		}
		p.show(l.Done, l.Total)
	}
}

func printReport(w io.Writer, r store.Report) {
	verdict := "ok"
	if len(r.Problems) > 0 {
		verdict = "damaged"
	}
	fmt.Fprintf(w, "%s: log %s  head %d  floor %d\n", verdict, r.Log, r.Head, r.Floor)
	fmt.Fprintf(w, "  %d events in %d streams, %d documents, %d ids\n", r.Events, r.Streams, r.Docs, r.IDs)
	for _, p := range r.Problems {
		fmt.Fprintf(w, "  %s\n", plain(p.String()))
	}
	if r.More > 0 {
		fmt.Fprintf(w, "  and %d more\n", r.More)
	}
}
