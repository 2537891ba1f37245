package httpapi

import (
	"net/http"

	"tidemark/internal/wire"
)

// getHealth tells that the process is alive and answers.
func (c *call) getHealth() error {
	c.w.Header().Set("Cache-Control", "no-store")
	return c.send(http.StatusOK, []byte(`{"status":"ok"}`))
}

// getReady tells whether the server takes writes now, and why not.
func (c *call) getReady() error {
	c.w.Header().Set("Cache-Control", "no-store")
	if err := c.Ready(); err != nil {
		body := append([]byte(`{"status":"unavailable","reason":`), wire.AppendString(nil, err.Error())...)
		return c.send(http.StatusServiceUnavailable, append(body, '}'))
	}
	if note := c.Note(); note != "" {
		return c.send(http.StatusOK, append(wire.AppendString([]byte(`{"status":"ready","note":`), note), '}'))
	}
	return c.send(http.StatusOK, []byte(`{"status":"ready"}`))
}
