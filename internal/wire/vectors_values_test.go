package wire

import (
	"encoding/json"
	"testing"

	"tidemark/store"
)

func TestVectorsNames(t *testing.T) {
	type vector struct {
		Name            string
		Text            vectorText
		Stream, Filter  bool
		Reserved        bool
		Matches, Misses []string
	}
	for _, v := range vectors[vector](t, "names.json") {
		t.Run(v.Name, func(t *testing.T) {
			if _, err := store.ParseStream(string(v.Text)); (err == nil) != v.Stream {
				t.Errorf("stream: %v, want %v", err, v.Stream)
			}
			if _, e := ParseStream(string(v.Text)); (e == nil) != (v.Stream && !v.Reserved) {
				t.Errorf("stream of a client: %v", e)
			}
			f, err := store.ParseFilter(string(v.Text))
			if (err == nil) != v.Filter {
				t.Errorf("filter: %v, want %v", err, v.Filter)
			}
			if _, e := ParseFilter(string(v.Text)); (e == nil) != (v.Filter && !v.Reserved) {
				t.Errorf("filter of a client: %v", e)
			}
			checkMatches(t, f, v.Matches, true)
			checkMatches(t, f, v.Misses, false)
		})
	}
}

func checkMatches(t *testing.T, f store.Filter, names []string, want bool) {
	t.Helper()
	for _, n := range names {
		if f.Match(store.Stream(n)) != want {
			t.Errorf("match of %q: %v, want %v", n, !want, want)
		}
	}
}

func TestVectorsValues(t *testing.T) {
	type vector struct {
		Name, Kind, Text string
		Valid            bool
	}
	for _, v := range vectors[vector](t, "values.json") {
		t.Run(v.Name, func(t *testing.T) {
			frame := `{"type":"subscribe","sub":1,"stream":"a","since":` + v.Text + `}`
			if v.Kind == "id" {
				frame = `{"type":"hello","log":"` + v.Text + `"}`
			}
			d := Decoder{Limits: Limits{}.WithDefaults()}
			_, e := d.Decode([]byte(frame))
			if (e == nil) != v.Valid || e != nil && e.Code != store.CodeBadMessage {
				t.Errorf("%s: %v, want valid %v", frame, e, v.Valid)
			}
		})
	}
}

func TestVectorsJSON(t *testing.T) {
	type vector struct {
		Name                          string
		Compact, Document, Patch, Put *vectorText
		Gives                         vectorText
		Invalid                       bool
	}
	for _, v := range vectors[vector](t, "json.json") {
		t.Run(v.Name, func(t *testing.T) {
			var got, rest []byte
			var err error
			switch {
			case v.Compact != nil:
				got, rest, err = store.CompactValue(nil, *v.Compact)
				if err == nil && !(&scanner{src: rest}).atEnd() {
					err = notJSON()
				}
			case v.Put != nil:
				got, err = store.AppendDocument(nil, *v.Put)
			case v.Document != nil:
				got, err = store.MergePatch(nil, *v.Document, *v.Patch)
			default:
				got, err = store.MergePatch(nil, nil, *v.Patch)
			}
			switch {
			case (err != nil) != v.Invalid:
				t.Errorf("%s, %v; want invalid %v", got, err, v.Invalid)
			case v.Compact != nil && err == nil && string(got) != string(v.Gives):
				t.Errorf("%s, want %s", got, v.Gives)
			case v.Compact == nil && err == nil:
				checkSameJSON(t, got, v.Gives)
			}
		})
	}
}

func TestVectorsCodes(t *testing.T) {
	type vector struct {
		Name   string
		Close  uint16
		Retry  string
		Code   store.Code
		Status int
		Later  bool
	}
	retries := map[string]Retry{"backoff": RetryBackoff, "token": RetryToken, "never": RetryNever}
	seen := map[store.Code]bool{}
	for _, v := range vectors[vector](t, "codes.json") {
		t.Run(v.Name, func(t *testing.T) {
			if v.Close != 0 {
				if got := RetryAfter(v.Close); got != retries[v.Retry] {
					t.Errorf("retry %v, want %s", got, v.Retry)
				}
				return
			}
			seen[v.Code] = true
			if Status(v.Code) != v.Status || v.Code.Later() != v.Later {
				t.Errorf("status %d, later %v", Status(v.Code), v.Code.Later())
			}
		})
	}
	for c := range codes {
		if !seen[c] {
			t.Errorf("no vector for code %s", c)
		}
	}
}

func TestVectorsServerMessages(t *testing.T) {
	type vector struct {
		Name               string
		Frame              vectorText
		Means              json.RawMessage
		Ignored, Malformed bool
	}
	for _, v := range vectors[vector](t, "server-messages.json") {
		t.Run(v.Name, func(t *testing.T) {
			m, err := DecodeServer(v.Frame)
			if (err != nil) != v.Malformed {
				t.Fatalf("%v, want malformed %v", err, v.Malformed)
			}
			if scan, ok := ScanEvents(v.Frame); ok {
				checkScan(t, &scan, m, err)
			}
			if _, unknown := m.(*Unknown); err == nil && unknown != v.Ignored {
				t.Errorf("unknown: %v, want %v", unknown, v.Ignored)
			}
			if v.Means != nil && err == nil {
				var means vectorText
				if err := json.Unmarshal(v.Means, &means); err != nil {
					t.Fatal(err)
				}
				checkSameJSON(t, m.Append(nil), means)
			}
		})
	}
}

// checkScan compares the cheap walk over a frame with the full decoding of it.
func checkScan(t *testing.T, scan *EventScan, m Message, err error) {
	t.Helper()
	full, _ := m.(*Events)
	n := 0
	var raw RawEvent
	for ; scan.Next(&raw); n++ {
		if full == nil {
			continue // malformed further on
		}
		e, err := raw.Decode()
		if err != nil || n >= len(full.Events) {
			t.Fatalf("event %d: %v", n, err)
		}
		want := full.Events[n]
		if raw.Seq != want.Seq || raw.Prev != want.Prev || raw.Stream != want.Stream || scan.Sub != full.Sub {
			t.Errorf("event %d: %d after %d of %q, want %d after %d of %q", n, raw.Seq, raw.Prev, raw.Stream, want.Seq, want.Prev, want.Stream)
		}
		if got := AppendEvent(nil, &e, full.Wide); string(got) != string(AppendEvent(nil, &want, full.Wide)) {
			t.Errorf("event %d: %s", n, got)
		}
	}
	if err == nil && (scan.Err() != nil || n != len(full.Events)) {
		t.Errorf("%d events, %v; want %d", n, scan.Err(), len(full.Events))
	}
}
