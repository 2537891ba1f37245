package store

import (
	"bytes"
	"cmp"
	"slices"
	"strings"

	bolt "go.etcd.io/bbolt"
)

// Resume tells where a reader of f stands, and whether its cursor can go on. The reasons against it are looked at in the
// order log, ahead, trimmed, erased, mark; a cursor at 0 has no history that could differ. The zero Cursor only asks.
func (s *Store) Resume(f Filter, c Cursor) (Standing, error) {
	if s.gate.Load() {
		return Standing{}, ErrFailed
	}
	name, exact := f.Stream()
	s.mu.RLock() // before the transaction: what has left the overlay by then is in the bucket
	st := Standing{LogHead: s.Head()}
	e := s.heads[name]
	if st.Head = st.LogHead; e != nil {
		st.Head = e.last
	}
	s.mu.RUnlock()
	err := s.view(func(tx *bolt.Tx) (err error) {
		if st.Floor, err = floorOf(tx, f); err != nil || !exact || e != nil {
			return err
		}
		h, err := getHead(tx.Bucket(bucketHeads), name)
		st.Head = h.last
		return err
	})
	if err != nil || c.Seq == 0 {
		return st, err
	}
	st.Reset, err = s.judgeCursor(c, st)
	return st, err
}

func (s *Store) judgeCursor(c Cursor, st Standing) (Reset, error) {
	switch {
	case !s.sameHistory(c.Log, c.Seq):
		return ResetLogChanged, nil
	case c.Seq > st.LogHead:
		return ResetAhead, nil
	case c.Seq < st.Floor:
		return ResetTrimmed, nil
	case c.Mark.IsZero():
		return ResetNone, nil
	}
	e, ok, err := s.ids.lookup(s.view, c.Mark)
	if err != nil {
		return ResetNone, err
	}
	if !ok || e.Seq != c.Seq {
		return ResetLogChanged, nil
	}
	return ResetNone, nil
}

// sameHistory reports whether a seq of a log means the same here: it is this log, or one that this was restored from and
// the seq is not above where the copy was cut. A zero id claims nothing.
func (s *Store) sameHistory(log ID, seq Seq) bool {
	if log.IsZero() || log == s.identity.log {
		return true
	}
	for _, a := range s.lineage {
		if a.log == log {
			return seq <= a.cut
		}
	}
	return false
}

// Mark returns the id of the event at a seq; zero when the log does not have it any more.
func (s *Store) Mark(at Seq) ID {
	s.mu.RLock()
	e, floor := s.tail.view().get(at), s.floor
	s.mu.RUnlock()
	switch {
	case at == 0 || at > s.Head() || at < floor.seq:
		return ID{}
	case at == floor.seq:
		return floor.id
	case e != nil:
		return e.ID
	}
	var rec record
	err := s.viewLog(func(_ *bolt.Tx, log logBucket) error {
		v := log.get(at)
		if v == nil {
			return nil
		}
		return parseRecord(at, v, &rec)
	})
	if err != nil {
		return ID{}
	}
	return rec.ID
}

// Streams lists streams whose names begin with prefix and come after a name, in byte order, at most limit of them.
// The server's own are listed only under a prefix that begins with "$".
func (s *Store) Streams(prefix string, after Stream, limit int) ([]StreamInfo, error) {
	hidden := func(name Stream) bool { return name.Reserved() && !Stream(prefix).Reserved() }
	over := s.headOverlays(limit, func(name Stream) bool {
		return name > after && !hidden(name) && strings.HasPrefix(string(name), prefix)
	})
	var out []StreamInfo
	err := s.view(func(tx *bolt.Tx) error {
		c := tx.Bucket(bucketHeads).Cursor()
		from := []byte(max(prefix, string(after)))
		k, v := c.Seek(from)
		if k != nil && string(k) == string(after) {
			k, v = c.Next()
		}
		for len(out) < limit {
			if k != nil && !bytes.HasPrefix(k, []byte(prefix)) {
				if _, err := parseHead(k, v); err != nil { // it may only look like what is behind the last
					return err
				}
				k = nil
			}
			if k != nil && hidden(Stream(k)) {
				k, v = c.Seek([]byte("%")) // the name that follows every "$…"
				continue
			}
			if k == nil && len(over) == 0 {
				return nil
			}
			if k == nil || len(over) > 0 && over[0].Stream <= Stream(k) {
				if k != nil && over[0].Stream == Stream(k) {
					k, v = c.Next()
				}
				out, over = append(out, over[0]), over[1:]
				continue
			}
			h, err := parseHead(k, v)
			if err != nil {
				return err
			}
			out = append(out, h.info(Stream(k)))
			k, v = c.Next()
		}
		return nil
	})
	return out, err
}

// headOverlays returns the first streams of the overlay, in the order of their names, that match: at most limit.
func (s *Store) headOverlays(limit int, match func(Stream) bool) (out []StreamInfo) {
	if limit <= 0 {
		return nil
	}
	first := func() {
		slices.SortFunc(out, func(a, b StreamInfo) int { return cmp.Compare(a.Stream, b.Stream) })
		out = out[:min(limit, len(out))]
	}
	var last Stream // of as many as are asked for: what comes after it is not needed
	s.mu.RLock()
	for name, e := range s.heads {
		if last != "" && name > last || !match(name) {
			continue
		}
		if out = append(out, e.info(name)); len(out)/2 >= max(limit, orderBlock) {
			first()
			last = out[len(out)-1].Stream
		}
	}
	s.mu.RUnlock()
	first()
	return out
}

func (h headState) info(name Stream) StreamInfo {
	return StreamInfo{Stream: name, Head: h.last, Count: h.count, Floor: h.floor}
}
