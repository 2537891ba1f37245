package wsapi

import (
	"fmt"

	"tidemark/internal/wire"
	"tidemark/store"
	eventsync "tidemark/sync"
)

// NewEncoder returns the Encoder of engines whose clients come in over this package. l are the engine's limits.
func NewEncoder(l eventsync.Limits) eventsync.Encoder { return encoder{l.WithDefaults().Frame} }

type encoder struct{ frame int }

// AppendEvent implements eventsync.Encoder, as do the other methods.
func (encoder) AppendEvent(dst []byte, ev *store.Event, withStream bool) []byte {
	return wire.AppendEvent(dst, ev, withStream)
}

func (encoder) AppendEventsOpen(dst []byte, sub uint64) []byte {
	return wire.AppendEventsOpen(dst, sub)
}

func (encoder) AppendEventsClose(dst []byte) []byte { return append(dst, wire.EventsEnd...) }

func (e encoder) AppendAck(dst []byte, p *eventsync.Push) []byte {
	return wire.AppendAck(dst, p.Edge.(*wire.Push), e.frame)
}

func (encoder) AppendReply(dst []byte, r eventsync.Reply) []byte { return wireReply(r).Append(dst) }

// wireReply returns what the wire calls a reply.
func wireReply(r eventsync.Reply) wire.Message {
	switch r := r.(type) {
	case *eventsync.Welcome:
		return &wire.Welcome{Ref: wire.Ref(r.Ref), Log: r.Log, Session: r.Session, Head: r.Head, By: r.By, ExpiresAt: r.ExpiresAt,
			Server: r.Server, Features: r.Features, HeartbeatMS: r.HeartbeatMS, Limits: wire.Limits(r.Limits)}
	case *eventsync.Subscribed:
		return &wire.Subscribed{Ref: wire.Ref(r.Ref), Sub: r.Sub, Filter: r.Filter, Since: r.Since, Head: r.Head, Floor: r.Floor}
	case *eventsync.Unsubscribed:
		return &wire.Unsubscribed{Ref: wire.Ref(r.Ref), Sub: r.Sub}
	case *eventsync.Live:
		return &wire.Live{Sub: r.Sub, Seq: r.Seq, Mark: r.Mark}
	case *eventsync.Reset:
		return &wire.Reset{Sub: r.Sub, Reason: r.Reason, Log: r.Log, Floor: r.Floor, Head: r.Head}
	case *eventsync.Snapshot:
		return &wire.Snapshot{Sub: r.Sub, Seq: r.Seq, Wide: r.Wide, Docs: r.Docs, Done: r.Done, Upto: r.Upto, Mark: r.Mark}
	case *eventsync.Signal:
		return &wire.Signal{Sub: r.Sub, Session: r.Session, By: r.By, Data: r.Data}
	case *eventsync.Presence:
		return wirePresence(r)
	case *eventsync.Pong:
		return &wire.Pong{Ref: wire.Ref(r.Ref), Head: r.Head, Seq: r.Seq, Mark: r.Mark}
	case *eventsync.Authenticated:
		return &wire.Authenticated{Ref: wire.Ref(r.Ref), By: r.By, ExpiresAt: r.ExpiresAt}
	case *eventsync.Goodbye:
		return &wire.Goodbye{Reason: r.Reason, ReconnectAfterMS: r.ReconnectAfterMS}
	case *eventsync.Error:
		return &wire.Error{Ref: wire.Ref(r.Ref), Sub: r.Sub, Code: r.Code, Message: r.Message}
	}
	panic(fmt.Sprintf("wsapi: a reply of type %T", r))
}

func wirePresence(r *eventsync.Presence) *wire.Presence {
	m := &wire.Presence{Sub: r.Sub, Gone: r.Gone, Full: r.Full, Set: make([]wire.Member, len(r.Set))}
	for i := range r.Set {
		m.Set[i] = wire.Member(r.Set[i])
	}
	return m
}

// closeOf returns the close code for the way in which the engine ends a connection.
func closeOf(end eventsync.End) wire.Close {
	switch end {
	case eventsync.EndShutdown:
		return wire.CloseShutdown
	case eventsync.EndGoingAway:
		return wire.CloseGoingAway
	case eventsync.EndReplaced:
		return wire.CloseReplaced
	case eventsync.EndProtocol:
		return wire.CloseProtocol
	case eventsync.EndUnauthorized:
		return wire.CloseUnauthorized
	case eventsync.EndUpgrade:
		return wire.CloseUpgrade
	}
	return wire.CloseOverloaded
}
