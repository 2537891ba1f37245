package bench

import (
	"fmt"
	"io"
	"strings"
)

// printTable prints rows as Markdown, one line for each result, and the machines above them.
func printTable(w io.Writer, rows []rowResult) {
	seen := map[string]bool{"": true}
	for _, r := range rows {
		if !seen[r.Machine] {
			seen[r.Machine] = true
			fmt.Fprintf(w, "Machine (%s): %s.\n", r.Row, r.Machine)
		}
	}
	fmt.Fprint(w, "\n| row | work | measured | server | fdatasync p50 before / after |\n|---|---|---|---|---|\n")
	for _, r := range rows {
		if r.Skipped != "" {
			fmt.Fprintf(w, "| %s | %s | | | |\n", r.Row, r.Skipped)
		}
		for _, one := range r.Results {
			fmt.Fprintf(w, "| %s | %s | %s | %s | %s / %s ms |\n", r.Row, one.Name, inline(one.Figures), inline(one.Server),
				number(r.Before), number(r.After))
		}
	}
}

// inline writes figures in one line.
func inline(fs []Figure) string {
	parts := make([]string, len(fs))
	for i, f := range fs {
		parts[i] = strings.TrimSpace(fmt.Sprintf("%s %s %s", f.Name, number(f.Value), f.Unit))
	}
	return strings.Join(parts, ", ")
}
