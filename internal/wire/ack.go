package wire

import "tidemark/store"

// Result is the answer to one mutation as a client reads it.
type Result struct {
	ID   store.ID // zero: the mutation had no valid one
	Seq  store.Seq
	Prev store.Seq
	At   int64
	Dup  bool
	Err  *Error // nil: accepted
}

// Ack answers a Push as a client reads it: one result per mutation, in order.
type Ack struct {
	Ref       Ref
	Stream    store.Stream
	HasStream bool
	Results   []Result
}

// maxMessage bounds the text of an error, and with it what a result needs at most: so AppendAck knows before it writes a
// document whether what follows still fits.
const (
	maxMessage  = 200
	maxRefused  = 6*maxMessage + 200 // every byte of the message escaped as \u00xx, and the fields
	maxAccepted = 140
)

// Append implements Message.
func (m *Ack) Append(dst []byte) []byte {
	dst = appendAckHead(dst, m.Ref, m.Stream, m.HasStream)
	for i := range m.Results {
		if i > 0 {
			dst = append(dst, ',')
		}
		r := &m.Results[i]
		v := store.Verdict{Seq: r.Seq, Prev: r.Prev, At: r.At, Dup: r.Dup}
		dst = appendResult(dst, r.ID, &v, r.Err)
	}
	return append(dst, ']', '}')
}

// AppendAck answers a push from the verdicts that the store filled in. The documents of conflicts are read now, and left out
// where the frame would exceed frame bytes.
func AppendAck(dst []byte, p *Push, frame int) []byte {
	start := len(dst)
	dst = appendAckHead(dst, p.Ref, p.Stream, p.HasStream)
	dst = appendVerdicts(dst, &p.Push, start+frame)
	return append(dst, ']', '}')
}

func appendAckHead(dst []byte, ref Ref, stream store.Stream, hasStream bool) []byte {
	dst = appendHead(dst, "ack", ref)
	if hasStream {
		dst = appendStringField(dst, "stream", string(stream))
	}
	return append(dst, `,"results":[`...)
}

// appendVerdicts appends the results of a push, comma-separated; what it appends ends before the given end of dst where
// leaving out documents can bring that about.
func appendVerdicts(dst []byte, p *store.Push, end int) []byte {
	unfit := end - len(dst) // bytes of documents that may be read in vain: then no more are read
	rest := len("]}")       // an upper bound of what is still to come, documents aside
	for i := range p.Verdicts {
		rest += resultSize(&p.Verdicts[i])
	}
	for i := range p.Verdicts {
		if i > 0 {
			dst = append(dst, ',')
		}
		v := &p.Verdicts[i]
		var e *Error
		if v.Refusal != nil {
			e = FromRefusal(v.Refusal)
			e.Data = nil
			if room := end - len(dst) - rest; room > 0 && unfit > 0 && v.Refusal.HasDocument() {
				if full := FromRefusal(v.Refusal.WithDocument()); len(full.Data) <= room {
					e = full
				} else {
					unfit -= len(full.Data)
				}
			}
		}
		dst = appendResult(dst, p.Mutations[i].ID, v, e)
		rest -= resultSize(v)
	}
	return dst
}

// resultSize is an upper bound of what a result needs, its document aside.
func resultSize(v *store.Verdict) int {
	if v.Refusal != nil {
		return maxRefused
	}
	return maxAccepted
}

func appendResult(dst []byte, id store.ID, v *store.Verdict, e *Error) []byte {
	dst = append(dst, '{')
	if !id.IsZero() {
		dst = append(dst, `"id":"`...)
		dst = append(id.Append(dst), '"', ',')
	}
	if e != nil {
		dst = append(dst, `"error":{`...)
		return append(e.appendFields(dst), '}', '}')
	}
	dst = append(dst, `"seq":`...)
	dst = appendUint(dst, v.Seq)
	if v.Dup {
		return append(dst, `,"dup":true}`...)
	}
	dst = appendUintField(dst, "prev", v.Prev)
	return append(appendIntField(dst, "at", v.At), '}')
}

// appendFields appends the inside of an error object.
func (e *Error) appendFields(dst []byte) []byte {
	dst = append(dst, `"code":`...)
	dst = AppendString(dst, string(e.Code))
	dst = appendStringField(dst, "message", clip(e.Message, maxMessage))
	if e.Code == store.CodeConflict {
		dst = appendUintField(dst, "seq", e.Seq)
		if e.Data != nil {
			dst = appendDataField(dst, e.Data)
		}
	}
	if e.Later || e.Code.Later() {
		dst = append(dst, `,"later":true`...)
	}
	if e.RetryAfterMS > 0 {
		dst = appendIntField(dst, "retry_after_ms", e.RetryAfterMS)
	}
	return dst
}

// Append implements Message.
func (e *Error) Append(dst []byte) []byte {
	dst = appendHead(dst, "error", e.Ref)
	dst = e.appendFields(append(dst, ','))
	if e.Sub != 0 {
		dst = appendUintField(dst, "sub", e.Sub)
	}
	return append(dst, '}')
}
