package durablestreams

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"syscall"
	"time"

	"tidemark/store"
)

// signingKey signs the calls of webhooks; receivers find its public half at __ds/jwks.json.
type signingKey struct {
	private ed25519.PrivateKey
	kid     string
}

type keyDoc struct {
	Seed []byte `json:"seed"`
}

// signing returns the key, which is made when it is first needed and kept in the log.
func (s *subscriptions) signing() (*signingKey, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.key != nil {
		return s.key, nil
	}
	doc, ok, err := s.server.Log.Doc(keyStream, "webhook")
	if err != nil {
		return nil, err
	}
	var k keyDoc
	if ok {
		err = json.Unmarshal(doc.Data, &k)
	} else {
		k.Seed = make([]byte, ed25519.SeedSize)
		_, _ = rand.Read(k.Seed) // it never fails
		s.mu.Unlock()            // the log's goroutine wants it while it commits
		err = appendAll(s.server.ending, s.server.Log, []store.Mutation{document(keyStream, "webhook", encode(k))})
		s.mu.Lock()
	}
	if err != nil || len(k.Seed) != ed25519.SeedSize {
		return nil, errors.Join(err, errors.New("durablestreams: no signing key"))
	}
	if s.key == nil {
		s.key = newSigningKey(k.Seed)
	}
	return s.key, nil
}

func newSigningKey(seed []byte) *signingKey {
	k := &signingKey{private: ed25519.NewKeyFromSeed(seed)}
	thumb := sha256.Sum256([]byte(`{"crv":"Ed25519","kty":"OKP","x":"` + k.x() + `"}`)) // RFC 7638
	k.kid = "ds_" + base64.RawURLEncoding.EncodeToString(thumb[:])
	return k
}

// x is the public half, as a JWK has it.
func (k *signingKey) x() string {
	return base64.RawURLEncoding.EncodeToString(k.private.Public().(ed25519.PublicKey))
}

// sign returns the header that vouches for a body at a time.
func (k *signingKey) sign(body []byte, at time.Time) string {
	t := strconv.FormatInt(at.Unix(), 10)
	sig := ed25519.Sign(k.private, append([]byte(t+"."), body...))
	return "t=" + t + ",kid=" + k.kid + ",ed25519=" + base64.RawURLEncoding.EncodeToString(sig)
}

// notification is the body of a webhook's call.
type notification struct {
	Subscription string        `json:"subscription_id"`
	Wake         string        `json:"wake_id"`
	Generation   uint64        `json:"generation"`
	Streams      []streamState `json:"streams"`
	CallbackURL  string        `json:"callback_url"`
	Token        string        `json:"callback_token"`
}

// call calls the webhook and takes over what came of it.
func (s *subscriptions) call(sub *subscription) {
	s.mu.Lock()
	to := sub.config.Webhook
	n := notification{
		Subscription: sub.id, Wake: sub.wake, Generation: sub.config.Generation, Streams: sub.snapshot(), Token: sub.token,
		CallbackURL: sub.config.Base + Path + reserved + "/subscriptions/" + url.PathEscape(sub.id) + "/callback",
	}
	s.mu.Unlock()
	done, err := s.deliver(to, encode(n))
	if err == nil && done {
		err = s.complete(sub, n)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	sub.sending = false
	if sub.wake == n.Wake && sub.phase == waking {
		if err != nil {
			sub.failures++
			sub.deadline = time.Now().Add(min(slowestRetry, firstRetry<<min(sub.failures-1, 10)))
			s.server.Logger.Debug("durablestreams: webhook", "subscription", sub.id, "err", err)
		} else {
			sub.phase, sub.deadline = live, time.Now().Add(sub.lease())
		}
	}
	s.poke()
}

// complete acknowledges everything that a call told of, whose receiver said that it is done.
func (s *subscriptions) complete(sub *subscription, n notification) error {
	sub.turn.Lock()
	defer sub.turn.Unlock()
	s.mu.Lock()
	current := sub.wake == n.Wake && !sub.deleted
	s.mu.Unlock()
	if !current {
		return nil
	}
	acks := make([]ack, len(n.Streams))
	for i, st := range n.Streams {
		acks[i] = ack{Stream: st.Path, Offset: st.Tail}
	}
	if err := s.apply(s.server.ending, sub, acks); err != nil {
		return err
	}
	s.mu.Lock()
	sub.rest()
	s.mu.Unlock()
	return nil
}

// maxReply bounds what is read of a webhook's answer.
const maxReply = 64 << 10

// deliver posts a body; done: the receiver has finished already.
func (s *subscriptions) deliver(to string, body []byte) (done bool, err error) {
	key, err := s.signing()
	if err != nil {
		return false, err
	}
	ctx, cancel := context.WithTimeout(s.server.ending, 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(body))
	if err != nil {
		return false, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Webhook-Signature", key.sign(body, time.Now()))
	res, err := s.client.Do(req)
	if err != nil {
		return false, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, maxReply))
	if err != nil {
		return false, err
	}
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return false, fmt.Errorf("durablestreams: the webhook answered %d", res.StatusCode)
	}
	var answer struct {
		Done bool `json:"done"`
	}
	_ = json.Unmarshal(text, &answer) // any answer of 200 is fine
	return answer.Done, nil
}

// webhookClient connects to public addresses only, whatever a name resolves to: nobody shall make the server call its own
// neighbours. It follows no redirects and no proxy.
func webhookClient(loopback bool) *http.Client {
	dialer := &net.Dialer{Timeout: 10 * time.Second, Control: func(_, address string, _ syscall.RawConn) error {
		ap, err := netip.ParseAddrPort(address)
		if err != nil || !reachable(ap.Addr(), loopback) {
			return errors.New("durablestreams: webhooks do not go to " + address)
		}
		return nil
	}}
	return &http.Client{
		Transport:     &http.Transport{DialContext: dialer.DialContext, MaxIdleConnsPerHost: 2, IdleConnTimeout: time.Minute},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// shared is the address space that providers share among customers (RFC 6598).
var shared = netip.MustParsePrefix("100.64.0.0/10")

func reachable(ip netip.Addr, loopback bool) bool {
	ip = ip.Unmap()
	if ip.IsLoopback() {
		return loopback
	}
	return ip.IsGlobalUnicast() && !ip.IsPrivate() && !shared.Contains(ip)
}

// checkWebhook refuses URLs that no webhook may have. What a name resolves to is checked when it is called.
func checkWebhook(raw string, loopback bool) error {
	no := func(why string) error {
		return refuse(http.StatusBadRequest, "WEBHOOK_URL_REJECTED", "the webhook's URL "+why)
	}
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" {
		return no("is malformed")
	}
	ip, err := netip.ParseAddr(u.Hostname())
	literal := err == nil
	here := u.Hostname() == "localhost" || literal && ip.Unmap().IsLoopback()
	switch {
	case here && !loopback, literal && !reachable(ip, loopback):
		return no("does not lead to a public address")
	case u.Scheme != "https" && !(u.Scheme == "http" && here):
		return no("is not https")
	}
	return nil
}
