package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"time"
)

// Figure is one measured number.
type Figure struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
}

// Result is what one measurement brought.
type Result struct {
	Name    string   `json:"name"`
	Figures []Figure `json:"figures"`
	Server  []Figure `json:"server,omitempty"` // what the server held beside it
	Go      string   `json:"go"`
	CPUs    int      `json:"cpus"`
	At      string   `json:"at"`
}

// report prints what was measured, and what the server held: what was sampled, or (nil) as it stands now.
func (b *Bench) report(ctx context.Context, name string, held []Figure, fs ...Figure) error {
	if held == nil && b.server != nil {
		held = b.watch(ctx).end(ctx)
	}
	if b.events > 0 {
		name += fmt.Sprintf(", on a file of %d events", b.events)
	}
	if b.Memory > 0 {
		name += fmt.Sprintf(", server in %d MiB", b.Memory>>20)
	}
	r := Result{name, fs, held, runtime.Version(), runtime.NumCPU(), time.Now().UTC().Format(time.RFC3339)}
	b.results = append(b.results, r)
	if b.JSON {
		return json.NewEncoder(b.Out).Encode(r)
	}
	r.print(b.Out)
	return nil
}

func (r *Result) print(w io.Writer) {
	fmt.Fprintf(w, "%s\n", r.Name)
	for _, fs := range [][]Figure{r.Figures, r.Server} {
		for _, f := range fs {
			fmt.Fprintf(w, "  %-28s %12s %s\n", f.Name, number(f.Value), f.Unit)
		}
	}
}

// number prints four significant digits, without an exponent, and whole numbers as such.
func number(v float64) string {
	switch {
	case v >= 1000 || v == float64(int64(v)):
		return fmt.Sprintf("%.0f", v)
	case v >= 100:
		return fmt.Sprintf("%.1f", v)
	case v >= 1:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.4f", v)
}

func latencies(prefix string, h *histogram) []Figure {
	return []Figure{{prefix + "p50", ms(h, 0.5), "ms"}, {prefix + "p99", ms(h, 0.99), "ms"}, {prefix + "max", ms(h, 1), "ms"}}
}

// ms returns a quantile in milliseconds.
func ms(h *histogram, q float64) float64 { return h.quantile(q).Seconds() * 1000 }

// ratio compares the medians of two histograms.
func ratio(name string, h, to *histogram) Figure {
	return Figure{name, float64(h.quantile(0.5)) / float64(max(to.quantile(0.5), 1)), "×"}
}
