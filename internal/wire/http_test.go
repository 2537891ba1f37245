package wire

import (
	"bytes"
	"strings"
	"testing"

	"tidemark/store"
)

func TestDecodeBody(t *testing.T) {
	one := `{"id":"` + testID + `","type":"t","data": [1, 2]}`
	two := `{"id":"` + other + `","stream":"b","type":"t"}`
	const invalid = "mutation_invalid"
	for _, c := range []struct {
		name, body string
		lines      bool
		id         bool
		single     bool
		code       store.Code // of the whole
		verdicts   []string
	}{
		{name: "one", body: one, single: true, verdicts: []string{""}},
		{name: "one on several lines", body: strings.ReplaceAll(one, ",", ",\n"), single: true, verdicts: []string{""}},
		{name: "one that is wrong", body: `{"id":5}`, single: true, verdicts: []string{invalid}},
		{name: "one without id", body: `{"type":"t"}`, single: true, verdicts: []string{invalid}},
		{name: "one whose id came beside it", body: `{"type":"t"}`, id: true, single: true, verdicts: []string{""}},
		{name: "list", body: "[" + one + "," + two + "]", verdicts: []string{"", ""}},
		{name: "list of one", body: "[" + one + "]", verdicts: []string{""}},
		{name: "list with wrong ones", body: "[" + one + `,5,{"id":"x"}]`, verdicts: []string{"", invalid, invalid}},
		{name: "an id beside a list is nobody's", body: `[{"type":"t"}]`, id: true, verdicts: []string{invalid}},
		{name: "empty list", body: "[]", code: store.CodeBadMessage},
		{name: "list too long", body: "[" + strings.Repeat(one+",", 20) + one + "]", code: store.CodeTooMany},
		{name: "lines", body: one + "\n" + two + "\r\n\n", verdicts: []string{"", ""}},
		{name: "lines, one of them wrong", body: one + "\n{}\n", verdicts: []string{"", invalid}},
		{name: "one line, said to be lines", body: one, lines: true, verdicts: []string{""}},
		{name: "an id beside lines is nobody's", body: "{\"type\":\"t\"}\n" + one, id: true, verdicts: []string{invalid, ""}},
		{name: "a line that is no object", body: one + "\n5", code: store.CodeBadMessage},
		{name: "two objects on a line", body: one + two, code: store.CodeBadMessage},
		{name: "a line that is cut off", body: one + "\n" + two[:20], code: store.CodeBadMessage},
		{name: "lines over lines", body: strings.ReplaceAll(one, ",", ",\n"), lines: true, code: store.CodeBadMessage},
		{name: "too many lines", body: strings.Repeat(one+"\n", 21), code: store.CodeTooMany},
		{name: "no lines", body: "\n\n", lines: true, code: store.CodeBadMessage},
		{name: "nothing", body: "", code: store.CodeBadMessage},
		{name: "text", body: `"x"`, code: store.CodeBadMessage},
		{name: "not JSON", body: `{"id":`, code: store.CodeBadMessage},
		{name: "text behind a list", body: "[" + one + "] x", code: store.CodeBadMessage},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := BodyOptions{Stream: "a", Log: mustID(t, testLog), Lines: c.lines, Limits: Limits{Mutations: 20}.WithDefaults()}
			if c.id {
				o.ID = mustID(t, other)
			}
			p, single, fault := DecodeBody([]byte(c.body), o)
			if fault != nil || c.code != "" {
				if fault == nil || fault.Code != c.code || p != nil {
					t.Errorf("%v, want %s", fault, c.code)
				}
				return
			}
			if single != c.single || len(p.Mutations) != len(c.verdicts) {
				t.Fatalf("single %v, %d mutations", single, len(p.Mutations))
			}
			for i, want := range c.verdicts {
				checkVerdict(t, p, i, want)
			}
		})
	}
}

func checkVerdict(t *testing.T, p *Push, i int, want string) {
	t.Helper()
	got := ""
	if p.Refused != nil && p.Refused[i] != nil {
		got = string(p.Refused[i].Code)
	}
	if got != want {
		t.Errorf("mutation %d: %q, want %q", i, got, want)
	}
	if m := p.Mutations[i]; got == "" && (m.ID.IsZero() || m.Stream == "" || m.Type != "t") {
		t.Errorf("mutation %+v", m)
	}
}

func TestBodyLogOfExpect(t *testing.T) {
	log := mustID(t, testLog)
	p, _, fault := DecodeBody([]byte(`{"id":"`+testID+`","type":"t","expect":5}`), BodyOptions{Stream: "a", Log: log, Limits: Limits{}.WithDefaults()})
	if fault != nil || p.Mutations[0].Expect != (store.Expect{Kind: store.ExpectSeq, Seq: 5, Log: log}) {
		t.Errorf("%v, %+v", fault, p)
	}
}

func TestDecodeData(t *testing.T) {
	for _, c := range []struct {
		body, want string
		code       store.Code
	}{
		{` { "a" : 1 } `, `{"a":1}`, ""},
		{"null", "null", ""},
		{"", "", store.CodeBadMessage},
		{"1 2", "", store.CodeBadMessage},
		{`"` + strings.Repeat("x", 99) + `"`, "", store.CodeTooLarge},
		{strings.Repeat("[", 200) + strings.Repeat("]", 200), "", store.CodeBadMessage},
		{"\"\xff\"", "", store.CodeBadMessage},
	} {
		data, fault := DecodeData([]byte(c.body), 100)
		if string(data) != c.want || fault != nil && fault.Code != c.code || fault == nil && c.code != "" {
			t.Errorf("%q: %q, %v", c.body, data, fault)
		}
	}
}

