package bench

import (
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// TestRowsAreScenarios shows that no scenario is missing in the table, and that no name stands for two rows.
func TestRowsAreScenarios(t *testing.T) {
	want := []Scenario{&Append{}, &Latency{}, &Replay{}, &Fanout{}, &Arrival{}, &Storm{}, &Idle{}, &Start{}, &Stopped{}, &Growth{}, &HTTP{}}
	for _, z := range []*sizes{&fullSizes, &quickSizes} {
		seen := map[string]bool{}
		var kinds []reflect.Type
		for _, w := range z.rows() {
			if seen[w.name] {
				t.Errorf("two rows are called %s", w.name)
			}
			seen[w.name] = true
			kinds = append(kinds, reflect.TypeOf(w.scenario))
			// What was forgotten in a row would be measured as nothing.
			v := reflect.ValueOf(w.scenario).Elem()
			for i := range v.NumField() {
				if v.Field(i).IsZero() {
					t.Errorf("row %s: %s is not set", w.name, v.Type().Field(i).Name)
				}
			}
		}
		for _, s := range want {
			if !slices.Contains(kinds, reflect.TypeOf(s)) {
				t.Errorf("no row measures %T", s)
			}
		}
	}
}

func TestResultsAreKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "results")
	have, err := readResults(path)
	if err != nil || len(have) != 0 {
		t.Fatal(have, err)
	}
	one := Result{Name: "n", Figures: []Figure{{"appends", 2000, "/s"}}, Server: []Figure{{"memory max", 1.5, "MB"}}}
	for _, r := range []rowResult{{Row: "a", Before: 1}, {Row: "b", Skipped: "no RAM disk"}, {Row: "a", Before: 2, Results: []Result{one}}} {
		if err := appendResult(path, &r); err != nil {
			t.Fatal(err)
		}
	}
	have, err = readResults(path)
	if err != nil || len(have) != 1 || have["a"].Before != 2 {
		t.Fatal(have, err)
	}
	var out strings.Builder
	printTable(&out, []rowResult{have["a"], {Row: "b", Skipped: "no RAM disk"}})
	for _, want := range []string{"| a | n | appends 2000 /s | memory max 1.50 MB | 2 / 0 ms |\n", "| b | no RAM disk | | | |\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, out.String())
		}
	}
}
