package durablestreams

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"strings"
	"sync"
	"time"

	"tidemark/store"
)

// subConfig is what the log keeps of a subscription: the document at its id.
type subConfig struct {
	Type        string    `json:"type"` // "webhook" or "pull-wake"
	Pattern     string    `json:"pattern,omitempty"`
	Webhook     string    `json:"webhook,omitempty"`     // URL
	WakeStream  string    `json:"wake_stream,omitempty"` // of pull-wake
	LeaseMS     int64     `json:"lease_ttl_ms"`
	Description string    `json:"description,omitempty"`
	Streams     []string  `json:"streams,omitempty"` // as named when it was made
	Created     int64     `json:"created"`           // Unix ms
	Since       store.Seq `json:"since"`             // the log's head then: what came before is not its business
	Base        string    `json:"base"`              // URL of this server as its creator knows it
	Generation  uint64    `json:"generation"`        // grows with every wake
}

// linkDoc is what the log keeps of a subscription's stream once there is something to keep: how far it was worked off, or
// that it was named.
type linkDoc struct {
	Explicit bool      `json:"explicit,omitempty"`
	Acked    store.Seq `json:"acked"`
}

// phase is where a subscription stands between two pieces of work.
type phase uint8

const (
	idle   phase = iota // nothing to do, or a wake is about to be sent
	waking              // a wake was sent
	live                // somebody works on it
)

// subscription is one subscription with its lease, which lives in memory only: after a restart whoever held it is fenced
// off by the next generation.
type subscription struct {
	id string

	turn sync.Mutex // orders changes that are written to the log; taken before subscriptions.mu

	// Guarded by subscriptions.mu.
	config   subConfig
	parts    []string             // of the pattern, nil: none
	links    map[string]linkDoc   // streams that have a document
	pending  map[string]store.Seq // streams with something beyond what is acked, and their newest seq
	phase    phase
	wake     string // id of the current wake
	token    string // what its holder must show
	holder   string
	deadline time.Time // of the lease, or when a failed webhook is tried again
	again    time.Time // no wake is begun before: the log refused the last one
	failures int
	sending  bool // a webhook is on its way
	deleted  bool
}

// matches reports whether a stream belongs to the subscription.
func (s *subscription) matches(path string) bool {
	if path == s.config.WakeStream {
		return false // it would wake itself for ever
	}
	return s.links[path].Explicit || s.parts != nil && globParts(s.parts, strings.Split(path, "/"))
}

// acked returns up to where a stream was worked off.
func (s *subscription) acked(path string) store.Seq {
	if l, ok := s.links[path]; ok {
		return l.Acked
	}
	return s.config.Since
}

// note takes over that a stream has an event; true: there was nothing to do on it before.
func (s *subscription) note(path string, seq store.Seq) bool {
	if at, ok := s.pending[path]; ok { // as most streams that are written all the time
		s.pending[path] = max(at, seq)
		return false
	}
	if seq <= s.acked(path) || !s.matches(path) {
		return false
	}
	s.pending[path] = seq
	return true
}

// expired reports whether the lease has run out.
func (s *subscription) expired(now time.Time) bool { return s.phase == live && !now.Before(s.deadline) }

// rest gives up the lease.
func (s *subscription) rest() {
	s.phase, s.wake, s.token, s.holder, s.failures = idle, "", "", "", 0
}

func (s *subscription) lease() time.Duration {
	return time.Duration(s.config.LeaseMS) * time.Millisecond
}

// linkType tells how a stream came to belong to the subscription.
func (s *subscription) linkType(path string) string {
	if s.links[path].Explicit {
		return "explicit"
	}
	return "glob"
}

// globParts matches a path against a pattern, segment by segment: "*" stands for one, "**" for any number of them.
func globParts(pattern, path []string) bool {
	for len(pattern) > 0 && pattern[0] != "**" {
		if len(path) == 0 || pattern[0] != "*" && pattern[0] != path[0] {
			return false
		}
		pattern, path = pattern[1:], path[1:]
	}
	if len(pattern) == 0 {
		return len(path) == 0
	}
	if len(pattern) == 1 {
		return true
	}
	for i := range len(path) + 1 { // patterns hold few "**", see maxPattern
		if globParts(pattern[1:], path[i:]) {
			return true
		}
	}
	return false
}

// covering returns the streams that a pattern can reach at most, for the question who may read them.
func covering(pattern string) store.Filter {
	parts := strings.Split(pattern, "/")
	for i, p := range parts {
		if strings.Contains(p, "*") {
			if f, err := store.ParseFilter(strings.Join(append(parts[:i:i], "**"), "/")); err == nil {
				return f
			}
			return store.All
		}
	}
	return store.Only(store.Stream(pattern))
}

// secret returns text that nobody can guess.
func secret() string {
	b := make([]byte, 24)
	_, _ = rand.Read(b) // it never fails
	return base64.RawURLEncoding.EncodeToString(b)
}

// linkKey names the document of a subscription's stream; ids hold no "*".
func linkKey(id, path string) string { return id + "*" + path }

// openSubscriptions reads them from the log and finds out which have work to do.
func openSubscriptions(s *Server) (*subscriptions, error) {
	subs := &subscriptions{server: s, known: make(map[string]*subscription), signal: make(chan struct{}, 1)}
	subs.client = webhookClient(s.WebhookLoopback)
	err := s.eachDocument(subStream, func(d *store.Doc) error {
		var config subConfig
		if err := json.Unmarshal(d.Data, &config); err != nil {
			return err
		}
		sub := newSubscription(d.Key)
		sub.configure(config)
		subs.known[d.Key] = sub
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = s.eachDocument(linkStream, func(d *store.Doc) error {
		id, path, _ := strings.Cut(d.Key, "*")
		var l linkDoc
		if err := json.Unmarshal(d.Data, &l); err != nil {
			return err
		}
		if sub := subs.known[id]; sub != nil {
			sub.links[path] = l
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	subs.count.Store(int64(len(subs.known)))
	for _, sub := range subs.known {
		if err := subs.survey(sub); err != nil {
			return nil, err
		}
	}
	subs.poke()
	return subs, nil
}

func newSubscription(id string) *subscription {
	return &subscription{id: id, links: make(map[string]linkDoc), pending: make(map[string]store.Seq)}
}

// configure takes over the settings.
func (s *subscription) configure(config subConfig) {
	if s.config, s.parts = config, nil; config.Pattern != "" {
		s.parts = strings.Split(config.Pattern, "/")
	}
}

// eachDocument calls fn for every document of a stream.
func (s *Server) eachDocument(st store.Stream, fn func(*store.Doc) error) error {
	for after := (store.DocKey{}); ; {
		page, err := s.Log.Documents(store.Only(st), after, 1<<20)
		if err != nil {
			return err
		}
		for i := range page.Docs {
			if err := fn(&page.Docs[i]); err != nil {
				return err
			}
		}
		if after = page.Through; !page.More {
			return nil
		}
	}
}

// survey finds the streams of a subscription that have something beyond what is acked.
func (s *subscriptions) survey(sub *subscription) error {
	prefix := ""
	if f := covering(sub.config.Pattern); f.Wide() {
		prefix = f.Prefix()
	}
	if len(sub.links) > 0 {
		prefix = "" // named streams may be anywhere
	}
	for after := store.Stream(""); ; {
		page, err := s.server.Log.Streams(prefix, after, 1000)
		if err != nil {
			return err
		}
		for _, info := range page {
			if after = info.Stream; !info.Stream.Reserved() {
				sub.note(string(info.Stream), info.Head)
			}
		}
		if len(page) < 1000 {
			return nil
		}
	}
}