func TestResultsRoundTrip(t *testing.T) {
	p := &Push{}
	p.Mutations = []store.Mutation{{ID: mustID(t, testID)}, {}, {ID: mustID(t, other)}}
	p.Verdicts = []store.Verdict{{Seq: 5, Prev: 3, At: 7}, {Refusal: &store.Refusal{Code: store.CodeMutationInvalid, Message: "m"}},
		{Refusal: &store.Refusal{Code: store.CodeConflict, Message: "m", Seq: 4, Data: []byte(`{"a":1}`)}}}
	text := AppendResults(nil, p, 1<<20)
	checkSameJSON(t, text, []byte(`{"results":[{"id":"`+testID+`","seq":5,"prev":3,"at":7},{"error":{"code":"mutation_invalid","message":"m"}},
		{"id":"`+other+`","error":{"code":"conflict","message":"m","seq":4,"data":{"a":1}}}]}`))
	rs, err := DecodeResults(text)
	if err != nil || len(rs) != 3 || rs[0].Seq != 5 || !rs[1].ID.IsZero() || string(rs[2].Err.Data) != `{"a":1}` {
		t.Errorf("%+v, %v", rs, err)
	}
}

func TestPagesRoundTrip(t *testing.T) {
	page := &EventsPage{Events: benchEvents(3).Events, Seq: 9, Head: 10, Floor: 1}
	again, err := DecodeEventsPage(page.Append(nil))
	if err != nil || !bytes.Equal(again.Append(nil), page.Append(nil)) {
		t.Errorf("%s, %v", again.Append(nil), err)
	}
	docs := []store.Doc{{Stream: "a", Key: "k", Seq: 3, Data: []byte("1")}, {Stream: "b", Key: "k", Seq: 4, Data: []byte(`"x"`)}}
	text := AppendDocsClose(AppendDocs(AppendDocsOpen(nil, 5), docs, true), 6)
	checkSameJSON(t, text, []byte(`{"seq":5,"docs":[{"key":"k","stream":"a","seq":3,"data":1},{"key":"k","stream":"b","seq":4,"data":"x"}],"upto":6}`))
	if p, err := DecodeDocsPage(text); err != nil || p.Seq != 5 || p.Upto != 6 || len(p.Docs) != 2 || p.Docs[1].Stream != "b" {
		t.Errorf("%+v, %v", p, err)
	}
	if d, err := DecodeDoc(AppendDoc(nil, &docs[0], false)); err != nil || d.Key != "k" || d.Seq != 3 || d.Stream != "" {
		t.Errorf("%+v, %v", d, err)
	}
	streams := []store.StreamInfo{{Stream: "a", Head: 3, Count: 2}, {Stream: "b\"", Head: 4, Count: 1}}
	if got, err := DecodeStreams(AppendStreams(nil, streams)); err != nil || len(got) != 2 || got[0] != streams[0] || got[1] != streams[1] {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestErrorBody(t *testing.T) {
	text := AppendErrorBody(nil, &Error{Code: store.CodeRateLimited, Message: "m", RetryAfterMS: 1500})
	checkSameJSON(t, text, []byte(`{"error":{"code":"rate_limited","message":"m","later":true,"retry_after_ms":1500}}`))
	if e := DecodeErrorBody(text); e == nil || e.Code != store.CodeRateLimited || !e.Later || e.RetryAfterMS != 1500 {
		t.Errorf("%+v", e)
	}
	for _, text := range []string{"", "<html>", "{}", `{"error":{}}`, `{"error":"x"}`} {
		if e := DecodeErrorBody([]byte(text)); e != nil {
			t.Errorf("%q: %v", text, e)
		}
	}
	if e := FromReset(store.ResetTrimmed); e.Code != "trimmed" || Status(e.Code) != 410 {
		t.Errorf("%+v", e)
	}
}

func TestServerSentEvents(t *testing.T) {
	log := mustID(t, testLog)
	e := store.Event{Seq: 7, Prev: 3, ID: mustID(t, testID), Type: "t", At: 1, Data: []byte(`"a\nb"`), Stream: "room/1"}
	want := "id: 7." + testLog + "\ndata: " + string(AppendEvent(nil, &e, true)) + "\n\n"
	if got := string(AppendSSE(nil, &e, true, log)); got != want || strings.Count(got, "\n") != 3 {
		t.Errorf("%q, want %q", got, want)
	}
	reset := "event: reset\ndata: {\"reason\":\"trimmed\",\"log\":\"" + testLog + "\",\"floor\":3,\"head\":9}\n\n"
	if got := string(AppendSSEReset(nil, &Reset{Reason: store.ResetTrimmed, Log: log, Floor: 3, Head: 9})); got != reset {
		t.Errorf("%q", got)
	}
	if got := ETag(log, 5); got != `"`+testLog+`-5"` {
		t.Errorf("%s", got)
	}
}

func TestParseEventID(t *testing.T) {
	log := mustID(t, testLog)
	for text, want := range map[string]store.Cursor{"7": {Seq: 7}, "0": {}, "7." + testLog: {Seq: 7, Log: log}} {
		if got, e := ParseEventID(text); e != nil || got != want {
			t.Errorf("%q: %+v, %v", text, got, e)
		}
	}
	for _, text := range []string{"", ".", "7.", "x", "-1", "07", "7.x", "7." + testLog + ".", "9007199254740992", " 7"} {
		if got, e := ParseEventID(text); e == nil || e.Code != store.CodeBadMessage {
			t.Errorf("%q: %+v, %v", text, got, e)
		}
	}
}
