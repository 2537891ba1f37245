package store

// MergePatches appends to dst what merge patches, one after the other, make of a document: the same bytes as MergePatch for
// each in turn, but the document is copied once, however many they are.
func MergePatches(dst, doc []byte, patches [][]byte) ([]byte, error) {
	all := &patchObject{}
	for _, patch := range patches {
		o, err := parsePatch(patch)
		if err != nil {
			return dst, err
		}
		all.then(o)
	}
	return all.applyTo(dst, doc)
}

// removedName stands for the name of a member whose place is given up: no name means it.
var removedName = []byte{0xff}

// then makes o the patch that does what o and after it next would do.
func (o *patchObject) then(next *patchObject) {
	for _, m := range next.members {
		i, ok := findName(&o.index, o.members, m.name)
		if !ok {
			o.add(m)
			continue
		}
		c := &o.members[i]
		switch {
		case c.removes() && !m.removes(): // it comes again, behind the others
			*c = patchMember{name: removedName, value: c.value}
			m.moved = true
			o.add(m)
		case m.object == nil:
			c.value, c.object = m.value, nil
		case c.object == nil: // of the value before nothing is left
			c.value, c.object, c.anew = nil, m.object, true
		default:
			c.object.then(m.object)
		}
	}
}

func (o *patchObject) add(m patchMember) {
	o.members = append(o.members, m)
	nameAdded(&o.index, o.members)
}
