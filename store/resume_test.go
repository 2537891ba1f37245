package store

import (
	"fmt"
	"math"
	"path/filepath"
	"testing"
)

// TestStreamsOfALargeOverlay lists more streams than a page has, flushed and not, in pages of several sizes.
func TestStreamsOfALargeOverlay(t *testing.T) {
	s := openTest(t, filepath.Join(memoryDir(t), "a.tidemark"), quiet())
	const streams = 5000
	names := func(n int) Stream { return Stream(fmt.Sprintf("s/%04d", n*2477%streams)) } // in no order
	for n := 0; n < streams; n += 50 {
		p := &Push{By: "tester"}
		for i := range 50 {
			p.Mutations = append(p.Mutations, note(names(n+i), "1"))
		}
		if _, err := s.AppendWait(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		if n == streams/2 {
			if err := s.onWriter(t.Context(), func() error { s.flushTo(s.Head()); return nil }); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, limit := range []int{1, 100, 700, streams, math.MaxInt} {
		var after Stream
		for n := 0; n < streams; {
			page, err := s.Streams("s/", after, limit)
			if err != nil || len(page) != min(limit, streams-n) {
				t.Fatalf("a page of %d streams, want %d, %v", len(page), min(limit, streams-n), err)
			}
			for _, info := range page {
				if want := Stream(fmt.Sprintf("s/%04d", n)); info.Stream != want || info.Count != 1 {
					t.Fatalf("stream %d is %v, want %s", n, info, want)
				}
				n++
			}
			after = page[len(page)-1].Stream
			if limit == 1 && n == 20 {
				break
			}
		}
	}
	if page, err := s.Streams("s/", "", 0); err != nil || len(page) != 0 {
		t.Errorf("a page of no streams is %v, %v", page, err)
	}
}
