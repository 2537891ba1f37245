package httpapi

import (
	"context"
	"errors"
	"mime"
	"net/http"
	"time"

	"tidemark/internal/respond"
	"tidemark/internal/wire"
	"tidemark/store"
	eventsync "tidemark/sync"
)

// postEvents takes a mutation, an array of them, or NDJSON.
func (c *call) postEvents() error {
	o, atomic, err := c.postOptions()
	if err != nil {
		return err
	}
	body, err := c.body(c.Limits.Frame)
	if err != nil {
		return err
	}
	p, single, e := wire.DecodeBody(body, o)
	if e != nil {
		return e
	}
	if err := c.charge(len(p.Mutations)); err != nil {
		return err
	}
	p.Atomic, p.By = atomic, c.who.Subject
	c.authorize(&p.Push)
	if err := c.append(&p.Push); err != nil {
		return err
	}
	c.hideDocuments(&p.Push)
	c.w.Header().Set("Cache-Control", "no-store")
	if r := p.Verdicts[0].Refusal; single && r != nil {
		return wire.FromRefusal(r.WithDocument())
	}
	return c.send(http.StatusOK, wire.AppendResults(nil, p, c.Limits.Frame))
}

func (c *call) postOptions() (o wire.BodyOptions, atomic bool, err error) {
	o.Limits = c.Limits
	if o.Stream, err = c.stream(eventsync.ActWrite); err != nil && wire.Status(c.errorOf(err).Code) != http.StatusForbidden {
		return o, false, err // a mutation may name another stream, so what is forbidden is each mutation's own verdict
	}
	if o.Log, err = c.idParam("log"); err != nil {
		return o, false, err
	}
	if atomic, err = c.boolParam("atomic"); err != nil {
		return o, false, err
	}
	if key := c.r.Header.Get("Idempotency-Key"); key != "" {
		if o.ID, err = store.ParseID(key); err != nil {
			return o, false, fault(store.CodeBadMessage, "Idempotency-Key: it needs a UUID in canonical form")
		}
	}
	kind, _, _ := mime.ParseMediaType(c.r.Header.Get("Content-Type"))
	o.Lines = kind == "application/x-ndjson"
	return o, atomic, nil
}

// bodyTime is how long a request's body may take.
const bodyTime = 30 * time.Second

// body reads the request's body, of at most limit bytes.
func (c *call) body(limit int) ([]byte, error) {
	body, err := respond.ReadBody(c.w, c.r, limit, bodyTime)
	switch {
	case errors.Is(err, respond.ErrTooLarge):
		return nil, fault(store.CodeTooLarge, "the body is larger than the server takes")
	case err != nil:
		return nil, fault(store.CodeBadMessage, "the body did not arrive whole")
	}
	return body, nil
}

// authorize refuses the mutations that the caller is not allowed to write.
func (c *call) authorize(p *store.Push) {
	if c.who.Allows == nil {
		return
	}
	for i := range p.Mutations {
		m := &p.Mutations[i]
		if m.Stream == "" || c.who.May(eventsync.ActWrite, store.Only(m.Stream)) {
			continue
		}
		if p.Refused == nil {
			p.Refused = make([]*store.Refusal, len(p.Mutations))
		}
		if p.Refused[i] == nil {
			p.Refused[i] = &store.Refusal{Code: store.CodeForbidden, Message: "this is not allowed"}
		}
	}
}

// append waits for the verdicts, which are on disk then. Who leaves meanwhile gets none; what was queued takes effect.
func (c *call) append(p *store.Push) error { return appendWait(c.r.Context(), c.Log, p) }

func appendWait(ctx context.Context, log Log, p *store.Push) error {
	done := make(chan struct{})
	p.Done = func(*store.Push) { close(done) }
	if err := log.Append(ctx, p); err != nil {
		return err
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// hideDocuments takes the current document out of conflicts on streams that the caller may not read.
func (c *call) hideDocuments(p *store.Push) {
	for i := range p.Verdicts {
		r := p.Verdicts[i].Refusal
		if r == nil || !r.HasDocument() || c.who.May(eventsync.ActRead, store.Only(p.Mutations[i].Stream)) {
			continue
		}
		p.Verdicts[i].Refusal = r.WithoutDocument()
	}
}

// postSignal passes the body to those who are subscribed to the stream now.
func (c *call) postSignal() error {
	st, err := c.stream(eventsync.ActSignal)
	if err != nil {
		return err
	}
	body, err := c.body(c.Limits.Frame)
	if err != nil {
		return err
	}
	data, rest, err := store.CompactValue(make([]byte, 0, len(body)), body)
	if err != nil || len(trimSpace(rest)) > 0 {
		return fault(store.CodeBadMessage, "the body is not one JSON value")
	}
	if len(data) > c.Limits.Data {
		return fault(store.CodeTooLarge, "the data is larger than the server takes")
	}
	if err := c.charge(1); err != nil {
		return err
	}
	c.Live.Signal(st, c.who.Subject, data)
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

// trimSpace trims what JSON calls white space, and nothing else.
func trimSpace(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\n' || b[0] == '\r' || b[0] == '\t') {
		b = b[1:]
	}
	return b
}
