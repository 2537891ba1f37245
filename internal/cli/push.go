package cli

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"tidemark/client"
	"tidemark/internal/wire"
	"tidemark/store"
)

type pushCmd struct {
	remote
	Stream  string        `arg:"" optional:"" help:"Stream to write to. Lines of NDJSON may name their own."`
	Data    string        `arg:"" optional:"" help:"Data of one mutation, any JSON text. Without it mutations are read from standard input, one JSON object a line."`
	Type    string        `short:"t" help:"What happened (\"card.moved\"). With --op it may be left out."`
	Key     string        `short:"k" help:"Key of the document."`
	Op      string        `short:"o" enum:",put,patch,delete" default:"" help:"How the document at the key changes: put, patch or delete."`
	ID      string        `name:"id" help:"Id (UUID) of the mutation; sending it again is safe. Default: a new one."`
	Expect  string        `help:"Seq or id of the last event on the key (without a key: of the stream). 0: there must be none."`
	Atomic  bool          `help:"All mutations or none."`
	JSON    bool          `name:"json" help:"Print results as JSON."`
	Timeout time.Duration `default:"30s" help:"Give up after this time without an answer."`
}

// Run sends the mutations and prints a result for each, in order.
func (c *pushCmd) Run(ctx context.Context, sys *system) error {
	cl, err := c.client(sys)
	if err != nil {
		return err
	}
	defer cl.Close()
	out := &pushResults{sys: sys, json: c.JSON, out: bufio.NewWriter(sys.out), patience: c.Timeout}
	sent := c.send(ctx, sys, cl, out)
	waited := out.wait(ctx, cl) // for what came before a bad line, too: its results are printed
	if err = cmp.Or(sent, waited, out.out.Flush()); err == nil && out.refused > 0 {
		return errQuiet
	}
	return err
}

func (c *pushCmd) send(ctx context.Context, sys *system, cl *client.Client, out *pushResults) error {
	if c.Data != "" || c.Op == "delete" || (c.Type != "" && isTerminal(sys.in)) {
		m, err := c.mutation()
		if err != nil {
			return err
		}
		return out.send(ctx, cl, &m)
	}
	if isTerminal(sys.in) {
		return usagef("push needs data: tidemark push STREAM DATA --type TYPE, or mutations on standard input")
	}
	return c.sendLines(ctx, sys.in, cl, out)
}

// mutation is the one that the arguments describe.
func (c *pushCmd) mutation() (m store.Mutation, err error) {
	m = store.Mutation{Stream: store.Stream(c.Stream), Type: c.Type, Key: c.Key}
	if c.Data != "" {
		m.Data = []byte(c.Data)
	}
	if !json.Valid(m.Data) && m.Data != nil {
		return m, usagef("%.60q is not JSON; a text needs quotes: '\"text\"'", c.Data)
	}
	op, _ := store.ParseOp(c.Op)
	m.Op = op
	if c.Type == "" && op == store.OpNone {
		return m, usagef("push needs --type or --op")
	}
	if c.ID != "" {
		if m.ID, err = store.ParseID(c.ID); err != nil {
			return m, usageError{err}
		}
	}
	m.Expect, err = c.expect()
	return m, err
}

func (c *pushCmd) expect() (store.Expect, error) {
	e, err := parseExpect(c.Expect)
	if err != nil {
		return e, usagef("--expect %w", err)
	}
	return e, nil
}

func parseExpect(s string) (store.Expect, error) {
	if s == "" {
		return store.Expect{}, nil
	}
	if seq, err := store.ParseSeq(s); err == nil {
		return store.Expect{Kind: store.ExpectSeq, Seq: seq}, nil
	}
	id, err := store.ParseID(s)
	if err != nil {
		return store.Expect{}, fmt.Errorf("%q is neither a seq nor an id", s)
	}
	return store.Expect{Kind: store.ExpectID, ID: id}, nil
}

