package wire

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"tidemark/store"
)

// TestDocument holds docs/protocol.md to what this package knows: every code, close code and message is in it, and every
// frame that it shows in full is one.
func TestDocument(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "protocol.md"))
	if err != nil {
		t.Fatal(err)
	}
	doc := string(text)
	for code := range codes {
		if !strings.Contains(doc, "`"+string(code)+"`") {
			t.Errorf("code %s is missing", code)
		}
	}
	for _, c := range []Close{CloseShutdown, CloseGoingAway, CloseSlow, CloseSilent, CloseOverloaded, CloseReplaced, CloseProtocol,
		CloseUnauthorized, CloseForbidden, CloseUpgrade} {
		row := regexp.MustCompile(`(?m)^\|[^|]*\b` + store.Seq(c.Code).String() + `\b[^|]*\| .` + c.Reason + `. \|`)
		if !row.MatchString(doc) {
			t.Errorf("close code %d %s is missing", c.Code, c.Reason)
		}
	}
	checkExamples(t, doc)
}

// checkExamples decodes the frames that stand on one line without an ellipsis.
func checkExamples(t *testing.T, doc string) {
	frames := regexp.MustCompile(`(?m)^    ([→←]) (\{[^…<\n]*\})$`).FindAllStringSubmatch(doc, -1)
	if len(frames) < 8 {
		t.Errorf("only %d examples found", len(frames))
	}
	for _, f := range frames {
		if f[1] == "→" {
			d := Decoder{Limits: Limits{}.WithDefaults()}
			if _, fault := d.Decode([]byte(f[2])); fault != nil {
				t.Errorf("%s: %v", f[2], fault)
			}
		} else if _, err := DecodeServer([]byte(shortIDs.ReplaceAllString(f[2], `"$1":"0192a0b1-0000-7000-8000-000000000001"`))); err != nil {
			t.Errorf("%s: %v", f[2], err)
		}
	}
}

// shortIDs are ids that the document abbreviates to a letter.
var shortIDs = regexp.MustCompile(`"(id|log)":"[A-Z]"`)
