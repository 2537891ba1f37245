package auth

import (
	"testing"

	"tidemark/store"
	eventsync "tidemark/sync"
)

func TestEverybodyMayDoEverything(t *testing.T) {
	p, err := Everybody()(t.Context(), "any token")
	if err != nil || p.Subject != "" || !p.Expires.IsZero() {
		t.Fatalf("principal %+v, %v", p, err)
	}
	for _, a := range []eventsync.Action{eventsync.ActRead, eventsync.ActWrite, eventsync.ActSignal, eventsync.ActPresence} {
		if !p.May(a, store.All) {
			t.Errorf("action %d is refused", a)
		}
	}
}
