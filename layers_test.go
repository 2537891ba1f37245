package main

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const module = "tidemark/"

// layers says what each of our packages may import of ours; imports point one way only (docs/decisions, ARCHITECTURE.md).
// A folder's entry holds for what is below it, too, unless that has its own. Test files may import more.
var layers = map[string][]string{
	"store":                   {},
	"store/storetest":         {"store"},
	"sync":                    {"store"},
	"internal/wire":           {"store"},
	"internal/auth":           {"store", "sync"},
	"internal/respond":        {},
	"internal/origin":         {},
	"internal/httpapi":        {"store", "sync", "internal/wire", "internal/auth", "internal/respond", "internal/origin"},
	"internal/child":          {"store"},
	"internal/smalldisk":      {},
	"internal/bench":          {"store", "client", "internal/child"},
	"internal/durablestreams": {"store", "sync", "internal/wire", "internal/auth", "internal/respond"},
	"internal":                {"store", "sync", "internal/wire", "internal/auth"},
	"wsapi":                   {"store", "sync", "internal/wire", "internal/origin"},
	"client":                  {"store", "internal/wire"},
	"internal/cli":            {"store", "sync", "wsapi", "client", "internal"},
	".":                       {"store", "sync", "wsapi", "client", "internal"},
}

// TestLayers walks every Go file that belongs to the product.
func TestLayers(t *testing.T) {
	seen := 0
	err := filepath.WalkDir(".", func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (p == "web" || d.Name() == "testdata" || (p != "." && strings.HasPrefix(d.Name(), "."))):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(p, ".go"):
			return nil
		}
		seen++
		checkImports(t, filepath.ToSlash(p))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen < 50 {
		t.Fatalf("only %d files seen: the walk is broken", seen)
	}
}

func checkImports(t *testing.T, file string) {
	f, err := parser.ParseFile(token.NewFileSet(), filepath.FromSlash(file), nil, parser.ImportsOnly)
	if err != nil {
		t.Error(err)
		return
	}
	for _, spec := range f.Imports {
		name, _ := strconv.Unquote(spec.Path.Value)
		alias := ""
		if spec.Name != nil {
			alias = spec.Name.Name
		}
		ours, isOurs := strings.CutPrefix(name, module)
		switch {
		case !isOurs:
			if alias == "eventsync" {
				t.Errorf("%s: the alias eventsync is for our sync, not for %s", file, name)
			}
		case ours == "sync" && alias != "eventsync":
			t.Errorf("%s: import our sync as eventsync", file)
		case strings.HasSuffix(file, "_test.go"):
		case !mayImport(path.Dir(file), ours):
			t.Errorf("%s: %s may not import %s; imports point one way: main, edges, sync, store", file, path.Dir(file), ours)
		}
	}
}

// mayImport looks up the nearest entry of layers for the folder; packages below one folder may import each other.
func mayImport(dir, imported string) bool {
	at := dir
	for layers[at] == nil && at != "." {
		at = path.Dir(at)
	}
	for _, allowed := range layers[at] {
		if imported == allowed || strings.HasPrefix(imported, allowed+"/") {
			return true
		}
	}
	return at != "." && strings.HasPrefix(imported, at+"/")
}
