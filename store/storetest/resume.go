package storetest

import "tidemark/store"

var resumeTests = []test{
	{"standing", standing},
	{"reasons, in order", resetReasons},
	{"marks", marks},
	{"right after a restart", resumeAfterRestart},
	{"trimming keeps pushes whole", trimWhole},
	{"trimming goes no further than the head", trimHead},
}

func standing(k *kit) {
	want := func(f string, want store.Standing) {
		k.Helper()
		if st, err := k.Resume(filter(f), store.Cursor{}); err != nil || st != want {
			k.Fatalf("%s: %+v, %v; want %+v", f, st, err, want)
		}
	}
	want("a", store.Standing{})
	want("**", store.Standing{})
	k.accept(note("a", "1"))
	k.accept(note("b/1", "1"))
	k.accept(note("b/2", "1"))
	k.twice(func() {
		want("a", store.Standing{Head: 1, LogHead: 3})
		want("b/1", store.Standing{Head: 2, LogHead: 3})
		want("none", store.Standing{LogHead: 3})
		want("b/**", store.Standing{Head: 3, LogHead: 3})
		want("**", store.Standing{Head: 3, LogHead: 3})
	})
	k.accept(note("b/2", "2"))
	k.trim(2)
	k.twice(func() {
		want("a", store.Standing{Head: 1, LogHead: 4, Floor: 1})
		want("b/1", store.Standing{Head: 2, LogHead: 4, Floor: 2})
		want("b/2", store.Standing{Head: 4, LogHead: 4})
		want("b/**", store.Standing{Head: 4, LogHead: 4, Floor: 2})
		want("none", store.Standing{LogHead: 4})
		want("**", store.Standing{Head: 4, LogHead: 4, Floor: 2})
	})
}

// resets compares the reasons that a filter's cursors get.
func (k *kit) resets(f string, want map[store.Cursor]store.Reset) {
	k.Helper()
	for c, reason := range want {
		if st, err := k.Resume(filter(f), c); err != nil || st.Reset != reason {
			k.Fatalf("%s from %+v: %q, %v; want %q", f, c, st.Reset, err, reason)
		}
	}
}

func resetReasons(k *kit) {
	for range 10 {
		k.accept(note("a", "1"))
	}
	k.accept(note("b", "1"))
	k.trim(5)
	other, none := store.NewID(), store.NewID()
	log := k.LogID()
	k.twice(func() {
		k.resets("a", map[store.Cursor]store.Reset{
			{}:                                  store.ResetNone,
			{Log: other, Mark: none}:            store.ResetNone, // at 0 there is no history that could differ
			{Seq: 5}:                            store.ResetNone,
			{Seq: 11, Log: log}:                 store.ResetNone,
			{Seq: 7, Log: log, Mark: k.Mark(7)}: store.ResetNone,
			{Seq: 4}:                            store.ResetTrimmed,
			{Seq: 12}:                           store.ResetAhead,
			{Seq: store.MaxSeq}:                 store.ResetAhead,
			{Seq: 7, Mark: none}:                store.ResetLogChanged,
			{Seq: 7, Mark: k.Mark(8)}:           store.ResetLogChanged,
			{Seq: 7, Log: other}:                store.ResetLogChanged,
			// of several reasons the first of log, ahead, trimmed, erased, mark
			{Seq: 12, Log: other}:            store.ResetLogChanged,
			{Seq: 4, Log: other}:             store.ResetLogChanged,
			{Seq: 12, Log: log, Mark: none}:  store.ResetAhead,
			{Seq: 4, Log: log, Mark: none}:   store.ResetTrimmed,
			{Seq: 7, Log: other, Mark: none}: store.ResetLogChanged,
		})
		k.resets("b", map[store.Cursor]store.Reset{{Seq: 1}: store.ResetNone, {Seq: 12}: store.ResetAhead}) // b lost nothing
		k.resets("none", map[store.Cursor]store.Reset{{Seq: 1}: store.ResetNone, {Seq: 12}: store.ResetAhead})
		k.resets("**", map[store.Cursor]store.Reset{{Seq: 4}: store.ResetTrimmed, {Seq: 5}: store.ResetNone})
	})
}

