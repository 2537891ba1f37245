package store

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// TestFuzzSeeds fails when a fuzz target of this package has no seeds: without them it tests nothing in CI.
func TestFuzzSeeds(t *testing.T) {
	files, err := filepath.Glob("*_test.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("test files: %v, %v", files, err)
	}
	target := regexp.MustCompile(`(?ms)^func (Fuzz\w+)\(.*?^}`)
	found := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range target.FindAllSubmatch(text, -1) {
			found++
			if bytes.Contains(m[0], []byte("f.Add(")) {
				continue
			}
			dir := filepath.Join("testdata", "fuzz", string(m[1]))
			if seeds, err := os.ReadDir(dir); err != nil || len(seeds) < 3 {
				t.Errorf("%s: %d seeds in %s, want at least 3 (%v)", file, len(seeds), dir, err)
			}
		}
	}
	if found == 0 {
		t.Error("no fuzz target found")
	}
}
