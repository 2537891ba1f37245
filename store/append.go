package store

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
)

// Append queues a push; p.Done is called when its verdicts are on disk. It waits while the queue is full. An error means
// that the push was not taken and Done will not be called: ErrClosed, ErrFailed, ErrReadOnly or the context's.
//
// Pushes of one goroutine are judged in the order of its calls. When the store fails, pushes that wait are never answered.
func (s *Store) Append(ctx context.Context, p *Push) error {
	if s.opts.ReadOnly {
		return ErrReadOnly
	}
	if err := p.prepare(&s.opts.Limits); err != nil {
		return err
	}
	if err := s.queue.put(ctx, p); err != nil {
		if s.gate.Load() {
			return ErrFailed
		}
		return err
	}
	return nil
}

// AppendWait is Append that waits for the verdicts.
func (s *Store) AppendWait(ctx context.Context, p *Push) ([]Verdict, error) {
	done := make(chan struct{})
	p.Done = func(*Push) { close(done) }
	if err := s.Append(ctx, p); err != nil {
		return nil, err
	}
	select {
	case <-done:
		return p.Verdicts, nil
	case <-s.done:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	select { // the last group was answered before the writer ended
	case <-done:
		return p.Verdicts, nil
	default:
		return nil, s.gone()
	}
}

// pushOverhead is what a mutation counts in the queue beside its data.
const pushOverhead = 256

// prepare does what can be done before the push is in order: shape, size, fingerprints.
func (p *Push) prepare(l *Limits) error {
	if p.Done == nil || (p.Refused != nil && len(p.Refused) != len(p.Mutations)) {
		return errors.New("store: a push needs Done, and as many entries in Refused as mutations")
	}
	if cap(p.Verdicts) < len(p.Mutations) {
		p.Verdicts = make([]Verdict, 0, len(p.Mutations))
	}
	p.prints = make([]uint64, len(p.Mutations))
	p.size, p.judged = 0, 0
	var scratch []byte
	for i := range p.Mutations {
		m := &p.Mutations[i]
		p.size += pushOverhead + len(m.Data) + len(m.Key) + len(m.Extra)
		if p.Refused != nil && p.Refused[i] != nil {
			continue
		}
		if r := m.Refusal(l); r != nil {
			if p.Refused == nil {
				p.Refused = make([]*Refusal, len(p.Mutations))
			}
			p.Refused[i] = r
			continue
		}
		if m.Type == "" {
			m.Type = m.Op.String()
		}
		p.prints[i], scratch = fingerprint(m, scratch[:0])
	}
	return nil
}

// Limits of names, in bytes.
const (
	MaxKey  = 1024
	MaxType = 255
)

// Refusal returns why the mutation cannot be accepted whatever the log holds, or nil. Whether Data is well-formed JSON is
// the business of whoever made it (see CompactValue).
func (m *Mutation) Refusal(l *Limits) *Refusal {
	invalid := func(format string, a ...any) *Refusal {
		return &Refusal{Code: CodeMutationInvalid, Message: fmt.Sprintf(format, a...)}
	}
	switch {
	case m.ID.IsZero():
		return invalid("id is missing")
	case m.Stream == "":
		return invalid("stream is missing")
	case m.Type == "" && m.Op == OpNone:
		return invalid("an event without op needs a type")
	case len(m.Type) > MaxType || HasControl(m.Type):
		return invalid("type needs 1 to %d bytes without control characters", MaxType)
	case m.Op != OpNone && m.Key == "":
		return invalid("op needs a key")
	case len(m.Key) > MaxKey || HasControl(m.Key):
		return invalid("key needs 1 to %d bytes without control characters", MaxKey)
	case len(m.Data) > l.Data:
		return &Refusal{Code: CodeTooLarge, Message: fmt.Sprintf("data has %d bytes, the limit is %d", len(m.Data), l.Data)}
	case m.Op != OpNone && m.Bytes:
		return invalid("a document is JSON, not bytes")
	case m.Op == OpPut && (m.Data == nil || string(m.Data) == "null"):
		return invalid("put needs data other than null")
	case m.Op == OpPatch && (len(m.Data) == 0 || m.Data[0] != '{'):
		return invalid("patch needs an object as data")
	case m.Op == OpDelete && m.Data != nil:
		return invalid("delete has no data")
	}
	return nil
}

// fingerprint condenses what makes two mutations with one id the same: stream, type, key, op and data. SHA-256, so that
// nobody can make another mutation with the same one; see docs/storage.md, "ids".
func fingerprint(m *Mutation, scratch []byte) (uint64, []byte) {
	b := appendString(scratch, string(m.Stream))
	b = appendString(b, m.Type)
	b = appendString(b, m.Key)
	kind := byte(m.Op)
	if m.Bytes {
		kind |= 0x80
	}
	if m.Data != nil {
		kind |= 0x40
	}
	b = append(append(b, kind), m.Data...)
	sum := sha256.Sum256(b)
	return binary.BigEndian.Uint64(sum[:8]), b
}

// fingerprint is that of the mutation that the event was.
func (e *Event) fingerprint() uint64 {
	fp, _ := fingerprint(&Mutation{
		Stream: e.Stream, Type: e.Type, Key: e.Key, Op: e.Op, Data: e.Data, Bytes: e.Flags.Has(FlagBytes),
	}, nil)
	return fp
}
