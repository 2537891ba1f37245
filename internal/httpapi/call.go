package httpapi

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"tidemark/internal/wire"
	"tidemark/store"
	eventsync "tidemark/sync"
)

// call is one request on its way.
type call struct {
	*API
	w     http.ResponseWriter
	r     *http.Request
	who   eventsync.Principal
	query url.Values
	name  string // the stream's name in the path, not yet checked
}

// prepare reads what every route needs: who asks, and the parameters.
func (c *call) prepare(rt *route, name string) (err error) {
	c.name = name
	if !rt.open {
		if c.who, err = c.Authenticate(c.r.Context(), bearer(c.r)); err != nil {
			return err
		}
	}
	if c.query, err = url.ParseQuery(c.r.URL.RawQuery); err != nil {
		return fault(store.CodeBadMessage, "the query is malformed")
	}
	return nil
}

// bearer returns the request's token, "" when there is none.
func bearer(r *http.Request) string {
	scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// may refuses what the caller is not allowed to do.
func (c *call) may(a eventsync.Action, f store.Filter) error {
	if c.who.May(a, f) {
		return nil
	}
	return fault(store.CodeForbidden, "this is not allowed")
}

// stream returns the stream that the path names, for which the caller is allowed to do a.
func (c *call) stream(a eventsync.Action) (store.Stream, error) {
	st, e := wire.ParseStream(c.name)
	if e != nil {
		return "", e
	}
	return st, c.may(a, store.Only(st))
}

// filter returns the streams that the path names, which the caller may read.
func (c *call) filter() (store.Filter, error) {
	f, e := wire.ParseFilter(c.name)
	if e != nil {
		return store.Filter{}, e
	}
	return f, c.may(eventsync.ActRead, f)
}

// param returns a parameter of the query, which may be given once and not be empty.
func (c *call) param(name string) (string, bool, error) {
	values, ok := c.query[name]
	if !ok {
		return "", false, nil
	}
	if len(values) != 1 || values[0] == "" {
		return "", false, badParam(name, "one value that is not empty")
	}
	return values[0], true, nil
}

func badParam(name, want string) error {
	return fault(store.CodeBadMessage, fmt.Sprintf("%s: it needs %s", name, want))
}

func (c *call) seqParam(name string) (store.Seq, bool, error) {
	s, ok, err := c.param(name)
	if err != nil || !ok {
		return 0, false, err
	}
	n, err := store.ParseSeq(s)
	if err != nil {
		return 0, false, badParam(name, "a number from 0 to 2^53-1")
	}
	return n, true, nil
}

func (c *call) idParam(name string) (store.ID, error) {
	s, ok, err := c.param(name)
	if err != nil || !ok {
		return store.ID{}, err
	}
	id, err := store.ParseID(s)
	if err != nil {
		return store.ID{}, badParam(name, "a UUID in canonical form")
	}
	return id, nil
}

// Bounds of the parameter limit.
const (
	defaultLimit = 100
	maxLimit     = 1000
)

func (c *call) limitParam() (int, error) {
	s, ok, err := c.param("limit")
	if err != nil || !ok {
		return defaultLimit, err
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > maxLimit {
		return 0, badParam("limit", "a number from 1 to 1000")
	}
	return n, nil
}

// maxWait bounds long polls: proxies give up on silent requests not much later.
const maxWait = time.Minute

func (c *call) waitParam() (time.Duration, error) {
	s, ok, err := c.param("wait")
	if err != nil || !ok {
		return 0, err
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 || d > maxWait {
		return 0, badParam("wait", "a duration up to 60s, such as 20s")
	}
	return d, nil
}

func (c *call) boolParam(name string) (bool, error) {
	s, ok, err := c.param(name)
	if err != nil || !ok {
		return false, err
	}
	if s != "true" && s != "false" {
		return false, badParam(name, "true or false")
	}
	return s == "true", nil
}
