package durablestreams

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"tidemark/store"
)

func TestOffsets(t *testing.T) {
	for text, want := range map[string]store.Seq{
		"0000000000000000": 0, "0000000000000042": 42, "9007199254740991": store.MaxSeq, "0000000000000007_0000000000000000": 7,
	} {
		if got, err := parseOffset(text); err != nil || got != want {
			t.Errorf("%s: %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "1", "-1", "now", "000000000000000x", "9007199254740992", "0000000000000001_1", "0000000000000001_", "00000000000000011"} {
		if _, err := parseOffset(text); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
	if a, b := formatOffset(9), formatOffset(10); a >= b {
		t.Errorf("%s is not before %s", a, b)
	}
}

func TestExtra(t *testing.T) {
	for _, c := range []claim{{}, {"p", 0, 0}, {"p\u00e4", 1 << 52, 7}} {
		for _, label := range []string{"", "001"} {
			b := appendTag(appendExtra(nil, c, label), 99, []byte("of others"))
			if gotC, gotL := parseExtra(b); gotC != c || gotL != label {
				t.Errorf("%v %q: %v %q", c, label, gotC, gotL)
			}
		}
	}
}

func FuzzExtra(f *testing.F) {
	f.Add([]byte{16, 3, 1, 2, 'p'})
	f.Add([]byte{17, 200})
	f.Add(appendExtra(nil, claim{"p", 1, 2}, "x"))
	f.Fuzz(func(t *testing.T, b []byte) { parseExtra(b) })
}

func TestGlob(t *testing.T) {
	for _, c := range []struct {
		pattern, path string
		want          bool
	}{
		{"events/*", "events/a", true}, {"events/*", "events/a/b", false}, {"events/*", "events", false},
		{"**", "a/b/c", true}, {"a/**", "a", true}, {"a/**", "a/b/c", true}, {"a/**/z", "a/z", true}, {"a/**/z", "a/b/c/z", true},
		{"a/**/z", "a/b/c", false}, {"*/x", "y/x", true}, {"a", "a", true}, {"a", "b", false},
	} {
		if got := globParts(strings.Split(c.pattern, "/"), strings.Split(c.path, "/")); got != c.want {
			t.Errorf("%s on %s: %v", c.pattern, c.path, got)
		}
	}
	for pattern, want := range map[string]string{"events/*": "events/**", "*": "**", "a/b": "a/b", "a/**/b": "a/**", "a/x*y/b": "a/**"} {
		if got := covering(pattern).String(); got != want {
			t.Errorf("%s is covered by %s, want %s", pattern, got, want)
		}
	}
}

func TestCursor(t *testing.T) {
	now := cursorEpoch.Add(100 * cursorInterval)
	if got := nextCursor("", now); got != "100" {
		t.Errorf("%s", got)
	}
	for _, given := range []string{"99", "x", "-5"} {
		if got := nextCursor(given, now); got != "100" {
			t.Errorf("after %s: %s", given, got)
		}
	}
	if got := nextCursor("100", now); got <= "100" && len(got) == 3 {
		t.Errorf("after 100: %s", got)
	}
}

// FuzzValues compares the split of a JSON body with encoding/json.
func FuzzValues(f *testing.F) {
	f.Add([]byte(`[1,"a,]\"",{"x":[1,2]},[[]]]`))
	f.Add([]byte(` {"a" : 1} `))
	f.Add([]byte(`[[1,2],3`))
	c := &call{Server: &Server{Options: Options{MaxMessage: 1 << 20, MaxMessages: 1000}}}
	f.Fuzz(func(t *testing.T, body []byte) {
		list, err := c.values(body)
		var whole any
		if json.Unmarshal(body, &whole) != nil || err != nil {
			return
		}
		want, ok := whole.([]any)
		if !ok {
			want = []any{whole}
		}
		got := []any{}
		for _, m := range list {
			var v any
			if err := json.Unmarshal(m.Data, &v); err != nil {
				t.Fatalf("%s: %v", m.Data, err)
			}
			got = append(got, v)
		}
		if !reflect.DeepEqual(got, want) && len(got)+len(want) > 0 {
			t.Fatalf("%s: %v", body, got)
		}
	})
}

// FuzzLines puts any text into a server-sent event and reads it as browsers do: nothing ends the event early.
func FuzzLines(f *testing.F) {
	f.Add("a\r\n\r\nevent: control\rdata: x\n\n b")
	f.Add(" ")
	f.Add("\n")
	f.Fuzz(func(t *testing.T, text string) {
		out := string(appendLines(nil, []byte(text)))
		var lines []string
		for line := range strings.SplitSeq(strings.TrimSuffix(out, "\n"), "\n") {
			v, ok := strings.CutPrefix(line, "data:")
			if !ok || strings.Contains(line, "\r") {
				t.Fatalf("%q: line %q", text, line)
			}
			lines = append(lines, strings.TrimPrefix(v, " "))
		}
		want := strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\r", "\n")
		if got := strings.Join(lines, "\n"); got != want {
			t.Fatalf("%q reads as %q", text, got)
		}
	})
}

func TestWebhookURLs(t *testing.T) {
	for url, want := range map[string]bool{
		"https://hooks.example.org/x": true, "https://93.184.216.34/x": true, "https://[2606:2800:220:1::1]/x": true,
		"http://hooks.example.org/x": false, "https://10.0.0.1/x": false, "https://192.168.1.1/": false, "https://169.254.169.254/": false,
		"https://127.0.0.1/x": false, "http://localhost/x": false, "https://[::1]/x": false, "https://[::ffff:10.0.0.1]/": false,
		"https://100.64.0.1/": false, "https://0.0.0.0/": false, "ftp://hooks.example.org/": false, "https://u:p@hooks.example.org/": false,
		"": false, "https://": false, "//hooks.example.org": false, "https://[fd00::1]/": false, "https://224.0.0.1/": false,
	} {
		if got := checkWebhook(url, false) == nil; got != want {
			t.Errorf("%s: %v", url, got)
		}
	}
	if checkWebhook("http://127.0.0.1:9/x", true) != nil || checkWebhook("http://10.0.0.1/x", true) == nil {
		t.Error("loopback is let in, private addresses are not")
	}
}
