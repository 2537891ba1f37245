package store

import (
	"bytes"
	"hash/maphash"

	bolt "go.etcd.io/bbolt"
)

// checkedStream is a stream while the log is folded: cur begins as its base and ends as its head.
type checkedStream struct {
	cur     headState
	floor   Seq       // what the heads view must say; from base
	entry   headState // of the heads view
	listed  bool      // there is an entry
	matched bool      // cur was equal to entry when it had come to the same event
}

// keyHash stands for a (stream, key): a check must not need the memory of all keys.
type keyHash [2]uint64

type keySeed [2]maphash.Seed

func newKeySeed() keySeed { return keySeed{maphash.MakeSeed(), maphash.MakeSeed()} }

func (s keySeed) sum(st Stream, key string) (h keyHash) {
	for i := range h {
		var m maphash.Hash
		m.SetSeed(s[i])
		m.WriteString(string(st))
		m.WriteByte(0)
		m.WriteString(key)
		h[i] = m.Sum64()
	}
	return h
}

// checkedKey is a (stream, key) while the log is folded.
type checkedKey struct {
	last    Seq // of base, then of the log
	entry   Seq // that of the docs view; 0: it has no entry
	matched bool
}

func (c *checker) stream(name Stream) *checkedStream {
	s := c.streams[name]
	if s == nil {
		s = &checkedStream{}
		c.streams[Stream(cloneString(string(name)))] = s
	}
	return s
}

func (c *checker) key(st Stream, key string) *checkedKey {
	h := c.seed.sum(st, key)
	k := c.keys[h]
	if k == nil {
		k = &checkedKey{}
		c.keys[h] = k
	}
	return k
}

// each walks a bucket.
func (c *checker) each(name []byte, fn func(k, v []byte)) error {
	cur := c.tx.Bucket(name).Cursor()
	for k, v := cur.First(); k != nil; k, v = cur.Next() {
		if err := c.step(); err != nil {
			return err
		}
		fn(k, v)
	}
	return nil
}

func (c *checker) baseHeads() error {
	newest := Seq(0)
	err := c.each(bucketBaseHeads, func(k, v []byte) {
		h, err := parseHead(k, v)
		if err != nil {
			c.problem(CheckBaseHeads, 0, "%v", err)
			return
		}
		if h.last == 0 || h.last > c.floor.seq || h.floor != h.last || !h.possible() {
			c.problem(CheckBaseHeads, h.last, "stream %q at floor %d: %+v", k, c.floor.seq, h)
		}
		newest = max(newest, h.last)
		s := c.stream(Stream(k))
		s.cur, s.floor = h, h.last
	})
	if err == nil && newest != c.floor.seq {
		c.problem(CheckFloor, c.floor.seq, "the newest event that any stream lost is %d", newest)
	}
	return err
}

// possible reports whether the numbers of a stream fit each other.
func (h headState) possible() bool {
	return Seq(h.count) <= h.last && (h.count == 0) == (h.last == 0) &&
		(h.count >= skipBlock) == (h.skip1 != 0) && (h.count >= skipFar) == (h.skip2 != 0) &&
		h.skip1 <= h.last && h.skip2 <= h.skip1 && (h.count%skipBlock == 0) == (h.skip1 == h.last)
}

func (c *checker) baseDocs() error {
	return c.each(bucketBaseDocs, func(k, v []byte) {
		at, ok := parseDocKey(k)
		d, err := parseDoc(k, v)
		if !ok || err != nil {
			c.problem(CheckBaseDocs, 0, "entry of %q: %v", k, err)
			return
		}
		s := c.streams[at.Stream]
		switch {
		case s == nil || d.seq == 0 || d.seq > s.cur.last:
			c.problem(CheckBaseDocs, d.seq, "key %q of stream %q is newer than its stream's base", at.Key, at.Stream)
		case d.exists && !isDocument(d.data):
			c.problem(CheckBaseDocs, d.seq, "key %q of stream %q: not a folded document", at.Key, at.Stream)
		}
		c.key(at.Stream, at.Key).last = d.seq
	})
}

// isDocument reports whether data is JSON as folding makes it.
func isDocument(data []byte) bool {
	out, rest, err := CompactValue(nil, data)
	if err != nil || len(rest) > 0 || !bytes.Equal(out, data) {
		return false
	}
	out, err = AppendDocument(out[:0], data)
	return err == nil && bytes.Equal(out, data)
}

