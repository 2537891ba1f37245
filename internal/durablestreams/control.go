package durablestreams

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"tidemark/store"
	eventsync "tidemark/sync"
)

// Bounds of subscriptions.
const (
	maxSubscriptions = 10_000
	maxNamed         = 1_000 // streams named by one subscription: each is a document, and all go into every answer about it
	maxSubID         = 128
	maxPattern       = 1024
	maxWild          = 3 // "**" of a pattern: matching costs the path's length to this power
	defaultLease     = 30_000
	minLease         = 1_000
	maxLease         = 600_000
)

// control serves what is below __ds: subscriptions, and the public key of their webhooks.
func (c *call) control(path string) error {
	if path == "jwks.json" {
		return c.only(http.MethodGet, c.jwks)
	}
	rest, ok := strings.CutPrefix(path, "subscriptions/")
	id, action, _ := strings.Cut(rest, "/")
	if !ok || id == "" {
		return refuse(http.StatusNotFound, "not_found", "there is nothing at this path")
	}
	if len(id) > maxSubID || strings.ContainsAny(id, "*/") || store.HasControl(id) {
		return refuse(http.StatusBadRequest, "INVALID_REQUEST", "the id of a subscription has 1 to 128 bytes without '*'")
	}
	switch {
	case action == "ack", action == "callback":
		return c.only(http.MethodPost, func() error { return c.ackWake(id) })
	case action == "release":
		return c.only(http.MethodPost, func() error { return c.releaseWake(id) })
	}
	if err := c.identify(); err != nil {
		return err
	}
	switch {
	case action == "":
		return c.subscription(id)
	case action == "claim":
		return c.only(http.MethodPost, func() error { return c.claimWake(id) })
	case action == "streams":
		return c.only(http.MethodPost, func() error { return c.addStreams(id) })
	case strings.HasPrefix(action, "streams/"):
		return c.only(http.MethodDelete, func() error { return c.dropStream(id, strings.TrimPrefix(action, "streams/")) })
	}
	return refuse(http.StatusNotFound, "not_found", "there is nothing at this path")
}

func (c *call) only(method string, h func() error) error {
	if c.r.Method == method {
		return h()
	}
	c.w.Header().Set("Allow", method)
	return refuse(http.StatusMethodNotAllowed, "unsupported", "this path does not take "+c.r.Method)
}

func (c *call) subscription(id string) error {
	switch c.r.Method {
	case http.MethodPut:
		return c.putSubscription(id)
	case http.MethodGet:
		sub, err := c.find(id)
		if err != nil {
			return err
		}
		return c.sendSubscription(http.StatusOK, sub)
	case http.MethodDelete:
		return c.deleteSubscription(id)
	}
	c.w.Header().Set("Allow", "GET, PUT, DELETE")
	return refuse(http.StatusMethodNotAllowed, "unsupported", "a subscription does not take "+c.r.Method)
}

// find returns a subscription that the caller may see.
func (c *call) find(id string) (*subscription, error) {
	c.subs.mu.Lock()
	sub := c.subs.known[id]
	var config subConfig
	var named []string
	if sub != nil {
		config, named = sub.config, sub.named()
	}
	c.subs.mu.Unlock()
	if sub == nil {
		return nil, noSubscription()
	}
	config.Streams = named
	return sub, c.maySubscribe(&config)
}

func noSubscription() error {
	return refuse(http.StatusNotFound, "SUBSCRIPTION_NOT_FOUND", "there is no such subscription")
}

func (s *subscription) named() (out []string) {
	for path, l := range s.links {
		if l.Explicit {
			out = append(out, path)
		}
	}
	return out
}

