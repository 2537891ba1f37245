package respond

import (
	"errors"
	"io"
	"net/http"
	"time"
)

// ErrTooLarge and ErrIncomplete tell why a body could not be read.
var (
	ErrTooLarge   = errors.New("respond: the body is larger than the limit")
	ErrIncomplete = errors.New("respond: the body did not arrive whole, or not in time")
)

// trusted is how much memory a declared length gets before anything has come.
const trusted = 64 << 10

// ReadBody reads a request's body of at most limit bytes, which must arrive within the time.
func ReadBody(w http.ResponseWriter, r *http.Request, limit int, within time.Duration) ([]byte, error) {
	size := r.ContentLength
	switch {
	case size == 0:
		return nil, nil
	case size > int64(limit):
		return nil, ErrTooLarge
	}
	ctl := http.NewResponseController(w)
	_ = ctl.SetReadDeadline(time.Now().Add(within)) // writers of tests have none
	defer func() { _ = ctl.SetReadDeadline(time.Time{}) }()
	if size > 0 && size <= trusted {
		body := make([]byte, size)
		if _, err := io.ReadFull(r.Body, body); err != nil {
			return nil, ErrIncomplete
		}
		return body, nil
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, int64(limit)))
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, ErrTooLarge
	}
	if err != nil {
		return nil, ErrIncomplete
	}
	return body, nil
}
