package storetest

import "tidemark/store"

var expectTests = []test{
	{"of a key", expectKey},
	{"of a stream", expectStream},
	{"by id", expectByID},
	{"within a push", expectWithinPush},
	{"of another log", expectOtherLog},
	{"a conflict carries the document", conflictCarries},
}

func expectKey(k *kit) {
	k.expectCodes(k.push(expecting(put("a", "k", "1"), 5)), "conflict")
	k.expectCodes(k.push(expecting(put("a", "k", "1"), 0)), "ok") // 1
	k.expectCodes(k.push(expecting(put("a", "k", "2"), 0)), "conflict")
	k.accept(put("a", "other", "1"))                              // 2
	k.expectCodes(k.push(expecting(put("a", "k", "2"), 1)), "ok") // 3
	k.expectCodes(k.push(expecting(put("a", "k", "3"), 1)), "conflict")
	// An event without op counts as the key's last, but makes no document.
	k.accept(keyed("a", "k")) // 4
	k.expectCodes(k.push(expecting(put("a", "k", "3"), 3)), "conflict")
	k.expectCodes(k.push(expecting(put("a", "k", "3"), 4)), "ok")    // 5
	k.accept(keyed("a", "bare"))                                     // 6
	k.expectCodes(k.push(expecting(put("a", "bare", "1"), 0)), "ok") // 7
	// After a delete there is no document; the seq of the delete holds as well.
	k.accept(remove("a", "k")) // 8
	k.twice(func() {
		k.expectCodes(k.push(expecting(put("a", "k", "4"), 5)), "conflict")
	})
	k.expectCodes(k.push(expecting(patch("a", "k", `{"v":1}`), 8)), "ok") // 9
	k.accept(remove("a", "k"))                                            // 10
	k.expectCodes(k.push(expecting(patch("a", "k", `{"v":1}`), 0)), "ok")
}

func expectStream(k *kit) {
	k.expectCodes(k.push(expecting(note("a", "1"), 1)), "conflict")
	k.expectCodes(k.push(expecting(note("a", "1"), 0)), "ok")
	k.accept(note("b", "1"))
	k.expectCodes(k.push(expecting(note("a", "2"), 2)), "conflict")
	k.expectCodes(k.push(expecting(note("a", "2"), 1)), "ok")
	v := k.push(expecting(note("a", "3"), 0))[0]
	if v.Refusal == nil || v.Refusal.Code != store.CodeConflict || v.Refusal.Seq != 3 || v.Refusal.HasDocument() {
		k.Fatalf("conflict %+v", v.Refusal)
	}
}

func expectByID(k *kit) {
	first, second := put("a", "k", "1"), patch("a", "k", `{"v":1}`)
	k.expectCodes(k.push(expectingID(second, first.ID)), "conflict")
	k.expectCodes(k.push(first, expectingID(second, first.ID)), "ok", "ok")
	k.expectCodes(k.push(expectingID(put("a", "k", "2"), first.ID)), "conflict")
	gone := remove("a", "k")
	k.expectCodes(k.push(expectingID(gone, second.ID)), "ok")
	k.twice(func() {
		k.expectCodes(k.push(expectingID(put("a", "k", "3"), store.NewID())), "conflict")
	})
	k.expectCodes(k.push(expectingID(put("a", "k", "3"), gone.ID)), "ok") // a delete, too
	n := note("b", "1")
	k.expectCodes(k.push(n, expectingID(note("b", "2"), n.ID), expectingID(note("b", "3"), n.ID)), "ok", "ok", "conflict")
}

func expectWithinPush(k *kit) {
	a := put("a", "k", "1")
	k.expectCodes(k.push(a, expecting(put("a", "k", "2"), 0), expecting(put("a", "k", "2"), 1), expecting(put("a", "k", "3"), 2)),
		"ok", "conflict", "ok", "ok")
}

func expectOtherLog(k *kit) {
	k.accept(put("a", "k", "1"))
	m := expecting(put("a", "k", "2"), 1)
	m.Expect.Log = store.NewID()
	k.expectCodes(k.push(m), "conflict")
	m.Expect.Log = k.LogID()
	k.expectCodes(k.push(m), "ok")
}

func conflictCarries(k *kit) {
	k.accept(put("a", "k", `{"a":1.0,"a":2.0}`))
	k.accept(patch("a", "k", `{"b":3}`))
	k.accept(put("a", "gone", "1"))
	k.accept(remove("a", "gone"))
	k.twice(func() {
		k.Helper()
		for _, c := range []struct {
			key  string
			want store.Seq
			seq  store.Seq
			data string
		}{{"k", 1, 2, `{"a":2.0,"b":3}`}, {"gone", 3, 0, ""}, {"never", 9, 0, ""}} {
			r := k.push(expecting(put("a", c.key, "1"), c.want))[0].Refusal
			if r == nil || r.Code != store.CodeConflict {
				k.Fatalf("%s: %+v, want a conflict", c.key, r)
			}
			if r = r.WithDocument(); r.Seq != c.seq || string(r.Data) != c.data {
				k.Fatalf("%s: %+v, want seq %d and %s", c.key, r, c.seq, c.data)
			}
		}
	})
}
