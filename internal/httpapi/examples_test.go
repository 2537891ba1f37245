package httpapi

import (
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestExamplesOfDocs runs every command of docs/http.md, in order, against one server, and compares what comes with what stands below it.
func TestExamplesOfDocs(t *testing.T) {
	text, err := os.ReadFile("../../docs/http.md")
	if err != nil {
		t.Fatal(err)
	}
	s := newServer(t)
	parts := strings.Split(string(text), "```")
	ran := 0
	for i := 1; i+2 < len(parts); i += 2 {
		command, ok := strings.CutPrefix(parts[i], "sh\n")
		want, has := strings.CutPrefix(parts[i+2], "json\n")
		if !ok || !has {
			continue
		}
		ran++
		cmd := exec.CommandContext(t.Context(), "sh", "-c", strings.ReplaceAll(command, "http://127.0.0.1:8080", s.URL))
		out, err := cmd.Output()
		if err != nil && len(out) == 0 {
			t.Fatalf("%s%v", command, err)
		}
		var w, g any
		if json.Unmarshal([]byte(want), &w) != nil || json.Unmarshal(out, &g) != nil || !alike(w, g) {
			t.Errorf("%s\n got %s\nwant %s", command, out, want)
		}
	}
	if ran < 14 {
		t.Errorf("only %d commands found", ran)
	}
}