// sendLines sends NDJSON. Lines are pipelined; with --atomic they are one push.
func (c *pushCmd) sendLines(ctx context.Context, in io.Reader, cl *client.Client, out *pushResults) error {
	expect, err := c.expect()
	if err != nil {
		return err
	}
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 16<<20)
	var all []store.Mutation
	for n := 1; lines.Scan(); n++ {
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		m, err := c.parseLine(lines.Bytes(), expect)
		if err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		if c.Atomic {
			all = append(all, m)
			continue
		}
		if err := out.send(ctx, cl, &m); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	if err := lines.Err(); err != nil || len(all) == 0 {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	results, err := cl.PushAtomic(ctx, all...)
	for _, r := range results {
		out.print(r)
	}
	return err
}

// parseLine reads one mutation as the protocol writes it. The command's stream, type and
// expectation stand in for missing ones.
func (c *pushCmd) parseLine(line []byte, expect store.Expect) (m store.Mutation, err error) {
	var l struct {
		ID     string          `json:"id"`
		Stream string          `json:"stream"`
		Type   string          `json:"type"`
		Key    string          `json:"key"`
		Op     string          `json:"op"`
		Data   json.RawMessage `json:"data"`
		Expect any             `json:"expect"`
	}
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.DisallowUnknownFields()
	dec.UseNumber()
	if err := dec.Decode(&l); err != nil {
		return m, fmt.Errorf("not a mutation: %w", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return m, errors.New("not a mutation: there is more behind it; each needs a line of its own")
	}
	op, ok := store.ParseOp(l.Op)
	if !ok && l.Op != "" {
		return m, fmt.Errorf("op %q is not put, patch or delete", l.Op)
	}
	m = store.Mutation{Stream: store.Stream(cmp.Or(l.Stream, c.Stream)), Type: cmp.Or(l.Type, c.Type), Key: l.Key, Op: op,
		Data: l.Data, Expect: expect}
	if m.Type == "" && op == store.OpNone {
		return m, errors.New("a mutation needs a type or an op")
	}
	if l.ID != "" {
		if m.ID, err = store.ParseID(l.ID); err != nil {
			return m, fmt.Errorf("id: %w", err)
		}
	}
	if l.Expect != nil {
		if m.Expect, err = parseExpect(fmt.Sprint(l.Expect)); err != nil {
			return m, fmt.Errorf("expect %w", err)
		}
	}
	return m, nil
}

// pushResults prints results as they come. The client calls print from one goroutine, and wait is over before anything else
// reads its fields.
type pushResults struct {
	sys      *system
	out      *bufio.Writer
	json     bool
	patience time.Duration // without an answer
	refused  int
	err      error

	answered atomic.Pointer[time.Time] // when the last answer came; nil: none yet
}

func (p *pushResults) send(ctx context.Context, cl *client.Client, m *store.Mutation) error {
	return p.patiently(ctx, func(ctx context.Context) error { return cl.Send(ctx, m, p.print) })
}

// patiently waits for something, with an end when no answer has come for as long as patience lasts. On a slow line all the
// answers together may take much longer. Where the time is over although answers have come, it calls wait again.
func (p *pushResults) patiently(ctx context.Context, wait func(context.Context) error) error {
	for until := time.Now().Add(p.patience); ; {
		try, cancel := context.WithDeadline(ctx, until)
		err := wait(try)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
			return err
		}
		last := p.answered.Load()
		if last == nil || !last.Add(p.patience).After(until) {
			return fmt.Errorf("no answer within %v; the mutations may still take effect, sending the same ids again tells", p.patience)
		}
		until = last.Add(p.patience)
	}
}

func (p *pushResults) wait(ctx context.Context, cl *client.Client) error {
	err := p.patiently(ctx, cl.Flush)
	cl.Close()
	if err == nil {
		err = p.err
	}
	return err
}

func (p *pushResults) print(r client.Result) {
	now := time.Now()
	p.answered.Store(&now)
	refusal, refused := errors.AsType[*store.Refusal](r.Err)
	if r.Err != nil && !refused {
		p.err = r.Err
		return
	}
	if refused {
		p.refused++
	}
	switch {
	case p.json:
		p.printJSON(r, refusal)
	case refused:
		fmt.Fprintf(p.sys.err, "tidemark: %v: %s\n", r.ID, plain(refusal.Error()))
	case r.Dup:
		fmt.Fprintf(p.out, "%d dup\n", r.Seq)
	default:
		fmt.Fprintf(p.out, "%d\n", r.Seq)
	}
}

func (p *pushResults) printJSON(r client.Result, refusal *store.Refusal) {
	var e *wire.Error
	if refusal != nil {
		e = wire.FromRefusal(refusal)
	}
	ack := wire.Ack{Results: []wire.Result{{ID: r.ID, Seq: r.Seq, Prev: r.Prev, At: r.At, Dup: r.Dup, Err: e}}}
	text := ack.Append(nil)
	text = bytes.TrimSuffix(text[bytes.IndexByte(text, '[')+1:], []byte("]}"))
	p.out.Write(append(appendPlainJSON(nil, text), '\n'))
}
