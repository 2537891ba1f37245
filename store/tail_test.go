package store

import "testing"

// TestTailViewOutlivesWhatIsForgotten: readers look at a view after the lock is gone, while the tail goes on.
func TestTailViewOutlivesWhatIsForgotten(t *testing.T) {
	tl := tail{limit: 100}
	add := func(seq Seq) { tl.add([]Event{{Seq: seq}}, 10) }
	for seq := Seq(1); seq <= 10; seq++ {
		add(seq)
	}
	v := tl.view()
	for seq := Seq(11); seq <= 50; seq++ {
		add(seq)
	}
	tl.dropTo(45)
	for seq := Seq(1); seq <= 10; seq++ {
		if e := v.get(seq); e == nil || e.Seq != seq {
			t.Fatalf("the view lost event %d: %v", seq, e)
		}
	}
	if now := tl.view(); now.runs[0].first() != 46 || tl.bytes != 50 || now.get(45) != nil || now.get(46) == nil {
		t.Fatalf("the tail begins at %d and has %d bytes", now.runs[0].first(), tl.bytes)
	}
}
