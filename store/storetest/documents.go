package storetest

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"tidemark/store"
)

var documentTests = []test{
	{"put, patch, delete", docOps},
	{"order, filters and pages", docPages},
	{"too large", docTooLarge},
	{"as of every seq", docsAsOf},
	{"outlive their events", docsTrimmed},
	{"many patches", docPatches},
}

func docOps(k *kit) {
	steps := []struct {
		m    store.Mutation
		want string // the document afterwards
	}{
		{patch("a", "k", `{"n":1.00,"gone":null,"in":{"x":null,"y":[{"z":null}]}}`), `{"n":1.00,"in":{"y":[{"z":null}]}}`},
		{patch("a", "k", `{"in":{"y":null},"s":"\u0041"}`), `{"n":1.00,"in":{},"s":"\u0041"}`},
		{put("a", "k", `{"a":1,"b":{"c":1,"c":2},"a":3}`), `{"a":3,"b":{"c":2}}`},
		{patch("a", "k", `{"b":{"d":1e2}}`), `{"a":3,"b":{"c":2,"d":1e2}}`},
		{put("a", "k", `[1,2]`), `[1,2]`},
		{patch("a", "k", `{"v":true}`), `{"v":true}`},
		{put("a", "k", `false`), `false`},
		{keyed("a", "k"), `false`},
		{patch("a", "k", `{"z":1}`), `{"z":1}`},
		{remove("a", "k"), ``},
		{remove("a", "k"), ``},
		{keyed("a", "k"), ``},
		{patch("a", "k", `{"x":0}`), `{"x":0}`},
		{remove("a", "k"), ``},
		{patch("a", "k", `{"y":1}`), `{"y":1}`},
	}
	for i, s := range steps {
		seq := k.accept(s.m)
		var want []string
		if s.want != "" {
			want = []string{fmt.Sprintf("a k %d %s", seq, s.want)}
		}
		k.equal(k.docs(store.Only("a"), 1<<20), want)
		if i%4 == 3 {
			k.twice(func() { k.equal(k.docs(store.All, 1<<20), want) })
		}
	}
}

func docPages(k *kit) {
	var want []string
	for _, st := range []store.Stream{"a", "a/b", "a/b/c", "a!", "b", "é"} {
		for i := range 30 {
			key := fmt.Sprintf("k%d", i*7%30)
			seq := k.accept(put(st, key, fmt.Sprintf(`{"i":%d}`, i)))
			if i%10 == 9 {
				k.accept(remove(st, key))
				continue
			}
			want = append(want, fmt.Sprintf(`%s %s %d {"i":%d}`, st, key, seq, i))
		}
	}
	slices.SortFunc(want, func(a, b string) int {
		x, y := strings.Fields(a), strings.Fields(b)
		return slices.Compare(x[:2], y[:2])
	})
	k.twice(func() {
		k.Helper()
		for _, f := range []string{"**", "a", "a/**", "a/b/**", "a!", "b", "é", "none", "none/**"} {
			var mine []string
			for _, d := range want {
				if filter(f).Match(store.Stream(strings.Fields(d)[0])) {
					mine = append(mine, d)
				}
			}
			for _, size := range []int{1, 300, 1 << 20} {
				k.equal(k.docs(filter(f), size), mine)
				k.equal(k.docsAt(filter(f), k.Head(), size), mine)
			}
		}
		p, err := k.Documents(store.All, store.DocKey{}, 1)
		if err != nil || len(p.Docs) != 1 || !p.More || p.Head != k.Head() {
			k.Fatalf("a page of one byte: %+v, %v", p, err)
		}
	})
}