// maySubscribe asks for the right to read what the subscription tells of, and to write where it does.
func (c *call) maySubscribe(config *subConfig) error {
	if config.Pattern != "" {
		if err := c.may(eventsync.ActRead, covering(config.Pattern)); err != nil {
			return err
		}
	}
	for _, path := range config.Streams {
		if err := c.may(eventsync.ActRead, store.Only(store.Stream(path))); err != nil {
			return err
		}
	}
	if config.WakeStream != "" {
		return c.may(eventsync.ActWrite, store.Only(store.Stream(config.WakeStream)))
	}
	return nil
}

// subRequest is the body of a PUT.
type subRequest struct {
	Type    string   `json:"type"`
	Pattern string   `json:"pattern"`
	Streams []string `json:"streams"`
	Webhook struct {
		URL string `json:"url"`
	} `json:"webhook"`
	WakeStream  string `json:"wake_stream"`
	Lease       int64  `json:"lease_ttl_ms"`
	Description string `json:"description"`
}

func invalid(message string) error { return refuse(http.StatusBadRequest, "INVALID_REQUEST", message) }

func (c *call) readJSON(into any) error {
	body, err := c.body()
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, into); err != nil {
		return invalid("the body is not the JSON object that is wanted here")
	}
	return nil
}

// subConfig checks a request and makes of it what the log will keep.
func (c *call) subConfig(r *subRequest) (config subConfig, err error) {
	config = subConfig{
		Type: r.Type, Pattern: strings.TrimPrefix(r.Pattern, "/"), Webhook: r.Webhook.URL, LeaseMS: r.Lease, Description: r.Description,
		Created: nowMS(), Base: strings.TrimSuffix(c.url("/"), "/"),
	}
	if config.LeaseMS == 0 {
		config.LeaseMS = defaultLease
	}
	config.LeaseMS = min(max(config.LeaseMS, minLease), maxLease)
	if config.Streams, err = names(r.Streams); err != nil {
		return config, err
	}
	switch {
	case config.Pattern == "" && len(config.Streams) == 0:
		return config, invalid("a subscription needs a pattern or streams")
	case len(config.Streams) > maxNamed:
		return config, tooManyNamed()
	case len(config.Pattern) > maxPattern || strings.Count(config.Pattern, "**") > maxWild || len(r.Description) > maxPattern:
		return config, invalid("the pattern is too long or too wide, or the description too long")
	case r.Type == "webhook":
		return config, checkWebhook(config.Webhook, c.WebhookLoopback)
	case r.Type != "pull-wake":
		return config, invalid("type is webhook or pull-wake")
	}
	config.Webhook = ""
	wake, err := parseName(strings.TrimPrefix(r.WakeStream, "/"))
	config.WakeStream = string(wake)
	return config, err
}

func tooManyNamed() error {
	return invalid("a subscription names at most " + strconv.Itoa(maxNamed) + " streams; a pattern can reach any number")
}

