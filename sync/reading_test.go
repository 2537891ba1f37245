package sync

import (
	"strings"
	"testing"

	"tidemark/internal/wire"
	"tidemark/store"
)

// TestTextSize: a run's memory is made for what it will hold; too little would mean to copy it, too much to waste it.
func TestTextSize(t *testing.T) {
	const now = 1_790_000_000_000
	long := []byte(`"` + strings.Repeat("x", 3000) + `"`)
	for name, ev := range map[string]store.Event{
		"least":      {Seq: 1, ID: store.NewID(), Type: "t", At: now},
		"ordinary":   {Seq: 123_456, Prev: 123_000, ID: store.NewID(), Stream: "room/1", Type: "note", At: now, Data: long[:200]},
		"a document": {Seq: store.MaxSeq, Prev: store.MaxSeq - 1, ID: store.NewID(), Stream: "room/1", Key: "key", Op: store.OpDelete, At: now},
		"everything": {Seq: 10, Prev: 9, ID: store.NewID(), Stream: "a/b", Type: "t", Key: "k", By: "somebody", Op: store.OpPatch, At: now, Data: long},
		"bytes":      {Seq: 10, Prev: 9, ID: store.NewID(), Stream: "a/b", Type: "t", Flags: store.FlagBytes, At: now, Data: long},
	} {
		for _, wide := range []bool{false, true} {
			size, took := textSize(&ev, wide), len(wire.AppendEvent(nil, &ev, wide))+len(comma)
			if size < took || size > took+64 {
				t.Errorf("%s: room for %d bytes, it took %d", name, size, took)
			}
		}
	}
}

// TestEmptyPageOfARunThatIsGone: a page without events that goes on was read to follow a run, and the run left the cache meanwhile, because
// the last follower did.
func TestEmptyPageOfARunThatIsGone(t *testing.T) {
	r := &reader{enc: plainEncoder{}, cache: &cache{limit: 1 << 20}, budget: newBudget(1 << 20), stats: &counters{}}
	tp := &topic{filter: store.All}
	last := &run{pages: &tp.pages, through: 10, bytes: append(make([]byte, 0, 100), "{}"...), marks: []mark{{seq: 10, end: 2}}}
	l := r.encode(tp, 10, &store.Page{Through: 50_000, More: true}, last)
	if l.run != last {
		t.Fatal("the page does not follow the run: the test proves nothing")
	}
	var b batch
	r.land(&b, tp, l, 1000)
	if b.through != 50_000 {
		t.Errorf("the reader stands at %d", b.through)
	}
}
