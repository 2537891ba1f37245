package store

// MergePatch appends to dst what the merge patch (RFC 7396) makes of a document. doc is a document that AppendDocument or
// MergePatch has made, or nil for none, which counts as {}; patch is a compact JSON object. What the patch leaves alone keeps its bytes and
// its place, new members follow in the patch's order, and of equal names in the patch the last counts. The result is
// never longer than doc and patch together (see MergeBound). dst may not overlap the others.
func MergePatch(dst, doc, patch []byte) ([]byte, error) {
	o, err := parsePatch(patch)
	if err != nil {
		return dst, err
	}
	return o.applyTo(dst, doc)
}

func parsePatch(patch []byte) (*patchObject, error) {
	p := patchReader{src: patch}
	if len(patch) == 0 || patch[0] != '{' {
		return nil, errNotCompact
	}
	o, ok := p.object(0)
	if !ok || p.at != len(patch) {
		return nil, errNotCompact
	}
	return o, nil
}

// applyTo appends to dst what the patch makes of a document.
func (o *patchObject) applyTo(dst, doc []byte) ([]byte, error) {
	m := merger{folder{src: doc, dst: dst}}
	var ok bool
	if len(doc) == 0 || doc[0] != '{' {
		ok = m.add(patchMember{object: o})
	} else {
		ok = m.object(o, 0) && m.at == len(doc)
	}
	if !ok {
		return dst, errNotCompact
	}
	return m.dst, nil
}

// MergeBound returns how long the result of MergePatch is at most: where that is within a limit, nobody has to fold to know.
func MergeBound(doc, patch int) int { return max(doc, len("{}")) + patch }

// patchObject is one object of a patch.
type patchObject struct {
	members []patchMember
	index   nameIndex
}

// patchMember is what the patch says of one name.
type patchMember struct {
	name, quoted []byte
	value        []byte
	object       *patchObject // if the value is one
	used         bool         // the document had that name
	anew         bool         // the object takes the place of the document's and is not merged with it
	moved        bool         // the document's member goes, this one comes behind the others
}

func (m patchMember) meaning() []byte { return m.name }
func (m patchMember) removes() bool   { return m.object == nil && len(m.value) > 0 && m.value[0] == 'n' }

// patchReader reads the objects of a patch, but not those in its arrays: they are values like any other.
type patchReader struct {
	src  []byte
	at   int
	text []byte
}

func (p *patchReader) object(depth int) (*patchObject, bool) {
	o := &patchObject{}
	p.at++
	if p.at < len(p.src) && p.src[p.at] == '}' {
		p.at++
		return o, true
	}
	for {
		m, ok := p.member(depth)
		if !ok || p.at >= len(p.src) {
			return nil, false
		}
		if i, ok := findName(&o.index, o.members, m.name); ok {
			o.members[i] = m
		} else {
			o.add(m)
		}
		b := p.src[p.at]
		p.at++
		if b != ',' {
			return o, b == '}'
		}
	}
}

func (p *patchReader) member(depth int) (m patchMember, ok bool) {
	end := skipString(p.src, p.at)
	if end < 0 || end+1 >= len(p.src) || p.src[end] != ':' {
		return m, false
	}
	m.quoted = p.src[p.at:end]
	m.name, p.text = nameMeaning(p.text, m.quoted)
	p.at = end + 1
	if p.src[p.at] == '{' {
		if depth == MaxDepth {
			return m, false
		}
		m.object, ok = p.object(depth + 1)
		return m, ok
	}
	end = skipValue(p.src, p.at)
	if end <= p.at {
		return m, false
	}
	m.value = p.src[p.at:end]
	p.at = end
	return m, true
}

// merger copies a document and changes it on the way: each byte of document and patch is looked at once.
type merger struct{ folder }

// object copies the object at hand as p says.
func (m *merger) object(p *patchObject, depth int) bool {
	if m.opening('}') {
		m.dst = m.dst[:len(m.dst)-1]
		return m.rest(p, true)
	}
	empty := true
	for {
		copied, ok := m.member(p, empty, depth)
		if !ok {
			return false
		}
		empty = empty && !copied
		done, ok := m.after('}')
		if !ok {
			return false
		}
		if done {
			return m.rest(p, empty)
		}
	}
}

// member copies the member at hand, with a comma before it unless it is the first, or leaves it out.
func (m *merger) member(p *patchObject, first bool, depth int) (copied, ok bool) {
	end := skipString(m.src, m.at)
	if end < 0 || end+1 >= len(m.src) || m.src[end] != ':' || depth > MaxDepth {
		return false, false
	}
	var name []byte
	name, m.text = nameMeaning(m.text[:0], m.src[m.at:end])
	change := patchMember{}
	i, changes := findName(&p.index, p.members, name)
	if changes {
		change = p.members[i]
		p.members[i].used = !change.moved
	}
	if change.moved || changes && change.removes() {
		m.at = skipValue(m.src, end+1)
		return false, m.at > end+1
	}
	if !first {
		m.dst = append(m.dst, ',')
	}
	m.take(end + 1)
	switch {
	case change.object != nil && !change.anew && m.src[m.at] == '{':
		return true, m.object(change.object, depth+1)
	case changes:
		m.at = skipValue(m.src, m.at)
		return true, m.at > end+1 && m.add(change)
	}
	after := skipValue(m.src, m.at)
	if after <= m.at {
		return true, false
	}
	m.take(after)
	return true, true
}

// rest adds what the document did not have, and closes the object.
func (m *merger) rest(p *patchObject, empty bool) bool {
	for _, c := range p.members {
		if c.used || c.removes() {
			continue
		}
		if !empty {
			m.dst = append(m.dst, ',')
		}
		empty = false
		m.dst = append(append(m.dst, c.quoted...), ':')
		if !m.add(c) {
			return false
		}
	}
	m.dst = append(m.dst, '}')
	return true
}

// add appends the value of a member that the document did not have, or had with a value that is replaced.
func (m *merger) add(c patchMember) bool {
	if c.object != nil {
		m.dst = append(m.dst, '{')
		return m.rest(c.object, true)
	}
	var err error
	m.dst, err = AppendDocument(m.dst, c.value)
	return err == nil
}
