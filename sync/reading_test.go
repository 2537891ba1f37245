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
