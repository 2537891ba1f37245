package wire

import (
	"slices"

	"tidemark/store"
)

// push reads a push straight into what the store judges.
func (d *Decoder) push(s *scanner) (Message, *Error) {
	const bStream, bAtomic, bLog, bMutations = 1, 2, 4, 8
	m := &Push{}
	list := mutations{d: d, push: &m.Push}
	f := fields{}
	for s.next(&f) {
		switch string(f.name) {
		case "stream":
			s.once(&f, bStream)
			m.Stream, m.HasStream = s.streamName(d.stream), true
		case "atomic":
			s.once(&f, bAtomic)
			m.Atomic = s.boolean("atomic")
		case "log":
			s.once(&f, bLog)
			m.Log = s.id("log")
		case "mutations":
			s.once(&f, bMutations)
			list.readArray(s)
		default:
			s.common(&f, &m.Ref)
		}
	}
	s.need(&f, bMutations, "a push needs mutations")
	list.finish(s, m)
	if e := s.finish(m.Ref, 0); e != nil {
		return nil, e
	}
	return m, nil
}

// mutations collects the mutations of one push.
type mutations struct {
	d        *Decoder
	push     *store.Push
	mem      arena
	n        int
	homeless bool     // one of them names no stream of its own
	id       store.ID // of a mutation without one; zero: it needs one
}

func (l *mutations) readArray(s *scanner) {
	if !s.array("mutations") {
		return
	}
	l.push.Mutations = make([]store.Mutation, 0, 1)
	for n, start := 0, s.pos; s.item(n); n++ {
		l.read(s)
		if n == 0 { // the others are likely to be as long
			guess := 1 + (len(s.src)-s.pos)/max(1, s.pos-start)
			l.push.Mutations = slices.Grow(l.push.Mutations, min(guess, l.d.Limits.Mutations)-1)
		}
	}
}

// read reads one mutation; what is wrong with it becomes its verdict and does not touch its neighbours.
func (l *mutations) read(s *scanner) {
	if l.n++; l.n > l.d.Limits.Mutations {
		s.skip()
		s.refuse(store.CodeTooMany, "the push has more than limits.mutations")
		return
	}
	fault, badUTF, code := s.fault, s.badUTF, s.code
	s.fault, s.badUTF, s.code = nil, false, store.CodeMutationInvalid
	l.push.Mutations = append(l.push.Mutations, store.Mutation{})
	l.mutation(s, &l.push.Mutations[len(l.push.Mutations)-1])
	if s.badUTF {
		s.fault = errorf(store.CodeMutationInvalid, "the mutation is not UTF-8")
	}
	if s.fault != nil {
		l.refuse(s.fault)
	}
	s.fault, s.badUTF, s.code = fault, badUTF, code
}

// refuse gives the mutation that was read last its verdict.
func (l *mutations) refuse(e *Error) {
	for len(l.push.Refused) < len(l.push.Mutations) {
		l.push.Refused = append(l.push.Refused, nil)
	}
	l.push.Refused[len(l.push.Refused)-1] = e.Refusal()
}

// finish checks what only the whole push shows, and gives every mutation its stream and log.
func (l *mutations) finish(s *scanner, m *Push) {
	if l.n == 0 {
		s.wrong("a push needs mutations")
	}
	if l.homeless && !m.HasStream {
		s.wrong("the push names no stream, and not all of its mutations do")
	}
	if m.Log.IsZero() {
		m.Log = l.d.log
	}
	for i := range m.Mutations {
		mut := &m.Mutations[i]
		if mut.Stream == "" {
			mut.Stream = m.Stream
		}
		if mut.Expect.Kind == store.ExpectSeq {
			mut.Expect.Log = m.Log
		}
	}
	if m.HasStream {
		l.d.stream = m.Stream
	}
	if m.Refused != nil {
		m.Refused = append(m.Refused, make([]*store.Refusal, len(m.Mutations)-len(m.Refused))...)
	}
}

// The known names of a mutation.
const (
	mID = 1 << iota
	mStream
	mType
	mKey
	mOp
	mData
	mExpect
)

func (l *mutations) mutation(s *scanner, m *store.Mutation) {
	f := fields{}
	if s.object("the mutation") {
		l.members(s, &f, m)
	}
	if f.seen&mStream == 0 {
		l.homeless = true
	}
	if f.seen&mID == 0 && !l.id.IsZero() {
		m.ID = l.id
		f.seen |= mID
	}
	if s.fault == nil && !s.broken {
		check(s, &f, m)
	}
}

func (l *mutations) members(s *scanner, f *fields, m *store.Mutation) {
	for s.next(f) {
		switch string(f.name) {
		case "id":
			s.once(f, mID)
			m.ID = s.id("id")
		case "stream":
			s.once(f, mStream)
			m.Stream = s.streamName(l.d.stream)
			l.d.stream = m.Stream
		case "type":
			s.once(f, mType)
			m.Type = l.typeName(s)
		case "key":
			s.once(f, mKey)
			k, _ := s.bounded("key", 1, MaxKey)
			m.Key = string(k)
		case "op":
			s.once(f, mOp)
			m.Op = s.op()
		case "data":
			s.once(f, mData)
			m.Data = s.data(&l.mem, l.d.Limits.Data)
		case "expect":
			s.once(f, mExpect)
			m.Expect = s.expect()
		default:
			s.unknown(f)
		}
	}
}

func (l *mutations) typeName(s *scanner) string {
	t, _ := s.bounded("type", 1, MaxType)
	if string(t) != l.d.typ {
		l.d.typ = string(t)
	}
	return l.d.typ
}

func (s *scanner) op() store.Op {
	t, ok := s.text("op")
	switch {
	case !ok:
		return store.OpNone
	case string(t) == "put":
		return store.OpPut
	case string(t) == "patch":
		return store.OpPatch
	case string(t) == "delete":
		return store.OpDelete
	}
	s.wrong("op is none of put, patch, delete")
	return store.OpNone
}

// expect reads a seq or the id of a mutation.
func (s *scanner) expect() store.Expect {
	if s.peek() == '"' {
		return store.Expect{Kind: store.ExpectID, ID: s.id("expect")}
	}
	return store.Expect{Kind: store.ExpectSeq, Seq: s.seq("expect")}
}

// check holds a mutation to the rules between its members.
func check(s *scanner, f *fields, m *store.Mutation) {
	if m.Op != store.OpNone && m.Type == m.Op.String() {
		m.Type = "" // it says what is so anyway: both spellings are the same mutation
	}
	hasData := f.seen&mData != 0
	switch {
	case f.seen&mID == 0:
		s.wrong("the mutation has no id")
	case m.Op == store.OpNone && f.seen&mType == 0:
		s.wrong("without op a mutation needs a type")
	case m.Op != store.OpNone && m.Key == "":
		s.wrong("op needs a key")
	case m.Op == store.OpPut && (!hasData || string(m.Data) == "null"):
		s.wrong("put needs data other than null")
	case m.Op == store.OpPatch && (!hasData || m.Data[0] != '{'):
		s.wrong("patch needs an object as data")
	case m.Op == store.OpDelete && hasData:
		s.wrong("delete has no data")
	}
}
