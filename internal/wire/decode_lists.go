package wire

import "tidemark/store"

func (m *Snapshot) read(s *scanner, name []byte) bool {
	switch string(name) {
	case "sub":
		m.Sub = s.sub()
	case "seq":
		m.Seq = s.seq("seq")
	case "docs":
		m.Docs = readDocs(s)
		m.Wide = len(m.Docs) > 0 && m.Docs[0].Stream != ""
	case "done":
		m.Done = s.boolean("done")
	case "upto":
		m.Upto = s.seq("upto")
	case "mark":
		m.Mark = s.id("mark")
	default:
		return false
	}
	return true
}

func (m *Snapshot) check(s *scanner) { s.needSub(m.Sub) }

func readDocs(s *scanner) []store.Doc {
	if !s.array("docs") {
		return nil
	}
	docs := []store.Doc{}
	var stream store.Stream
	for n := 0; s.item(n); n++ {
		d := docReader{last: stream}
		readObject(s, "a document", &d)
		stream = d.Stream
		docs = append(docs, d.Doc)
	}
	return docs
}

type docReader struct {
	store.Doc
	last store.Stream
}

func (d *docReader) read(s *scanner, name []byte) bool {
	switch string(name) {
	case "key":
		d.Key = s.string("key")
	case "stream":
		d.Stream = s.streamOf(d.last)
	case "seq":
		d.Seq = s.seq("seq")
	case "data":
		d.Data = s.raw()
	default:
		return false
	}
	return true
}

func (d *docReader) check(s *scanner) {
	if d.Key == "" || d.Data == nil {
		s.wrong("a document has no key or no data")
	}
}

func (m *Ack) read(s *scanner, name []byte) bool {
	switch string(name) {
	case "ref":
		m.Ref = s.ref()
	case "stream":
		m.Stream, m.HasStream = s.streamOf(""), true
	case "results":
		m.Results = readResults(s)
	default:
		return false
	}
	return true
}

func readResults(s *scanner) []Result {
	if !s.array("results") {
		return nil
	}
	results := make([]Result, 0, 1+(len(s.src)-s.pos)/100)
	for n := 0; s.item(n); n++ {
		results = append(results, Result{})
		readObject(s, "a result", &results[len(results)-1])
	}
	return results
}

func (r *Result) read(s *scanner, name []byte) bool {
	switch string(name) {
	case "id":
		r.ID = s.id("id")
	case "seq":
		r.Seq = s.seq("seq")
	case "prev":
		r.Prev = s.seq("prev")
	case "at":
		r.At = s.integer("at")
	case "dup":
		r.Dup = s.boolean("dup")
	case "error":
		r.Err = &Error{}
		readObject(s, "error", r.Err)
	default:
		return false
	}
	return true
}

func (r *Result) check(s *scanner) {
	if r.Seq == 0 && r.Err == nil {
		s.wrong("a result has neither seq nor error")
	}
}

func (e *Error) read(s *scanner, name []byte) bool {
	switch string(name) {
	case "ref":
		e.Ref = s.ref()
	case "sub":
		e.Sub = s.sub()
	case "code":
		e.Code = store.Code(s.string("code"))
	case "message":
		e.Message = s.string("message")
	case "later":
		e.Later = s.boolean("later")
	case "seq":
		e.Seq = s.seq("seq")
	case "data":
		e.Data = s.raw()
	case "retry_after_ms":
		e.RetryAfterMS = s.integer("retry_after_ms")
	default:
		return false
	}
	return true
}

func (e *Error) check(s *scanner) {
	if e.Code == "" {
		s.wrong("an error has no code")
	}
	e.Later = e.Later || e.Code.Later()
}

func (m *Signal) read(s *scanner, name []byte) bool {
	switch string(name) {
	case "sub":
		m.Sub = s.sub()
	case "session":
		m.Session = s.id("session")
	case "by":
		m.By = s.string("by")
	case "data":
		m.Data = s.raw()
	default:
		return false
	}
	return true
}

func (m *Signal) check(s *scanner) { s.needSub(m.Sub) }

func (m *Presence) read(s *scanner, name []byte) bool {
	switch string(name) {
	case "sub":
		m.Sub = s.sub()
	case "set":
		if s.array("set") {
			for n := 0; s.item(n); n++ {
				m.Set = append(m.Set, Member{})
				readObject(s, "a member", &m.Set[len(m.Set)-1])
			}
		}
	case "gone":
		if s.array("gone") {
			for n := 0; s.item(n); n++ {
				m.Gone = append(m.Gone, s.id("a session"))
			}
		}
	case "full":
		m.Full = s.boolean("full")
	default:
		return false
	}
	return true
}

func (m *Presence) check(s *scanner) { s.needSub(m.Sub) }

func (m *Member) read(s *scanner, name []byte) bool {
	switch string(name) {
	case "session":
		m.Session = s.id("session")
	case "by":
		m.By = s.string("by")
	case "data":
		m.Data = s.raw()
	default:
		return false
	}
	return true
}

func (m *Member) check(s *scanner) {
	if m.Session.IsZero() || m.Data == nil {
		s.wrong("a member has no session or no data")
	}
}