func marks(k *kit) {
	var ids []store.ID
	for range 20 {
		m := note("a", "1")
		k.accept(m)
		ids = append(ids, m.ID)
	}
	floor := k.trim(8)
	k.twice(func() {
		k.Helper()
		for i, id := range ids {
			seq := store.Seq(i + 1)
			switch got := k.Mark(seq); {
			case seq >= floor && got != id:
				k.Fatalf("the mark at %d is %s, want %s", seq, got, id)
			case seq < floor && !got.IsZero() && got != id:
				k.Fatalf("the mark at %d is %s, the event was trimmed", seq, got)
			}
			// Marks are checked through ids, so they hold where the event is gone.
			if st, err := k.Resume(store.Only("none"), store.Cursor{Seq: seq, Mark: id}); err != nil || st.Reset != store.ResetNone {
				k.Fatalf("cursor %d with its mark: %+v, %v", seq, st, err)
			}
			if st, err := k.Resume(store.Only("none"), store.Cursor{Seq: seq, Mark: store.NewID()}); err != nil || st.Reset != store.ResetLogChanged {
				k.Fatalf("cursor %d with another mark: %+v, %v", seq, st, err)
			}
		}
		if !k.Mark(0).IsZero() || !k.Mark(21).IsZero() {
			k.Fatal("a mark where no event is")
		}
	})
}

// resumeAfterRestart: everything about cursors is known before anything new is written.
func resumeAfterRestart(k *kit) {
	for range 5 {
		k.accept(note("a", "1"))
		k.reopen()
		head := k.Head()
		k.resets("a", map[store.Cursor]store.Reset{
			{Seq: head, Log: k.LogID(), Mark: k.Mark(head)}: store.ResetNone, {Seq: head + 1}: store.ResetAhead,
		})
		if p, err := k.Read(store.Only("a"), head-1, store.PageLimit{}); err != nil || len(p.Events) != 1 || p.More {
			k.Fatalf("page %+v, %v", p, err)
		}
	}
}

func trimWhole(k *kit) {
	for range 6 {
		k.atomic(note("a", "1"), note("b", "1"), note("a", "2"), note("c", "1"))
	}
	for to := store.Seq(1); to <= 24; to++ {
		if err := k.Trim(k.Context(), to); err != nil {
			k.Fatal(err)
		}
		st, err := k.Resume(store.All, store.Cursor{})
		if err != nil || st.Floor != to/4*4 {
			k.Fatalf("trimmed to %d: floor %d, %v", to, st.Floor, err)
		}
	}
}

func trimHead(k *kit) {
	ids := []store.ID{}
	for range 10 {
		m := note("a", "1")
		ids = append(ids, m.ID)
		k.accept(m)
	}
	if err := k.Trim(k.Context(), store.MaxSeq); err != nil {
		k.Fatal(err)
	}
	k.twice(func() {
		k.Helper()
		if k.Head() != 10 || k.Mark(10) != ids[9] {
			k.Fatalf("head %d with mark %s", k.Head(), k.Mark(10))
		}
		if p, err := k.Read(store.All, 10, store.PageLimit{}); err != nil || len(p.Events) != 0 || p.More {
			k.Fatalf("page %+v, %v", p, err)
		}
	})
	if v := k.push(note("a", "1"))[0]; v.Seq != 11 || v.Prev != 10 {
		k.Fatalf("verdict %+v", v)
	}
	k.twice(func() {
		if es := k.all(store.All, 10, store.PageLimit{}); len(es) != 1 || es[0].Prev != 10 {
			k.Fatalf("events %+v", es)
		}
	})
}
