package durablestreams

import (
	"crypto/subtle"
	"net/http"
	"strings"
	"time"
)

// claimWake gives a worker the lease of a pull-wake subscription.
func (c *call) claimWake(id string) error {
	sub, err := c.find(id)
	if err != nil {
		return err
	}
	var r struct {
		Worker string `json:"worker"`
	}
	if err := c.readJSON(&r); err != nil {
		return err
	}
	sub.turn.Lock()
	defer sub.turn.Unlock()
	if err := c.claimable(sub, r.Worker); err != nil {
		return err
	}
	c.subs.mu.Lock()
	fresh := sub.phase != waking
	c.subs.mu.Unlock()
	if fresh {
		if err := c.subs.begin(sub, waking, false); err != nil {
			return err
		}
	}
	c.subs.mu.Lock()
	sub.phase, sub.holder, sub.deadline = live, r.Worker, time.Now().Add(sub.lease())
	answer := map[string]any{
		"wake_id": sub.wake, "generation": sub.config.Generation, "token": sub.token,
		"streams": sub.snapshot(), "lease_ttl_ms": sub.config.LeaseMS,
	}
	c.subs.mu.Unlock()
	c.subs.poke()
	return c.sendJSON(http.StatusOK, answer)
}

func (c *call) claimable(sub *subscription, worker string) error {
	c.subs.mu.Lock()
	defer c.subs.mu.Unlock()
	if sub.expired(time.Now()) {
		sub.rest()
	}
	switch {
	case sub.deleted:
		return noSubscription()
	case sub.config.Type != "pull-wake":
		return invalid("only pull-wake subscriptions are claimed")
	case worker == "":
		return invalid("worker is missing")
	case sub.phase == live:
		e := refuse(http.StatusConflict, "ALREADY_CLAIMED", "another worker has it")
		e.fields = map[string]any{"current_holder": sub.holder, "generation": sub.config.Generation}
		return e
	case len(sub.pending) == 0:
		return refuse(http.StatusConflict, "NO_PENDING_WORK", "there is nothing to do")
	}
	return nil
}

// wakeRequest is the body of ack, callback and release.
type wakeRequest struct {
	Wake       string `json:"wake_id"`
	Generation uint64 `json:"generation"`
	Acks       []ack  `json:"acks"`
	Done       bool   `json:"done"`
}

// lease returns the subscription of a wake that is the current one, with sub.turn locked. Its token is all the right that
// is needed: whoever has it was given it by a claim or a webhook.
func (c *call) lease(id string, r *wakeRequest) (*subscription, error) {
	if err := c.readJSON(r); err != nil {
		return nil, err
	}
	c.subs.mu.Lock()
	sub := c.subs.known[id]
	c.subs.mu.Unlock()
	if sub == nil {
		return nil, refuse(http.StatusGone, "SUBSCRIPTION_GONE", "there is no such subscription")
	}
	_, token, ok := strings.Cut(c.r.Header.Get("Authorization"), " ")
	if !ok || token == "" {
		return nil, refuse(http.StatusUnauthorized, "TOKEN_INVALID", "the token of the wake is missing").with("WWW-Authenticate", "Bearer")
	}
	sub.turn.Lock()
	c.subs.mu.Lock()
	defer c.subs.mu.Unlock()
	same := sub.phase != idle && !sub.expired(time.Now()) && !sub.deleted && r.Wake == sub.wake &&
		r.Generation == sub.config.Generation && subtle.ConstantTimeCompare([]byte(token), []byte(sub.token)) == 1
	if !same {
		sub.turn.Unlock()
		return nil, fenced()
	}
	return sub, nil
}

func fenced() *refusal { return refuse(http.StatusConflict, "FENCED", "this wake is over") }

// ackWake takes over how far a worker has come. It ends the wake, or keeps the lease alive.
func (c *call) ackWake(id string) error {
	var r wakeRequest
	sub, err := c.lease(id, &r)
	if err != nil {
		return err
	}
	defer sub.turn.Unlock()
	if err := c.subs.apply(c.ending, sub, r.Acks); err != nil {
		return err
	}
	c.subs.mu.Lock()
	next, over := false, sub.wake != r.Wake // the lease may have run out while the acks were written
	switch {
	case r.Done:
		sub.rest()
		next = len(sub.pending) > 0
	case !over:
		sub.phase, sub.deadline = live, time.Now().Add(sub.lease())
	}
	c.subs.mu.Unlock()
	c.subs.poke()
	if over && !r.Done {
		return fenced()
	}
	return c.sendJSON(http.StatusOK, map[string]any{"ok": true, "next_wake": next})
}

// releaseWake gives a lease back with the work undone.
func (c *call) releaseWake(id string) error {
	var r wakeRequest
	sub, err := c.lease(id, &r)
	if err != nil {
		return err
	}
	defer sub.turn.Unlock()
	c.subs.mu.Lock()
	sub.rest()
	c.subs.mu.Unlock()
	c.subs.poke()
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}
