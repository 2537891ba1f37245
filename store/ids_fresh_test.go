package store

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
)

func freshEntry(rnd *rand.Rand, seq Seq) idEntry {
	e := idEntry{Seq: seq, FP: rnd.Uint64()}
	binary.BigEndian.PutUint64(e.ID[:8], rnd.Uint64())
	binary.BigEndian.PutUint64(e.ID[8:], rnd.Uint64())
	return e
}

// Added, looked up and forgotten in any amounts, the ids are those that a map would have. Positions begin near their end, so
// that they wrap.
func TestFreshIDsAreAMap(t *testing.T) {
	for seed := range uint64(10) {
		rnd := rand.New(rand.NewPCG(seed, 2))
		f := freshIDs{seed: [2]uint64{rnd.Uint64(), rnd.Uint64()}, gone: ^uint32(0) - 3000}
		want := map[ID]idEntry{}
		var gone []idEntry
		seq := Seq(0)
		for range 60 {
			var es []idEntry
			for range rnd.IntN(700) {
				seq++
				es = append(es, freshEntry(rnd, seq))
				want[es[len(es)-1].ID] = es[len(es)-1]
			}
			f.add(es)
			if rnd.IntN(2) == 0 {
				n := rnd.IntN(f.len() + 1)
				for _, e := range f.all()[:n] {
					delete(want, e.ID)
					gone = append(gone, e)
				}
				f.drop(n)
			}
			if f.len() != len(want) {
				t.Fatalf("%d ids, want %d", f.len(), len(want))
			}
			for _, e := range f.all() {
				if got, ok := f.get(&e.ID); !ok || got != e || want[e.ID] != e {
					t.Fatalf("event %d: %v %+v", e.Seq, ok, got)
				}
			}
			for _, e := range gone[max(0, len(gone)-500):] {
				if _, ok := f.get(&e.ID); ok {
					t.Fatalf("event %d was forgotten", e.Seq)
				}
			}
			used := 0
			for _, s := range f.slots {
				if s != 0 {
					used++
				}
			}
			if used != f.len() {
				t.Fatalf("%d slots for %d ids", used, f.len())
			}
		}
	}
}

// Ids with one and the same hash are told apart, around the end of the table, too.
func TestFreshIDsCollide(t *testing.T) {
	f := freshIDs{gone: 7}
	f.grow(4)
	tag := uint32(len(f.slots)-1)<<1 | 1 // the last slot: the next one is the first
	rnd := rand.New(rand.NewPCG(1, 1))
	for i := range 5 {
		f.es = append(f.es, freshEntry(rnd, Seq(i+1)))
		f.insert(tag, f.gone+uint32(i))
	}
	for i, at := range []uint32{1, 3, 0, 4, 2} { // not in the order in which they came: each moves others
		f.remove(tag, f.gone+at)
		used := 0
		for _, s := range f.slots {
			if s != 0 {
				used++
			}
		}
		if used != 4-i {
			t.Fatalf("%d slots after %d were emptied", used, i+1)
		}
	}
}

// BenchmarkFreshIDs measures what an event costs: a lookup that finds nothing, adding, and forgetting, with 65,536 ids in memory.
func BenchmarkFreshIDs(b *testing.B) {
	rnd := rand.New(rand.NewPCG(1, 3))
	es := make([]idEntry, 1<<19)
	for i := range es {
		es[i] = freshEntry(rnd, Seq(i+1))
	}
	const window, slice, group = 1 << 16, 1 << 14, 512
	run := func(b *testing.B, look func(*ID) bool, add func([]idEntry), drop func([]idEntry)) {
		at := 0
		for b.Loop() {
			from := at % len(es)
			g := es[from : from+group]
			for i := range g {
				if look(&g[i].ID) {
					b.Fatal("it is there already")
				}
			}
			add(g)
			if at += group; at >= window && at%slice == 0 {
				old := (at - window) % len(es)
				drop(es[old : old+slice])
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*group), "ns/event")
	}
	b.Run("table", func(b *testing.B) {
		f := freshIDs{seed: [2]uint64{rnd.Uint64(), rnd.Uint64()}}
		run(b, func(id *ID) bool { _, ok := f.get(id); return ok }, f.add, func(old []idEntry) { f.drop(len(old)) })
	})
	b.Run("map", func(b *testing.B) {
		m := map[ID]idEntry{}
		run(b, func(id *ID) bool { _, ok := m[*id]; return ok }, func(g []idEntry) {
			for _, e := range g {
				m[e.ID] = e
			}
		}, func(old []idEntry) {
			for _, e := range old {
				delete(m, e.ID)
			}
		})
	})
}