func names(list []string) (out []string, err error) {
	for _, s := range list {
		name, err := parseName(strings.TrimPrefix(s, "/"))
		if err != nil {
			return nil, err
		}
		out = append(out, string(name))
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// same reports whether a subscription was made with these very settings.
func (a *subConfig) same(b *subConfig) bool {
	return a.Type == b.Type && a.Pattern == b.Pattern && a.Webhook == b.Webhook && a.WakeStream == b.WakeStream &&
		a.LeaseMS == b.LeaseMS && a.Description == b.Description && slices.Equal(a.Streams, b.Streams)
}

func (c *call) putSubscription(id string) error {
	var r subRequest
	if err := c.readJSON(&r); err != nil {
		return err
	}
	config, err := c.subConfig(&r)
	if err != nil {
		return err
	}
	if err := c.maySubscribe(&config); err != nil {
		return err
	}
	if config.Type == "webhook" {
		if _, err := c.subs.signing(); err != nil {
			return err
		}
	}
	sub, made, err := c.subs.create(c, id, config)
	if err != nil {
		return err
	}
	if made {
		return c.sendSubscription(http.StatusCreated, sub)
	}
	return c.sendSubscription(http.StatusOK, sub)
}

// create makes a subscription, or returns the one that is just like it.
func (s *subscriptions) create(c *call, id string, config subConfig) (sub *subscription, made bool, err error) {
	sub = newSubscription(id)
	sub.turn.Lock()
	defer sub.turn.Unlock()
	s.mu.Lock()
	old, full := s.known[id], len(s.known) >= maxSubscriptions
	switch {
	case old != nil && old.config.same(&config):
		s.mu.Unlock()
		return old, false, nil
	case old != nil:
		s.mu.Unlock()
		return nil, false, refuse(http.StatusConflict, "SUBSCRIPTION_CONFLICT", "there is a subscription with other settings at this id")
	case full:
		s.mu.Unlock()
		return nil, false, refuse(http.StatusTooManyRequests, "TOO_MANY_SUBSCRIPTIONS", "there are too many subscriptions").with("Retry-After", "60")
	}
	config.Since = s.server.Log.Head()
	sub.configure(config)
	list := []store.Mutation{document(subStream, id, encode(config))}
	for _, path := range config.Streams {
		l := linkDoc{Explicit: true, Acked: config.Since}
		sub.links[path] = l
		list = append(list, document(linkStream, linkKey(id, path), encode(l)))
	}
	s.known[id] = sub // from now on nothing is missed
	s.count.Store(int64(len(s.known)))
	s.mu.Unlock()
	if err := appendAll(s.server.ending, s.server.Log, list); err != nil {
		s.mu.Lock()
		sub.deleted = true
		delete(s.known, id)
		s.mu.Unlock()
		return nil, false, err
	}
	return sub, true, nil
}

func (c *call) deleteSubscription(id string) error {
	sub, err := c.find(id)
	if err != nil {
		if e, ok := err.(*refusal); ok && e.status == http.StatusNotFound {
			c.w.WriteHeader(http.StatusNoContent)
			return nil
		}
		return err
	}
	sub.turn.Lock()
	defer sub.turn.Unlock()
	c.subs.mu.Lock()
	list := []store.Mutation{removal(subStream, id)}
	for path := range sub.links {
		list = append(list, removal(linkStream, linkKey(id, path)))
	}
	c.subs.mu.Unlock()
	for len(list) > 0 {
		n := min(len(list), markPush)
		if err := appendAll(c.ending, c.Log, list[:n]); err != nil {
			return err
		}
		list = list[n:]
	}
	c.subs.mu.Lock()
	sub.deleted = true
	if c.subs.known[id] == sub {
		delete(c.subs.known, id)
	}
	c.subs.count.Store(int64(len(c.subs.known)))
	c.subs.mu.Unlock()
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

// addStreams names more streams; they count from now on.
func (c *call) addStreams(id string) error {
	sub, err := c.find(id)
	if err != nil {
		return err
	}
	var r struct {
		Streams []string `json:"streams"`
	}
	if err := c.readJSON(&r); err != nil {
		return err
	}
	list, err := names(r.Streams)
	if err != nil {
		return err
	}
	if len(list) == 0 {
		return invalid("streams is empty")
	}
	if err := c.maySubscribe(&subConfig{Streams: list}); err != nil {
		return err
	}
	sub.turn.Lock()
	defer sub.turn.Unlock()
	return c.link(sub, list, true)
}

// dropStream takes a named stream away; a pattern may still reach it.
func (c *call) dropStream(id, path string) error {
	sub, err := c.find(id)
	if err != nil {
		return err
	}
	sub.turn.Lock()
	defer sub.turn.Unlock()
	return c.link(sub, []string{path}, false)
}

// link writes that streams are named, or no longer. The caller holds sub.turn.
func (c *call) link(sub *subscription, paths []string, explicit bool) error {
	changed := make(map[string]linkDoc)
	var list []store.Mutation
	c.subs.mu.Lock()
	if sub.deleted {
		c.subs.mu.Unlock()
		return noSubscription()
	}
	named := len(sub.named())
	for _, path := range paths {
		l, known := sub.links[path]
		if l.Explicit == explicit {
			continue
		}
		if !known {
			l.Acked = c.Log.Head()
		}
		l.Explicit = explicit
		changed[path] = l
		list = append(list, document(linkStream, linkKey(sub.id, path), encode(l)))
	}
	c.subs.mu.Unlock()
	if explicit && named+len(list) > maxNamed {
		return tooManyNamed()
	}
	if len(list) > 0 {
		if err := appendAll(c.ending, c.Log, list); err != nil {
			return err
		}
	}
	c.subs.mu.Lock()
	for path, l := range changed {
		sub.links[path] = l
		if !sub.matches(path) {
			delete(sub.pending, path)
		}
	}
	if sub.config.Type == "pull-wake" && sub.phase == waking && len(sub.pending) == 0 {
		sub.rest() // nobody can claim it, so nobody would end it
	}
	c.subs.mu.Unlock()
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

// subView is a subscription as clients see it.
type subView struct {
	ID          string       `json:"id"`
	Type        string       `json:"type"`
	Pattern     string       `json:"pattern,omitempty"`
	Streams     []linkView   `json:"streams"`
	Webhook     *webhookView `json:"webhook,omitempty"`
	WakeStream  string       `json:"wake_stream,omitempty"`
	Lease       int64        `json:"lease_ttl_ms"`
	Description string       `json:"description,omitempty"`
	Created     string       `json:"created_at"`
	Status      string       `json:"status"`
}

type linkView struct {
	Path     string `json:"path"`
	LinkType string `json:"link_type"`
	Acked    string `json:"acked_offset"`
}

type webhookView struct {
	URL     string      `json:"url"`
	Signing signingView `json:"signing"`
}

type signingView struct {
	Alg  string `json:"alg"`
	Kid  string `json:"kid"`
	JWKS string `json:"jwks_url"`
}

func (c *call) sendSubscription(status int, sub *subscription) error {
	c.subs.mu.Lock()
	config := sub.config
	v := subView{
		ID: sub.id, Type: config.Type, Pattern: config.Pattern, Streams: sub.list(), WakeStream: config.WakeStream,
		Lease: config.LeaseMS, Description: config.Description, Status: "active",
		Created: time.UnixMilli(config.Created).UTC().Format(time.RFC3339),
	}
	if sub.failures > 0 {
		v.Status = "failed"
	}
	c.subs.mu.Unlock()
	if config.Type == "webhook" {
		key, err := c.subs.signing()
		if err != nil {
			return err
		}
		v.Webhook = &webhookView{config.Webhook, signingView{"ed25519", key.kid, c.url(Path + reserved + "/jwks.json")}}
	}
	return c.sendJSON(status, v)
}

// list returns the streams that there is something to say about.
func (s *subscription) list() []linkView {
	out := []linkView{}
	add := func(path string) {
		out = append(out, linkView{path, s.linkType(path), formatOffset(s.acked(path))})
	}
	for path := range s.links {
		if s.matches(path) {
			add(path)
		}
	}
	for path := range s.pending {
		if _, ok := s.links[path]; !ok {
			add(path)
		}
	}
	slices.SortFunc(out, func(a, b linkView) int { return strings.Compare(a.Path, b.Path) })
	return out
}

// jwks answers with the public key that webhooks are signed with.
func (c *call) jwks() error {
	key, err := c.subs.signing()
	if err != nil {
		return err
	}
	jwk := map[string]string{"kty": "OKP", "crv": "Ed25519", "x": key.x(), "kid": key.kid, "use": "sig", "alg": "EdDSA"}
	body := encode(map[string]any{"keys": []any{jwk}})
	c.w.Header().Set("Content-Type", "application/jwk-set+json")
	c.w.Header().Set("Cache-Control", "public, max-age=300")
	c.w.WriteHeader(http.StatusOK)
	_, _ = c.w.Write(body)
	return nil
}
