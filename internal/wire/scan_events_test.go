package wire

import (
	"strings"
	"testing"

	"tidemark/store"
)

// TestScanEvents walks over frames whose data is full of what a careless walk would stumble over.
func TestScanEvents(t *testing.T) {
	data := []string{`"}]}"`, `"\"}\\"`, `{"seq":9,"prev":8,"a":[{"b":"]"}]}`, `"räume \u007d 東京 😀"`, `[[],{},[{"seq":1}]]`, `1.5`, `"\\\\"`}
	for _, wide := range []bool{false, true} {
		m := &Events{Sub: 12, Wide: wide}
		for i, d := range data {
			e := store.Event{Seq: store.Seq(i + 5), Prev: store.Seq(i), ID: store.NewID(), Type: "t", At: 1, Data: []byte(d)}
			if wide {
				e.Stream = store.Stream("s/" + string(rune('a'+i%2)))
			}
			if i == 2 {
				e.Flags = store.FlagStub
			}
			m.Events = append(m.Events, e)
		}
		frame := m.Append(nil)
		full, err := DecodeServer(frame)
		scan, ok := ScanEvents(frame)
		if !ok || err != nil {
			t.Fatalf("%s: %v", frame, err)
		}
		checkScan(t, &scan, full, err)
	}
}

func TestScanEventsInAnotherOrder(t *testing.T) {
	event := `{"id":"` + testID + `","data":{"prev":7},"type":"t","stream":"s","at":1,"prev":0,"seq":1}`
	frame := `{"type":"events","sub":1,"events":[` + strings.Repeat(event+" , ", 3) + event + ` ] , "more":[{}] }`
	full, err := DecodeServer([]byte(frame))
	scan, ok := ScanEvents([]byte(frame))
	if !ok || err != nil {
		t.Fatal(err)
	}
	checkScan(t, &scan, full, err)
}

func TestScanEventsThatAreMalformed(t *testing.T) {
	good := `{"seq":1,"prev":0,"id":"` + testID + `","type":"t","at":1}`
	for _, tail := range []string{
		``, `]`, `]}x`, `,]}`, `,5]}`, `,{}]}`, `,{"seq":0,"prev":0}]}`, `,{"seq":-1,"prev":0}]}`, `,{"prev":2}]}`, `,{"seq":2,"prev":1,"data":"]}`,
		`,{"seq":2,"prev":1,"data":"\`, `,{"seq":2,"prev":1,"data":[}`, ` ` + good + `]}`, `],"events":`, `],}`,
	} {
		scan, ok := ScanEvents([]byte(`{"type":"events","sub":1,"events":[` + good + tail))
		n := 0
		for e := (RawEvent{}); ok && scan.Next(&e); n++ {
		}
		if scan.Err() == nil || n == 0 {
			t.Errorf("%q: %d events, no error", tail, n)
		}
	}
	for _, frame := range []string{``, `{"type":"live","sub":1,"seq":5}`, `{"type":"events","sub":0,"events":[]}`, `{"type":"events","events":[]}`, `{"type":"events","sub":1}`} {
		if _, ok := ScanEvents([]byte(frame)); ok {
			t.Errorf("%q is taken for events", frame)
		}
	}
}
