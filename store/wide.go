package store

import (
	"bytes"
	"slices"

	bolt "go.etcd.io/bbolt"
)

// Bounds of one page of a scan that finds little: a reader's transaction must be short.
const (
	scanRecords = 32 << 10
	scanBytes   = 8 << 20
)

// A prefix is read by merging its streams when at most this many have news, and when listing them is short.
const (
	mergeStreams = 16
	mergeListed  = 512
)

// wideFromFile reads a page of a prefix or of the whole log.
func (r *reader) wideFromFile() (Page, error) {
	if r.floor > r.after {
		floor, err := floorOf(r.tx, r.f)
		if err != nil {
			return Page{}, err
		}
		if floor > r.after {
			return Page{}, &TrimmedError{Floor: floor}
		}
	}
	if r.f != All && !r.scan {
		streams, few, err := r.news()
		if err != nil {
			return Page{}, err
		}
		if few {
			r.s.counters.mergedReads.Add(1)
			return r.merged(streams)
		}
	}
	if !r.scan {
		return Page{}, errScan
	}
	return r.scanLog()
}

// scanLog reads the log record by record.
func (r *reader) scanLog() (Page, error) {
	r.s.counters.denseScans.Add(1)
	c := r.log.cursor()
	defer func() { r.s.counters.readAheads.Add(c.ahead.asked) }()
	records, size, reached := 0, 0, r.after
	inPush := false
	for seq, v := c.seek(max(r.after, r.floor) + 1); v != nil && seq <= r.head; seq, v = c.next() {
		if (records >= scanRecords || size >= scanBytes) && !inPush {
			r.s.counters.pagesShrunk.Add(1)
			return r.pager.page(reached), nil
		}
		records++
		size += len(v)
		reached = seq
		inPush = len(v) > 1 && Flags(v[1]).Has(FlagMore)
		if st, ok := peekStream(v); ok && !r.f.Match(st) {
			if err := r.check(seq, v); err != nil {
				return Page{}, err
			}
			continue
		}
		more, err := r.take(reached, v)
		if err != nil {
			return Page{}, err
		}
		if !more {
			return r.pager.page(r.head), nil
		}
	}
	return r.pager.page(r.head), nil
}

type namedHead struct {
	name Stream
	headState
}

// listNews lists the streams of the prefix that the overlay knows to have events after the cursor. It comes before the
// transaction, s.mu is held: what has left the overlay by then is in the bucket.
func (r *reader) listNews() {
	if r.many = len(r.s.heads) > mergeListed*8; r.many {
		return
	}
	for name, e := range r.s.heads {
		if r.f.Match(name) && e.last > r.after {
			r.over = append(r.over, namedHead{name, e.headState})
		}
	}
}

// news lists the streams of the prefix with events after the cursor; few is false when they, or the streams to look at,
// are too many.
func (r *reader) news() (streams []namedHead, few bool, err error) {
	if r.many || len(r.over) > mergeStreams {
		return nil, false, nil
	}
	streams = r.over
	c := r.tx.Bucket(bucketHeads).Cursor()
	prefix := []byte(r.f.Prefix())
	listed := 0
	for k, v := c.Seek(prefix); k != nil; k, v = c.Next() {
		if listed++; listed > mergeListed || len(streams) > mergeStreams {
			return nil, false, nil
		}
		h, err := parseHead(k, v) // the one behind the last, too: it may only look like that
		if err != nil {
			return nil, false, err
		}
		if !bytes.HasPrefix(k, prefix) {
			break
		}
		if h.last > r.after && !slices.ContainsFunc(streams, func(n namedHead) bool { return string(n.name) == string(k) }) {
			streams = append(streams, namedHead{Stream(k), h})
		}
	}
	return streams, len(streams) <= mergeStreams, nil
}

// merged reads a page of each stream and merges them, up to where all of them are known.
func (r *reader) merged(streams []namedHead) (Page, error) {
	reached := r.head
	var all []Event
	for _, n := range streams {
		one := *r
		one.pager = pager{r: &one, lim: r.pager.lim}
		page, err := one.streamFromFile(n.name, n.headState)
		if err != nil {
			return Page{}, err
		}
		all = append(all, page.Events...)
		reached = min(reached, page.Through)
	}
	slices.SortFunc(all, func(a, b Event) int { return int(a.Seq) - int(b.Seq) })
	for i := range all {
		if all[i].Seq > reached {
			break
		}
		if more, err := r.pager.add(&all[i]); err != nil || !more {
			return r.pager.page(reached), err
		}
	}
	return r.pager.page(reached), nil
}

// floorOf returns the highest seq that any stream of the filter has lost.
func floorOf(tx *bolt.Tx, f Filter) (floor Seq, err error) {
	if name, exact := f.Stream(); exact { // trimming writes floors to the bucket, too
		h, err := getHead(tx.Bucket(bucketHeads), name)
		return h.floor, err
	}
	mark, err := getFloor(tx)
	if err != nil || mark.seq == 0 || f == All {
		return mark.seq, err
	}
	// Every stream that lost something has an entry in base-heads, with the last event that it lost.
	c := tx.Bucket(bucketBaseHeads).Cursor()
	prefix := []byte(f.Prefix())
	for k, v := c.Seek(prefix); k != nil; k, v = c.Next() {
		h, err := parseHead(k, v) // the one behind the last, too: it may only look like that
		if err != nil {
			return 0, err
		}
		if !bytes.HasPrefix(k, prefix) {
			break
		}
		floor = max(floor, h.last)
	}
	return floor, nil
}
