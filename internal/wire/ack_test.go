package wire

import (
	"bytes"
	"encoding/json"
	"math"
	"strings"
	"testing"

	"tidemark/store"
)

func TestAckLeavesOutDocumentsThatDoNotFit(t *testing.T) {
	doc := []byte(`"` + strings.Repeat("d", 3000) + `"`)
	p := &Push{Ref: StringRef("r"), Stream: "room/1", HasStream: true}
	for i := range 40 {
		p.Mutations = append(p.Mutations, store.Mutation{ID: store.NewID()})
		v := store.Verdict{Seq: store.MaxSeq, Prev: store.MaxSeq, At: 1<<53 - 1}
		if i%2 == 0 {
			v = store.Verdict{Refusal: &store.Refusal{Code: store.CodeConflict, Message: strings.Repeat("\x01", 500), Seq: store.MaxSeq, Data: doc}}
		}
		p.Verdicts = append(p.Verdicts, v)
	}
	for _, frame := range []int{40_000, 60_000, 80_000, 1 << 20} {
		got := AppendAck([]byte("kept"), p, frame)[len("kept"):]
		if len(got) > frame {
			t.Errorf("%d bytes, at most %d are allowed", len(got), frame)
		}
		m, err := DecodeServer(got)
		if err != nil {
			t.Fatal(err)
		}
		docs := bytes.Count(got, doc)
		if fits := min(20, (frame-40_000)/3100); docs < fits || frame == 1<<20 && docs != 20 {
			t.Errorf("%d documents in %d bytes, want at least %d", docs, frame, fits)
		}
		if ack := m.(*Ack); len(ack.Results) != 40 || ack.Ref != `"r"` || ack.Stream != "room/1" {
			t.Errorf("ack %+v", ack)
		}
	}
	if p.Verdicts[0].Refusal.Data == nil {
		t.Error("the verdict was changed")
	}
}

func TestResultSizesAreBounds(t *testing.T) {
	worst := strings.Repeat("\x00", 1000)
	refusals := []*store.Refusal{nil, {Code: store.CodeConflict, Message: worst, Seq: store.MaxSeq}, {Code: store.CodeMutationInvalid, Message: worst}}
	for code := range codes {
		refusals = append(refusals, &store.Refusal{Code: code, Message: worst})
	}
	for _, r := range refusals {
		p := &store.Push{
			Mutations: []store.Mutation{{ID: store.NewID()}},
			Verdicts:  []store.Verdict{{Seq: store.MaxSeq, Prev: store.MaxSeq, At: math.MaxInt64, Refusal: r}},
		}
		if got := len(appendVerdicts(nil, p, math.MaxInt)) + len(","); got > resultSize(&p.Verdicts[0]) {
			t.Errorf("%v needs %d bytes, more than %d", r, got, resultSize(&p.Verdicts[0]))
		}
	}
}

func TestMessagesOfErrorsAreClippedAtCharacters(t *testing.T) {
	e := &Error{Code: store.CodeInternal, Message: strings.Repeat("a", maxMessage-1) + "潮汐"}
	var got struct{ Message string }
	if err := json.Unmarshal(e.Append(nil), &got); err != nil || got.Message != strings.Repeat("a", maxMessage-1) {
		t.Errorf("%q, %v", got.Message, err)
	}
}

func TestAppendersAllocateNothing(t *testing.T) {
	events := benchEvents(10)
	p := &Push{Stream: "room/1", HasStream: true}
	for i := range 10 {
		p.Mutations = append(p.Mutations, benchMutation(i))
		p.Verdicts = append(p.Verdicts, store.Verdict{Seq: 1, Prev: 0, At: 1})
	}
	pong := &Pong{Ref: IntRef(1), Head: 5, Seq: 4}
	buf := make([]byte, 0, 64<<10)
	if n := testing.AllocsPerRun(100, func() {
		buf = AppendAck(events.Append(pong.Append(buf[:0])), p, 1<<20)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
