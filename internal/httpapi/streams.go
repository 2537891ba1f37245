package httpapi

import (
	"net/http"

	"tidemark/internal/wire"
	"tidemark/store"
	eventsync "tidemark/sync"
)

// getStreams lists the streams that the caller may read, in byte order.
func (c *call) getStreams() error {
	prefix, _, err := c.param("prefix")
	if err != nil {
		return err
	}
	after, _, err := c.param("after")
	if err != nil {
		return err
	}
	limit, err := c.limitParam()
	if err != nil {
		return err
	}
	infos, err := c.readable(prefix, store.Stream(after), limit)
	if err != nil {
		return err
	}
	c.w.Header().Set("Cache-Control", "no-cache")
	return c.send(http.StatusOK, wire.AppendStreams(nil, infos))
}

// readable goes on listing until it has as many streams as were asked for: those that the caller may not read do not count.
func (c *call) readable(prefix string, after store.Stream, limit int) (out []store.StreamInfo, err error) {
	for c.r.Context().Err() == nil {
		page, err := c.Log.Streams(prefix, after, maxLimit)
		if err != nil {
			return nil, err
		}
		for _, info := range page {
			if info.Stream.Reserved() || !c.who.May(eventsync.ActRead, store.Only(info.Stream)) {
				continue
			}
			if out = append(out, info); len(out) == limit {
				return out, nil
			}
		}
		if len(page) < maxLimit {
			return out, nil
		}
		after = page[len(page)-1].Stream
	}
	return nil, c.r.Context().Err()
}
