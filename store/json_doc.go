package store

// AppendDocument appends to dst the document that a put of data makes: data itself, but of equal names in one object, at
// any level, only the last counts and stands in the place of the first. Names are equal when they mean the same, however
// they are escaped. data is compact JSON (CompactValue) and is otherwise kept byte for byte; the result is never longer.
func AppendDocument(dst, data []byte) ([]byte, error) {
	f := folder{src: data, dst: dst}
	if !f.value(0) || f.at != len(data) {
		return dst, errNotCompact
	}
	return f.dst, nil
}

// folder copies values from src to dst and drops members that an equal name overrules.
type folder struct {
	src, dst []byte
	at       int // the next byte of src
	names    []foldedMember
	text     []byte // names that had escapes
	spare    []byte
}

// foldedMember is a member of an object that is being copied.
type foldedMember struct {
	name       []byte // unescaped
	start, end int    // of the member in dst
}

func (m foldedMember) meaning() []byte { return m.name }

// value copies the value at hand; false if there is none.
func (f *folder) value(depth int) bool {
	if f.at >= len(f.src) || depth > MaxDepth {
		return false
	}
	switch f.src[f.at] {
	case '{':
		return f.object(depth)
	case '[':
		return f.array(depth)
	}
	end := skipValue(f.src, f.at)
	if end <= f.at {
		return false
	}
	f.take(end)
	return true
}

// take copies src up to end.
func (f *folder) take(end int) {
	f.dst = append(f.dst, f.src[f.at:end]...)
	f.at = end
}

// after consumes the closing bracket (done) or a comma.
func (f *folder) after(closing byte) (done, ok bool) {
	if f.at >= len(f.src) {
		return false, false
	}
	b := f.src[f.at]
	f.at++
	return b == closing, b == closing || b == ','
}

// opening consumes the opening bracket and, of an empty value, the closing one (done).
func (f *folder) opening(closing byte) (done bool) {
	f.dst = append(f.dst, f.src[f.at])
	f.at++
	if f.at < len(f.src) && f.src[f.at] == closing {
		f.take(f.at + 1)
		return true
	}
	return false
}

func (f *folder) array(depth int) bool {
	if f.opening(']') {
		return true
	}
	for {
		if !f.value(depth + 1) {
			return false
		}
		done, ok := f.after(']')
		if done {
			f.dst = append(f.dst, ']')
		} else {
			f.dst = append(f.dst, ',')
		}
		if done || !ok {
			return ok
		}
	}
}

func (f *folder) object(depth int) bool {
	start := len(f.dst)
	if f.opening('}') {
		return true
	}
	var seen nameIndex
	base, twice := len(f.names), false
	defer func() { f.names = f.names[:base] }()
	for {
		m, ok := f.member(depth)
		if !ok {
			return false
		}
		if i, ok := findName(&seen, f.names[base:], m.name); ok {
			f.names[base+i], twice = m, true
		} else {
			f.names = append(f.names, m)
			nameAdded(&seen, f.names[base:])
		}
		done, ok := f.after('}')
		if !ok {
			return false
		}
		if done {
			break
		}
		f.dst = append(f.dst, ',')
	}
	if twice {
		f.rebuild(start, f.names[base:])
	}
	f.dst = append(f.dst, '}')
	return true
}

// member copies one member and says where it is now.
func (f *folder) member(depth int) (foldedMember, bool) {
	m := foldedMember{start: len(f.dst)}
	end := skipString(f.src, f.at)
	if end < 0 || end >= len(f.src) || f.src[end] != ':' {
		return m, false
	}
	m.name, f.text = nameMeaning(f.text, f.src[f.at:end])
	f.take(end + 1)
	ok := f.value(depth + 1)
	m.end = len(f.dst)
	return m, ok
}

// rebuild writes the object that begins at dst[start] anew, of the members that count.
func (f *folder) rebuild(start int, members []foldedMember) {
	f.spare = f.spare[:0]
	for i, m := range members {
		if i > 0 {
			f.spare = append(f.spare, ',')
		}
		f.spare = append(f.spare, f.dst[m.start:m.end]...)
	}
	f.dst = append(f.dst[:start+1], f.spare...)
}