func docTooLarge(k *kit) {
	text := func(n int) string { return `"` + strings.Repeat("x", n-2) + `"` }
	k.expectCodes(k.push(put("a", "k", text(limits.Doc+1))), "too_large")
	k.expectCodes(k.push(put("a", "k", text(limits.Doc))), "ok")
	// The folded document counts, without what equal names overrule.
	k.expectCodes(k.push(put("a", "k", `{"v":`+text(limits.Doc)+`,"v":1}`)), "ok")
	fill := `{"w":` + text(limits.Doc-len(`{"v":1,"w":}`)) + `}`
	k.expectCodes(k.push(patch("a", "k", fill)), "ok")
	k.twice(func() {
		k.expectCodes(k.push(patch("a", "k", `{"x":1}`)), "too_large")
		k.expectCodes(k.push(patch("a", "k", `{"v":12}`)), "too_large")
	})
	k.expectCodes(k.push(patch("a", "k", `{"v":null,"xx":1}`)), "too_large")
	k.expectCodes(k.push(patch("a", "k", `{"v":2}`), patch("a", "k", `{"v":null,"x":3}`)), "ok", "ok")
	k.expectCodes(k.push(patch("a", "new", fill+"")), "ok")
	k.expectCodes(k.push(put("a", "k", `{}`)), "ok")
	k.expectCodes(k.push(store.Mutation{ID: store.NewID(), Stream: "a", Type: "t", Key: "k", Data: []byte(text(limits.Doc * 2))}), "ok")
}

// history makes documents of every kind and returns, per seq, the list that Documents gave at that moment.
func (k *kit) history(n int) (was [][]string) {
	k.Helper()
	was = append(was, nil)
	for i := range n {
		key := fmt.Sprintf("k%d", i*i%5)
		st := store.Stream([]string{"a", "b/1", "b/2"}[i%3])
		m := keyed(st, key)
		switch i % 8 {
		case 0, 5:
			m = put(st, key, fmt.Sprintf(`{"i":%d,"i":%d.0}`, i, i))
		case 1, 2, 6:
			m = patch(st, key, fmt.Sprintf(`{"p%d":%d,"i":null}`, i%4, i))
		case 3:
			m = note(st, "1")
		case 7:
			m = remove(st, key)
		}
		k.accept(m)
		was = append(was, k.docs(store.All, 1<<20))
	}
	return was
}

func docsAsOf(k *kit) {
	was := k.history(160)
	k.twice(func() {
		k.Helper()
		for at, want := range was {
			k.equal(k.docsAt(store.All, store.Seq(at), 1<<20), want)
		}
		k.equal(k.docsAt(filter("b/**"), 100, 64), slices.DeleteFunc(slices.Clone(was[100]), func(d string) bool { return d[0] != 'b' }))
		if _, err := k.DocumentsAt(store.All, k.Head()+1, store.DocKey{}, 1000); err == nil {
			k.Fatal("documents as of a seq beyond the head")
		}
	})
}

func docsTrimmed(k *kit) {
	was := k.history(160)
	for _, to := range []store.Seq{40, 41, 120, 160} {
		floor := k.trim(to)
		k.twice(func() {
			k.Helper()
			k.equal(k.docs(store.All, 1<<20), was[160])
			for at := floor; at <= 160; at++ {
				k.equal(k.docsAt(store.All, at, 1<<20), was[at])
			}
			var gone *store.TrimmedError
			if _, err := k.DocumentsAt(store.All, floor-1, store.DocKey{}, 1000); !errors.As(err, &gone) || gone.Floor != floor {
				k.Fatalf("documents below the floor %d: %v", floor, err)
			}
		})
	}
	// What was trimmed still counts for expectations and patches.
	k.expectCodes(k.push(expecting(patch("a", "k0", `{"late":1}`), 1)), "conflict")
	k.expectCodes(k.push(put("a", "x", "1"), expecting(patch("a", "x", `{"late":1}`), 161)), "ok", "ok")
}

func docPatches(k *kit) {
	want := `{"n":0`
	k.accept(put("a", "k", `{"n":0}`))
	for i := range 150 {
		k.accept(patch("a", "k", fmt.Sprintf(`{"n":%d,"m%d":null}`, i, i%3)))
		want = fmt.Sprintf(`{"n":%d`, i)
	}
	k.twice(func() {
		k.equal(k.docs(store.Only("a"), 1<<20), []string{"a k 151 " + want + "}"})
		k.equal(k.docsAt(store.Only("a"), 101, 1<<20), []string{`a k 101 {"n":99}`})
	})
}
