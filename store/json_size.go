package store

import "hash/maphash"

// sizer tells how long a document is after each of many merge patches. It passes over the document once and over each patch
// once: what patches change it keeps in a tree beside the document, which stays as it is.
type sizer struct {
	doc  []byte
	seed maphash.Seed
	root *sizedObject
	used int // bytes of memory that it takes, with the document, about
}

// sizedObject is an object of the document, or one that patches have made, as it is after the patches.
type sizedObject struct {
	sum, count int // bytes of the members with their colons, and how many they are
	index      memberTable
	changed    map[string]sizedMember // by the meaning of the name; what the index says of such a name is out of date
}

// sizedMember is a member as it is now; key is 0 when there is none of that name.
type sizedMember struct {
	key, value int          // bytes of the quoted name and of the value
	at         int          // of the value in the document, while it is the document's; else -1
	object     *sizedObject // of a value that is an object, once it was looked into
}

func (m sizedMember) length() int { return m.key + 1 + m.value }

// newSizer indexes a document that AppendDocument or MergePatch has made; what is no object counts as {}, as it does for them.
func newSizer(doc []byte) (*sizer, error) {
	z := &sizer{doc: doc, seed: maphash.MakeSeed(), root: &sizedObject{}}
	if len(doc) > 0 && doc[0] == '{' {
		if z.root = z.open(0); z.root == nil {
			return nil, errNotCompact
		}
	}
	z.used = len(doc) + z.root.memory()
	return z, nil
}

// size is the length of the document now.
func (z *sizer) size() int { return z.root.size() }

func (o *sizedObject) size() int { return objectSize(o.sum, o.count) }

func objectSize(sum, count int) int { return len("{}") + sum + max(0, count-1) }

// after returns how long the document would be after one more patch.
func (z *sizer) after(p *patchObject) int { return z.change(z.root, p, false) }

// take makes the patch part of what the sizer knows.
func (z *sizer) take(p *patchObject) { z.change(z.root, p, true) }

// change returns the size of o after the patch, and with keep makes it so. The names of one patch are all different, so
// each member can be looked at by itself.
func (z *sizer) change(o *sizedObject, p *patchObject, keep bool) int {
	sum, count := o.sum, o.count
	for i := range p.members {
		old := z.member(o, p.members[i].name)
		now := z.patched(o, old, &p.members[i], keep)
		if old.key > 0 {
			sum, count = sum-old.length(), count-1
		}
		if now.key > 0 {
			sum, count = sum+now.length(), count+1
		}
		if keep {
			z.note(o, p.members[i].name, now)
		}
	}
	if keep {
		o.sum, o.count = sum, count
	}
	return objectSize(sum, count)
}

// patched returns what becomes of a member.
func (z *sizer) patched(o *sizedObject, old sizedMember, m *patchMember, keep bool) sizedMember {
	if m.removes() {
		return sizedMember{}
	}
	now := sizedMember{key: old.key, at: -1}
	if old.key == 0 {
		now.key = len(m.quoted)
	}
	if m.object == nil {
		now.value = documentSize(m.value)
		return now
	}
	if now.object = z.inside(o, old, m.name); now.object == nil {
		now.object = &sizedObject{}
	}
	now.value = z.change(now.object, m.object, keep)
	return now
}

// inside returns the object that a member has as its value, or nil. An object that is long to look through is kept, so that
// this is done once.
func (z *sizer) inside(o *sizedObject, m sizedMember, name []byte) *sizedObject {
	if m.object != nil || m.key == 0 || m.at < 0 || z.doc[m.at] != '{' {
		return m.object
	}
	m.object = z.open(m.at)
	if m.value >= keptObject && m.object != nil {
		z.note(o, name, m)
	}
	return m.object
}

// keptObject is the length from which on an object's index is kept although nothing in it was changed: what is refused
// again and again must neither cost a pass each time nor fill the memory.
const keptObject = 4 << 10

func (z *sizer) note(o *sizedObject, name []byte, m sizedMember) {
	if o.changed == nil {
		o.changed = make(map[string]sizedMember)
	}
	old, ok := o.changed[string(name)]
	if !ok {
		z.used += sizedMemberCost + len(name)
	}
	if m.object != nil && m.object != old.object {
		z.used += m.object.memory()
	}
	o.changed[string(name)] = m
}

// What entries of the tree take in memory, about.
const (
	sizedMemberCost = 128
	sizedObjectCost = 128
)

func (o *sizedObject) memory() int { return sizedObjectCost + 8*len(o.index.slots) }

// documentSize is the length of the document that a put of data makes.
func documentSize(data []byte) int {
	switch data[0] {
	case '{', '[':
		if doc, err := AppendDocument(nil, data); err == nil {
			return len(doc)
		}
	}
	return len(data)
}

// member returns the member of a name as it is now.
func (z *sizer) member(o *sizedObject, name []byte) sizedMember {
	if m, ok := o.changed[string(name)]; ok {
		return m
	}
	m := sizedMember{at: -1}
	var text []byte
	for i := o.index.first(z.seed, name); o.index.slots != nil; i++ {
		s := o.index.slots[i&o.index.mask()]
		if s.end == 0 {
			break
		}
		colon := skipString(z.doc, int(s.start))
		var found []byte
		if found, text = nameMeaning(text[:0], z.doc[s.start:colon]); string(found) == string(name) {
			return sizedMember{key: colon - int(s.start), value: int(s.end) - colon - 1, at: colon + 1}
		}
	}
	return m
}

// open indexes the object of the document that begins at a place; nil: it is not well-formed.
func (z *sizer) open(at int) *sizedObject {
	o := &sizedObject{}
	var members []memberSlot
	for i := at + 1; i < len(z.doc) && z.doc[i] != '}'; {
		colon := skipString(z.doc, i)
		if colon < 0 || colon+1 >= len(z.doc) {
			return nil
		}
		end := skipValue(z.doc, colon+1)
		if end <= colon+1 || end >= len(z.doc) {
			return nil
		}
		members = append(members, memberSlot{uint32(i), uint32(end)})
		o.sum += end - i
		if i = end; z.doc[i] == ',' {
			i++
		}
	}
	o.count = len(members)
	z.fill(&o.index, members)
	return o
}

// memberTable finds members by the hash of their names: 8 bytes a slot, because a document may be nothing but short members.
type memberTable struct{ slots []memberSlot }

// memberSlot says where a member is in the document, its name included; end 0: the slot is free.
type memberSlot struct{ start, end uint32 }

func (t *memberTable) mask() uint64 { return uint64(len(t.slots) - 1) }

func (t *memberTable) first(seed maphash.Seed, name []byte) uint64 { return maphash.Bytes(seed, name) }

func (z *sizer) fill(t *memberTable, members []memberSlot) {
	if len(members) == 0 {
		return
	}
	n := 2
	for n < len(members)+len(members)/2 {
		n *= 2
	}
	t.slots = make([]memberSlot, n)
	var name, text []byte
	for _, m := range members {
		name, text = nameMeaning(text[:0], z.doc[m.start:skipString(z.doc, int(m.start))])
		i := t.first(z.seed, name)
		for t.slots[i&t.mask()].end != 0 {
			i++
		}
		t.slots[i&t.mask()] = m
	}
}
