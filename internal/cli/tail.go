package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"time"

	"tidemark/client"
	"tidemark/internal/wire"
	"tidemark/store"
)

type tailCmd struct {
	remote
	Stream string `arg:"" help:"A stream, everything below a name (room/**), or all (**)."`
	Since  string `help:"Print what came after this seq; 0: everything that the log still has. Default: only what comes from now on."`
	Count  int    `short:"n" help:"End after this many events." placeholder:"N"`
	Follow bool   `default:"true" negatable:"" help:"Go on with what comes. --no-follow ends when everything so far is printed, or the server cannot be reached."`
	JSON   bool   `name:"json" help:"Print events as JSON, one a line."`
}

// errTailDone ends the loop when --count or --no-follow say so.
var errTailDone = errors.New("done")

// Run prints events until it is interrupted. It reconnects by itself and goes on where it was.
func (c *tailCmd) Run(ctx context.Context, sys *system) error {
	spec, err := c.spec()
	if err != nil {
		return err
	}
	ctx, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	tell := tellState(sys)
	if !c.Follow {
		tell = once(tell, giveUp)
	}
	cl, err := c.clientWith(tell)
	if err != nil {
		return err
	}
	defer cl.Close()
	p := &tailPrinter{cmd: c, sys: sys, out: bufio.NewWriter(sys.out)}
	for u, err := range cl.Updates(ctx, spec) {
		if err == nil {
			err = p.print(u)
		}
		switch {
		case errors.Is(err, errTailDone):
			return nil
		case errors.Is(err, context.Canceled):
			return ended(ctx)
		case err != nil:
			return err
		}
	}
	return ended(ctx)
}

// noServer is why a command that does not follow gave up.
type noServer struct{ error }

// once gives up where the client would wait for another try: at once when there is no server, and when the connection was
// lost and the next try fails.
func once(tell func(client.State), giveUp context.CancelCauseFunc) func(client.State) {
	connected := false
	return func(s client.State) {
		switch s.Phase {
		case client.Connected:
			connected = true
		case client.Waiting:
			if !connected {
				giveUp(noServer{s.Err})
				return
			}
			connected = false
		}
		tell(s)
	}
}

// ended returns why the context ended, nil for an interrupt.
func ended(ctx context.Context) error {
	if err, ok := errors.AsType[noServer](context.Cause(ctx)); ok {
		return err.error
	}
	return nil
}

func (c *tailCmd) spec() (client.Spec, error) {
	f, err := store.ParseFilter(c.Stream)
	if err != nil {
		return client.Spec{}, usageError{err}
	}
	spec := client.Spec{Filter: f, From: client.FromNow}
	if !c.Follow {
		spec.From = client.FromStart
	}
	if c.Since != "" {
		seq, err := store.ParseSeq(c.Since)
		if err != nil {
			return spec, usageError{err}
		}
		spec.From = client.FromStart
		if seq > 0 {
			spec.Since = &store.Cursor{Seq: seq}
		}
	}
	return spec, nil
}

// tailPrinter prints updates.
type tailPrinter struct {
	cmd   *tailCmd
	sys   *system
	out   *bufio.Writer
	text  []byte
	json  []byte
	count int
}

func (p *tailPrinter) print(u *client.Update) error {
	switch u.Kind {
	case client.KindReset:
		fmt.Fprintf(p.sys.err, "tidemark: %s: the log cannot be continued from where this was; it goes on from %d\n", plain(string(u.Reason)), u.Floor)
	case client.KindLive:
		if !p.cmd.Follow {
			return errTailDone
		}
	case client.KindEvents:
		return p.events(u.Events)
	}
	return nil
}

func (p *tailPrinter) events(evs []store.Event) error {
	for i := range evs {
		if p.cmd.JSON {
			p.json = wire.AppendEvent(p.json[:0], &evs[i], true)
			p.text = append(appendPlainJSON(p.text[:0], p.json), '\n')
		} else {
			p.text = appendLine(p.text[:0], &evs[i])
		}
		p.out.Write(p.text)
		if p.count++; p.count == p.cmd.Count {
			break
		}
	}
	if err := p.out.Flush(); err != nil {
		return err
	}
	if p.count == p.cmd.Count && p.count > 0 {
		return errTailDone
	}
	return nil
}

// appendLine writes an event for people: seq, time, stream, type, key, data.
func appendLine(dst []byte, e *store.Event) []byte {
	if e.Flags.Has(store.FlagStub) {
		return fmt.Appendf(dst, "%d  erased  %s\n", e.Seq, plain(string(e.Stream)))
	}
	at := time.UnixMilli(e.At).Format("2006-01-02 15:04:05.000")
	dst = fmt.Appendf(dst, "%d  %s  %s  %s", e.Seq, at, plain(string(e.Stream)), plain(e.Type))
	if e.Op != store.OpNone && e.Type != e.Op.String() {
		dst = fmt.Appendf(dst, " (%s)", e.Op)
	}
	if e.Key != "" {
		dst = fmt.Appendf(dst, "  %s", plain(e.Key))
	}
	if e.By != "" {
		dst = fmt.Appendf(dst, "  by %s", plain(e.By))
	}
	switch {
	case e.Flags.Has(store.FlagBytes):
		dst = fmt.Appendf(dst, "  (%d bytes)", len(e.Data))
	case e.Data != nil:
		dst = appendPlainJSON(append(dst, "  "...), e.Data)
	}
	return append(dst, '\n')
}
