package store

import (
	"encoding/binary"
	"slices"
	"testing"
)

// seedChunks are chunks as they are written.
func seedChunks() [][]byte {
	var out [][]byte
	for i, n := range []int{1, 2, blockIDs, blockIDs + 1, chunkIDs} {
		for _, next := range []func(*idMaker) idEntry{(*idMaker).v4, (*idMaker).v7} {
			m := newIDMaker(uint64(i))
			var es []idEntry
			for range n {
				es = append(es, next(m))
			}
			slices.SortFunc(es, func(a, b idEntry) int { return compareID(&a.ID, &b.ID) })
			out = append(out, appendChunk(nil, 7, 3, ID{}, es))
		}
	}
	return out
}

// What is not a chunk is refused; what is one can be read to the last entry.
func FuzzIDChunk(f *testing.F) {
	for _, b := range seedChunks() {
		f.Add(b)
		f.Add(b[:len(b)-1])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, ok := parseChunk(b)
		if !ok {
			return
		}
		for i := range c.blocks {
			c.last(i)
			readBlock(t, c.block(i), c.run, c.first+uint32(i))
		}
	})
}

// The same for a block, with the checksum made right, which a fuzzer seldom manages.
func FuzzIDBlock(f *testing.F) {
	for _, b := range seedChunks() {
		c, ok := parseChunk(b)
		if !ok {
			f.Fatal("a seed is no chunk")
		}
		f.Add(c.block(0)[:len(c.block(0))-4])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		b = binary.BigEndian.AppendUint32(b, blockSum(7, 3, b))
		readBlock(t, b, 7, 3)
	})
}

func readBlock(t *testing.T, b []byte, run uint64, n uint32) {
	k, ok := parseBlock(b, run, n)
	if !ok {
		return
	}
	var es []idEntry
	for i := range k.n {
		es = append(es, k.entry(i))
	}
	if !slices.IsSortedFunc(es, func(a, b idEntry) int { return compareID(&a.ID, &b.ID) }) {
		return // not one of ours: bisection may miss, but not run away
	}
	for i, e := range es {
		if got, ok := k.find(e.ID); !ok || got.ID != e.ID {
			t.Fatalf("entry %d: %v, %v", i, got, ok)
		}
	}
}

func FuzzIDDir(f *testing.F) {
	d := newIDDir()
	f.Add(d.append(nil))
	m := newIDMaker(1)
	b := newRunBuilder(1, d.seed, 1)
	b.add(m.v4())
	d.runs = []*idRun{b.run, b.run}
	f.Add(d.append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := parseIDDir(b)
		if err == nil && string(d.append(nil)) != string(b) {
			t.Fatal("a directory reads back as another")
		}
	})
}