// readHeads takes note of what the heads view says; while the log is folded each entry must come true.
func (c *checker) readHeads() error {
	err := c.each(bucketHeads, func(k, v []byte) {
		h, err := parseHead(k, v)
		if err != nil {
			c.problem(CheckHeads, 0, "%v", err)
			return
		}
		s := c.stream(Stream(k))
		s.entry, s.listed = h, true
		s.match(c)
	})
	return err
}

// match compares the entry when the fold has come to the same event.
func (s *checkedStream) match(c *checker) {
	if !s.listed || s.cur.last != s.entry.last {
		return
	}
	s.matched = true
	want := s.cur
	want.floor = s.floor
	if s.entry != want {
		c.problem(CheckHeads, s.entry.last, "an entry is %+v, the fold says %+v", s.entry, want)
	}
}

func (c *checker) readDocs() error {
	return c.each(bucketDocs, func(k, v []byte) {
		at, ok := parseDocKey(k)
		d, err := parseDoc(k, v)
		if !ok || err != nil {
			c.problem(CheckDocs, 0, "entry of %q: %v", k, err)
			return
		}
		e := c.key(at.Stream, at.Key)
		e.entry = d.seq
		e.matched = e.last == d.seq
		c.report.Keys++
		if d.exists {
			c.report.Docs++
		}
	})
}

// compareViews names the streams whose entry never came true, and those without one though the checkpoint passed them.
func (c *checker) compareViews() error {
	for name, s := range c.streams {
		if s.cur.last != 0 {
			c.report.Streams++
		}
		if s.listed && !s.matched {
			c.problem(CheckHeads, s.entry.last, "stream %q: the entry's last event is none of the stream's", name)
		}
		if !s.listed && s.floor != 0 {
			c.problem(CheckHeads, 0, "stream %q has no entry", name)
		}
	}
	return nil
}

// compareDocs folds every entry of the docs view from the log.
func (c *checker) compareDocs() error {
	err := c.each(bucketDocs, func(k, v []byte) {
		at, ok := parseDocKey(k)
		d, err := parseDoc(k, v)
		if !ok || err != nil {
			return // reported by readDocs
		}
		if !c.key(at.Stream, at.Key).matched {
			c.problem(CheckDocs, d.seq, "key %q of stream %q: that event is none of the key's", at.Key, at.Stream)
			return
		}
		want, err := foldKey(c.tx, c.log, at, d.seq, c.floor.seq)
		if err != nil {
			c.problem(CheckDocs, d.seq, "key %q of stream %q: %v", at.Key, at.Stream, err)
			return
		}
		if want.seq != d.seq || want.exists != d.exists || !bytes.Equal(want.data, d.data) {
			c.problem(CheckDocs, d.seq, "key %q of stream %q is not the fold of its events", at.Key, at.Stream)
		}
	})
	if err != nil {
		return err
	}
	return c.each(bucketBaseDocs, func(k, _ []byte) {
		if c.tx.Bucket(bucketDocs).Get(k) == nil {
			c.problem(CheckDocs, 0, "the entry of %q is missing", k)
		}
	})
}

// foldKey folds the events of a key up to its event at seq, as the log and the base have them.
func foldKey(tx *bolt.Tx, log logBucket, at DocKey, seq, floor Seq) (docState, error) {
	var chain []Seq
	var rec record
	settled := false
	for link := seq; link > floor && !settled; link = rec.KPrev {
		if err := parseRecord(link, log.get(link), &rec); err != nil {
			return docState{}, err
		}
		chain = append(chain, link)
		settled = rec.Op == OpPut || rec.Op == OpDelete
	}
	var st docState
	var err error
	if !settled {
		if st, err = getDoc(tx.Bucket(bucketBaseDocs), at); err != nil {
			return docState{}, err
		}
	}
	for i := len(chain) - 1; i >= 0; i-- {
		if err := parseRecord(chain[i], log.get(chain[i]), &rec); err != nil {
			return docState{}, err
		}
		if _, err := st.apply(rec.Seq, rec.Op, rec.Data, maxDoc, nil); err != nil {
			return docState{}, &CorruptError{Seq: rec.Seq, Err: err}
		}
	}
	return st, st.fold()
}
