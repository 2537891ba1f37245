package wire

// fields walks over the members of an object of the protocol's own, in which no name may come twice, known or not.
type fields struct {
	name  []byte // of the current member, without escapes
	n     int
	seen  uint32 // the known names that have come, one bit each
	extra *nameSet
}

// next moves to the next member's value. The first call is made with pos behind the opening bracket.
func (s *scanner) next(f *fields) bool {
	c := s.peek()
	if c == '}' {
		s.pos++
		return false
	}
	if f.n > 0 {
		if c != ',' {
			s.fail()
			return false
		}
		s.pos++
		c = s.peek()
	}
	if c != '"' {
		s.fail()
		return false
	}
	raw, escaped := s.stringToken()
	if escaped {
		raw, _ = unescape(nil, raw)
	}
	s.colon()
	f.name = raw
	f.n++
	return !s.broken
}

// once notes that a known name has come; bit is its own.
func (s *scanner) once(f *fields, bit uint32) {
	if f.seen&bit != 0 {
		s.wrong("a field comes twice: " + clip(string(f.name), 40))
	}
	f.seen |= bit
}

// unknown ignores a member that this version does not know.
func (s *scanner) unknown(f *fields) {
	if f.extra == nil {
		f.extra = &nameSet{}
	}
	if f.extra.n < maxUnknown && !f.extra.add(f.name) {
		s.wrong("a field comes twice: " + clip(string(f.name), 40))
	} else if f.extra.n == maxUnknown {
		s.wrong("there are too many unknown fields")
	}
	s.skip()
}

// maxUnknown is how many unknown fields an object may have: to remember them is the only thing in here that costs a
// hostile sender less than it costs us.
const maxUnknown = 256

// nameSet is a small set of names.
type nameSet struct {
	few  [4][]byte
	n    int
	many map[string]struct{}
}

func (t *nameSet) add(name []byte) (isNew bool) {
	if t.many != nil {
		return t.addMany(name)
	}
	for _, have := range t.few[:t.n] {
		if string(have) == string(name) {
			return false
		}
	}
	if t.n < len(t.few) {
		t.few[t.n] = name
		t.n++
		return true
	}
	t.many = make(map[string]struct{})
	for _, have := range t.few {
		t.many[string(have)] = struct{}{}
	}
	return t.addMany(name)
}

func (t *nameSet) addMany(name []byte) bool {
	if _, ok := t.many[string(name)]; ok {
		return false
	}
	t.many[string(name)] = struct{}{}
	t.n++
	return true
}

// object enters the object at the current value; anything else is read and noted as wrong.
func (s *scanner) object(what string) bool {
	if s.peek() == '{' {
		s.pos++
		return true
	}
	s.skip()
	s.wrong(what + " is not an object")
	return false
}

// array enters the array at the current value.
func (s *scanner) array(what string) bool {
	if s.peek() == '[' {
		s.pos++
		return true
	}
	s.skip()
	s.wrong(what + " is not an array")
	return false
}

// item moves to the next item of an array; n counts them from 0 on. The first call is made behind the opening bracket.
func (s *scanner) item(n int) bool {
	c := s.peek()
	if c == ']' {
		s.pos++
		return false
	}
	if n > 0 {
		if c != ',' {
			s.fail()
			return false
		}
		s.pos++
	}
	return !s.broken
}
