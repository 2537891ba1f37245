package bench

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// All measures every row of the table in docs/benchmarks.md and prints that table. What is measured is kept in a file, row by
// row, and not measured again; so a run that was cut short goes on where it was.
type All struct {
	Quick   bool     `help:"Tiny sizes: shows in seconds that everything works. The figures mean nothing."`
	Only    []string `help:"Measure these rows only." placeholder:"ROW"`
	Results string   `default:"bench-results.jsonl" help:"File that keeps what was measured; without a row's line the row is measured again." type:"path"`
}

// rowResult is a line of the file of results.
type rowResult struct {
	Row     string   `json:"row"`
	Machine string   `json:"machine"`
	Before  float64  `json:"before_ms"` // p50 of fdatasync, milliseconds
	After   float64  `json:"after_ms"`
	Results []Result `json:"results"`
	Skipped string   `json:"-"` // why it could not be measured
}

// run is what All works with.
type run struct {
	*Bench
	sizes *sizes
	dir   string // where data files are
}

// Run implements Scenario.
func (a *All) Run(ctx context.Context, b *Bench) error {
	if b.Server != "" || b.hasBase() || b.Memory > 0 || b.JSON {
		return errors.New("bench: all chooses its servers, files and output itself")
	}
	r := &run{Bench: b, sizes: &fullSizes, dir: cmp.Or(b.Dir, ".")}
	if a.Quick {
		r.sizes = &quickSizes
	}
	rows, err := a.chosen(r.sizes.rows())
	if err != nil {
		return err
	}
	have, err := readResults(a.Results)
	if err != nil {
		return err
	}
	var table []rowResult
	var failed error
	for _, w := range rows {
		got, ok := have[w.name]
		if ok {
			b.Say(w.name + ": measured already")
		} else if got, err = r.measure(ctx, &w); err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", w.name, err))
			got.Skipped = "failed"
			b.Say(fmt.Sprintf("%s: %v", w.name, err))
		} else if err := appendResult(a.Results, &got); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return failed
		}
		table = append(table, got)
	}
	printTable(b.Out, table)
	return failed
}

// chosen returns the rows that were asked for.
func (a *All) chosen(rows []row) ([]row, error) {
	if len(a.Only) == 0 {
		return rows, nil
	}
	var names []string
	for _, w := range rows {
		names = append(names, w.name)
	}
	for _, name := range a.Only {
		if !slices.Contains(names, name) {
			return nil, fmt.Errorf("bench: there is no row %s; the rows are %s", name, strings.Join(names, ", "))
		}
	}
	return slices.DeleteFunc(rows, func(w row) bool { return !slices.Contains(a.Only, w.name) }), nil
}

// measure runs one row, between two looks at the disk.
func (r *run) measure(ctx context.Context, w *row) (rowResult, error) {
	got := rowResult{Row: w.name}
	one := &Bench{Common: r.Common, Memory: w.memory, Out: io.Discard, Progress: r.Progress, Say: r.Say}
	one.IDs, one.Profile = cmp.Or(w.ids, "v7"), ""
	if w.payload > 0 {
		one.Payload = w.payload
	}
	one.Dir = r.dir
	if w.ramDisk {
		one.Dir = "/dev/shm"
		if _, err := os.Stat(one.Dir); err != nil {
			got.Skipped = "no RAM disk"
			r.Say(w.name + ": " + got.Skipped)
			return got, nil
		}
	}
	if w.large {
		one.Preload = r.sizes.large
		one.Data = filepath.Join(r.Bench.dir, "large-"+one.IDs+".tidemark")
		one.layout = (&Replay{Others: r.sizes.wide, Share: 10}).between()
	}
	got.Machine = machine(one.Dir)
	r.Say(w.name)
	var err error
	if got.Before, err = r.disk(one.Dir); err != nil {
		return got, err
	}
	switch err := one.Run(ctx, w.scenario); {
	case errors.Is(err, errNoGroup):
		got.Skipped = err.Error()
		r.Say(w.name + ": " + got.Skipped)
		return got, nil
	case err != nil:
		return got, err
	}
	got.Results = one.results
	got.After, err = r.disk(one.Dir)
	return got, err
}

// disk returns the median of fdatasync in a folder in milliseconds.
func (r *run) disk(dir string) (float64, error) {
	d, err := diskP50(filepath.Join(dir, fmt.Sprintf(".tidemark-probe-%d", os.Getpid())), r.sizes.probes)
	return float64(d) / float64(time.Millisecond), err
}

// readResults returns the rows that a file holds, by name; the later line counts.
func readResults(path string) (map[string]rowResult, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	have := make(map[string]rowResult)
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var r rowResult
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return nil, fmt.Errorf("bench: %s: %w", path, err)
		}
		have[r.Row] = r
	}
	return have, lines.Err()
}

func appendResult(path string, r *rowResult) error {
	if r.Skipped != "" {
		return nil // another run may be able to
	}
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(append(line, '\n'))
	return errors.Join(err, f.Close())
}
