package sync_test

import (
	"fmt"

	"tidemark/internal/wire"
	"tidemark/store"
	eventsync "tidemark/sync"
)

// wireEncoder is the protocol's own encoder: transcripts show what goes over the wire.
type wireEncoder struct{ frame int }

func (wireEncoder) AppendEvent(dst []byte, ev *store.Event, withStream bool) []byte {
	return wire.AppendEvent(dst, ev, withStream)
}

func (wireEncoder) AppendEventsOpen(dst []byte, sub uint64) []byte {
	return wire.AppendEventsOpen(dst, sub)
}

func (wireEncoder) AppendEventsClose(dst []byte) []byte { return append(dst, wire.EventsEnd...) }

func (e wireEncoder) AppendAck(dst []byte, p *eventsync.Push) []byte {
	return wire.AppendAck(dst, p.Edge.(*wire.Push), e.frame)
}

func (wireEncoder) AppendReply(dst []byte, r eventsync.Reply) []byte {
	return toWire(r).Append(dst)
}

func toWire(r eventsync.Reply) wire.Message {
	switch r := r.(type) {
	case *eventsync.Welcome:
		return &wire.Welcome{Ref: wire.Ref(r.Ref), Log: r.Log, Session: r.Session, Head: r.Head, By: r.By, ExpiresAt: r.ExpiresAt,
			Server: r.Server, Features: r.Features, HeartbeatMS: r.HeartbeatMS, Limits: wire.Limits(r.Limits)}
	case *eventsync.Subscribed:
		return &wire.Subscribed{Ref: wire.Ref(r.Ref), Sub: r.Sub, Filter: r.Filter, Since: r.Since, Head: r.Head, Floor: r.Floor}
	case *eventsync.Unsubscribed:
		return &wire.Unsubscribed{Ref: wire.Ref(r.Ref), Sub: r.Sub}
	case *eventsync.Live:
		return (*wire.Live)(r)
	case *eventsync.Reset:
		return (*wire.Reset)(r)
	case *eventsync.Snapshot:
		return (*wire.Snapshot)(r)
	case *eventsync.Signal:
		return (*wire.Signal)(r)
	case *eventsync.Presence:
		p := &wire.Presence{Sub: r.Sub, Gone: r.Gone, Full: r.Full}
		for _, m := range r.Set {
			p.Set = append(p.Set, wire.Member(m))
		}
		return p
	case *eventsync.Pong:
		return &wire.Pong{Ref: wire.Ref(r.Ref), Head: r.Head, Seq: r.Seq, Mark: r.Mark}
	case *eventsync.Authenticated:
		return &wire.Authenticated{Ref: wire.Ref(r.Ref), By: r.By, ExpiresAt: r.ExpiresAt}
	case *eventsync.Error:
		return &wire.Error{Ref: wire.Ref(r.Ref), Sub: r.Sub, Code: r.Code, Message: r.Message}
	case *eventsync.Goodbye:
		return (*wire.Goodbye)(r)
	}
	panic(fmt.Sprintf("no wire form of %T", r))
}

// fromWire decodes one frame of a client.
func fromWire(d *wire.Decoder, frame []byte) eventsync.Message {
	m, fault := d.Decode(frame)
	if fault != nil {
		return &eventsync.Bad{Error: *fromFault(fault)}
	}
	switch m := m.(type) {
	case *wire.Hello:
		h := &eventsync.Hello{Ref: eventsync.Ref(m.Ref), Token: m.Token, Client: m.Client, N: m.N, App: m.App}
		for i := range m.Subs {
			h.Subs = append(h.Subs, *fromSubscribe(&m.Subs[i]))
		}
		return h
	case *wire.Subscribe:
		return fromSubscribe(m)
	case *wire.Unsubscribe:
		return &eventsync.Unsubscribe{Ref: eventsync.Ref(m.Ref), Sub: m.Sub}
	case *wire.Push:
		return &eventsync.Push{Ref: eventsync.Ref(m.Ref), Store: &m.Push, Edge: m}
	case *wire.SendSignal:
		return &eventsync.SendSignal{Ref: eventsync.Ref(m.Ref), Stream: m.Stream, Data: m.Data}
	case *wire.SetPresence:
		return &eventsync.SetPresence{Ref: eventsync.Ref(m.Ref), Stream: m.Stream, Data: m.Data}
	case *wire.Ping:
		return &eventsync.Ping{Ref: eventsync.Ref(m.Ref)}
	case *wire.Auth:
		return &eventsync.Auth{Ref: eventsync.Ref(m.Ref), Token: m.Token}
	}
	panic(fmt.Sprintf("no message of %T", m))
}

func fromSubscribe(m *wire.Subscribe) *eventsync.Subscribe {
	s := &eventsync.Subscribe{Ref: eventsync.Ref(m.Ref), Sub: m.Sub, Filter: m.Filter, Resume: m.Resume, Cursor: m.Cursor,
		From: eventsync.From(m.From)}
	if m.Fault != nil {
		s.Fault = fromFault(m.Fault)
	}
	return s
}

// fromFault leaves out the text, which is the decoder's affair.
func fromFault(e *wire.Error) *eventsync.Error {
	return &eventsync.Error{Ref: eventsync.Ref(e.Ref), Sub: e.Sub, Code: e.Code, Message: "(what the decoder says)"}
}

// closes are the close codes of the ways in which the engine ends a connection.
var closes = map[eventsync.End]wire.Close{
	eventsync.EndShutdown: wire.CloseShutdown, eventsync.EndGoingAway: wire.CloseGoingAway,
	eventsync.EndOverloaded: wire.CloseOverloaded, eventsync.EndReplaced: wire.CloseReplaced,
	eventsync.EndProtocol: wire.CloseProtocol, eventsync.EndUnauthorized: wire.CloseUnauthorized,
	eventsync.EndUpgrade: wire.CloseUpgrade,
}
