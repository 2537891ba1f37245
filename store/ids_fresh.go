package store

// freshIDs holds the ids that are in no run yet, in the order of their events, with a hash table that leads to them. Go's map
// would hold them twice, and take three misses of the processor's cache for each event: one to look, one to add, one to
// forget. Here a slot is 8 bytes, so that the table of the usual 65,536 ids stays in the cache.
//
// The table is open-addressed with linear probing. A slot is 0, or the tag of an id's hash (upper half) and its position
// (lower half): how many ids were added before it, modulo 2^32. Ids are forgotten in the order in which they came.
type freshIDs struct {
	seed  [2]uint64
	es    []idEntry
	first int    // entries before it are forgotten
	gone  uint32 // position of es[0]
	slots []uint64
}

// freshSlots is the size of the smallest table.
const freshSlots = 1 << 10

// tag is the upper half of a slot, which is never 0. All but its last bit tell where in the table the id's place is.
func (f *freshIDs) tag(id *ID) uint32 {
	hi, lo := idWords(*id)
	return uint32(idHash(f.seed, hi, lo).bits) | 1
}

func (f *freshIDs) home(tag uint32) uint32 { return tag >> 1 & uint32(len(f.slots)-1) }

func (f *freshIDs) next(i uint32) uint32 { return (i + 1) & uint32(len(f.slots)-1) }

// all returns the entries, the oldest first. The slice is valid until the next add.
func (f *freshIDs) all() []idEntry { return f.es[f.first:] }

func (f *freshIDs) len() int { return len(f.es) - f.first }

func (f *freshIDs) get(id *ID) (idEntry, bool) {
	if len(f.slots) == 0 {
		return idEntry{}, false
	}
	tag := f.tag(id)
	for i := f.home(tag); f.slots[i] != 0; i = f.next(i) {
		if uint32(f.slots[i]>>32) != tag {
			continue
		}
		if e := &f.es[uint32(f.slots[i])-f.gone]; e.ID == *id {
			return *e, true
		}
	}
	return idEntry{}, false
}

// add appends entries whose ids it does not have yet.
func (f *freshIDs) add(es []idEntry) {
	if n := f.len() + len(es); 2*n > len(f.slots) {
		f.grow(n)
	}
	if f.first > 0 && len(f.es)+len(es) > cap(f.es) && f.first >= len(f.es)/2 { // a steady stream of ids needs no new memory
		f.gone += uint32(f.first)
		f.es, f.first = f.es[:copy(f.es, f.es[f.first:])], 0
	}
	for i := range es {
		f.insert(f.tag(&es[i].ID), f.gone+uint32(len(f.es)+i))
	}
	f.es = append(f.es, es...)
}

func (f *freshIDs) insert(tag, position uint32) {
	i := f.home(tag)
	for f.slots[i] != 0 {
		i = f.next(i)
	}
	f.slots[i] = uint64(tag)<<32 | uint64(position)
}

// grow makes a table that n ids fill by half at the most.
func (f *freshIDs) grow(n int) {
	size := max(freshSlots, len(f.slots))
	for size < 2*n {
		size *= 2
	}
	old := f.slots
	f.slots = make([]uint64, size)
	for _, s := range old {
		if s != 0 {
			f.insert(uint32(s>>32), uint32(s))
		}
	}
}

// drop forgets the n oldest entries.
func (f *freshIDs) drop(n int) {
	if n == f.len() {
		*f = freshIDs{seed: f.seed}
		return
	}
	for i := range n {
		f.remove(f.tag(&f.es[f.first+i].ID), f.gone+uint32(f.first+i))
	}
	f.first += n
}

// remove empties a slot and moves those behind it that could no longer be found.
func (f *freshIDs) remove(tag, position uint32) {
	hole := f.home(tag)
	for f.slots[hole] != uint64(tag)<<32|uint64(position) {
		hole = f.next(hole)
	}
	mask := uint32(len(f.slots) - 1)
	for i := f.next(hole); f.slots[i] != 0; i = f.next(i) {
		home := f.home(uint32(f.slots[i] >> 32))
		if (i-home)&mask >= (i-hole)&mask { // its home is not behind the hole
			f.slots[hole], hole = f.slots[i], i
		}
	}
	f.slots[hole] = 0
}
