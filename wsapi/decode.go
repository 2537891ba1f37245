package wsapi

import (
	"tidemark/internal/wire"
	"tidemark/store"
	eventsync "tidemark/sync"
)

// notText answers a binary frame.
var notText = &eventsync.Bad{Error: eventsync.Error{Code: store.CodeBadMessage, Message: "messages are text frames"}}

// decode returns what the engine is to be told of a message. It shares no memory with data.
func decode(d *wire.Decoder, data []byte) eventsync.Message {
	m, fault := d.Decode(data)
	if fault != nil {
		return &eventsync.Bad{Error: *engineError(fault)}
	}
	switch m := m.(type) {
	case *wire.Push:
		return &eventsync.Push{Ref: eventsync.Ref(m.Ref), Store: &m.Push, Edge: m}
	case *wire.Ping:
		return &eventsync.Ping{Ref: eventsync.Ref(m.Ref)}
	case *wire.Subscribe:
		sub := engineSubscribe(m)
		return &sub
	case *wire.Unsubscribe:
		return &eventsync.Unsubscribe{Ref: eventsync.Ref(m.Ref), Sub: m.Sub}
	case *wire.SendSignal:
		return &eventsync.SendSignal{Ref: eventsync.Ref(m.Ref), Stream: m.Stream, Data: m.Data}
	case *wire.SetPresence:
		return &eventsync.SetPresence{Ref: eventsync.Ref(m.Ref), Stream: m.Stream, Data: m.Data}
	case *wire.Auth:
		return &eventsync.Auth{Ref: eventsync.Ref(m.Ref), Token: m.Token}
	case *wire.Hello:
		return engineHello(m)
	}
	return &eventsync.Bad{Error: eventsync.Error{Code: store.CodeBadMessage, Message: "the type of the message is unknown"}}
}

func engineHello(m *wire.Hello) *eventsync.Hello {
	h := &eventsync.Hello{Ref: eventsync.Ref(m.Ref), Token: m.Token, Client: m.Client, N: m.N, App: m.App}
	if len(m.Subs) > 0 {
		h.Subs = make([]eventsync.Subscribe, len(m.Subs))
	}
	for i := range m.Subs {
		h.Subs[i] = engineSubscribe(&m.Subs[i])
	}
	return h
}

func engineSubscribe(m *wire.Subscribe) eventsync.Subscribe {
	return eventsync.Subscribe{Ref: eventsync.Ref(m.Ref), Sub: m.Sub, Filter: m.Filter, Resume: m.Resume, Cursor: m.Cursor,
		From: eventsync.From(m.From), Fault: engineError(m.Fault)}
}

func engineError(e *wire.Error) *eventsync.Error {
	if e == nil {
		return nil
	}
	return &eventsync.Error{Ref: eventsync.Ref(e.Ref), Sub: e.Sub, Code: e.Code, Message: e.Message}
}
