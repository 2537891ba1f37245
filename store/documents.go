package store

import (
	"bytes"
	"slices"
	"strings"

	bolt "go.etcd.io/bbolt"
)

// Doc returns the document at a key; false: there is none.
func (s *Store) Doc(st Stream, key string) (Doc, bool, error) {
	at := DocKey{Stream: st, Key: key}
	state, err := s.docState(at)
	if err != nil {
		return Doc{}, false, err
	}
	return state.doc(at)
}

// docState looks into the overlay first and opens its transaction after that: what has left the overlay is in the bucket.
func (s *Store) docState(at DocKey) (state docState, err error) {
	s.mu.RLock()
	e := s.docs[at.Stream][at.Key]
	if e != nil {
		state = e.docState
	}
	s.mu.RUnlock()
	if e != nil && !s.gate.Load() {
		return state, nil
	}
	err = s.view(func(tx *bolt.Tx) error {
		state, err = getDoc(tx.Bucket(bucketDocs), at)
		return err
	})
	return state, err
}

// Documents returns the documents of f after a position, in order, of about limit bytes, as they are now: each carries the
// seq of its last event, and none is newer than the page's Head.
func (s *Store) Documents(f Filter, after DocKey, limit int) (DocPage, error) {
	page, err := s.docStates(f, after, limit, func(_ *bolt.Tx, _ logBucket, at DocKey, st docState) (Doc, bool, error) {
		return st.doc(at)
	})
	page.Head = s.Head()
	return page, err
}

// docStates walks the docs view, overlay over bucket, from a position on; pick makes documents of the entries.
func (s *Store) docStates(f Filter, after DocKey, limit int, pick func(*bolt.Tx, logBucket, DocKey, docState) (Doc, bool, error)) (page DocPage, err error) {
	w := docWalk{f: f}
	w.over, w.cut = s.docOverlays(f, after, limit)
	err = s.viewLog(func(tx *bolt.Tx, log logBucket) error {
		w.c = tx.Bucket(bucketDocs).Cursor()
		w.seek(after)
		size, steps := 0, 0
		for {
			at, st, ok, err := w.next()
			if err != nil {
				return err
			}
			if w.cut != nil && (!ok || w.cut.less(at)) { // behind it the overlay was not looked at
				page.Through, page.More = *w.cut, true
				return nil
			}
			if !ok {
				return nil
			}
			if (size >= limit && len(page.Docs) > 0) || steps >= scanRecords {
				page.More = true
				return nil
			}
			steps++
			page.Through = at
			d, ok, err := pick(tx, log, at, st)
			if err != nil {
				return err
			}
			if ok {
				page.Docs = append(page.Docs, d)
				size += len(d.Data) + docCost(at)
			}
		}
	})
	return page, err
}

// docCost is what a document counts on a page beside its data.
func docCost(at DocKey) int { return len(at.Key) + len(at.Stream) + 40 }

type overlaid struct {
	at DocKey
	docState
}

// docOverlays copies the overlay's entries of the filter behind a position, as many as a page may need: cut is the last key
// that was looked at if there are more, else nil.
func (s *Store) docOverlays(f Filter, after DocKey, limit int) (out []overlaid, cut *DocKey) {
	name, exact := f.Stream()
	from := after
	if first := (DocKey{Stream: Stream(f.Prefix())}); from.less(first) {
		from = first
	}
	size, looked := 0, 0
	s.mu.RLock()
	defer s.mu.RUnlock()
	for e := range s.docOrder.from(from) {
		if exact && e.at.Stream != name || !exact && !strings.HasPrefix(string(e.at.Stream), f.Prefix()) {
			break
		}
		if size > max(limit, 0) || looked > scanRecords {
			return out, cut
		}
		cut = &e.at
		looked++
		if e.at != after && f.Match(e.at.Stream) {
			out = append(out, overlaid{e.at, e.docState})
			size += len(e.data) + docCost(e.at)
		}
	}
	return out, nil
}

// docWalk merges sorted overlay entries with the bucket; an overlay entry hides the bucket's.
type docWalk struct {
	c    *bolt.Cursor
	f    Filter
	over []overlaid
	cut  *DocKey // nil: over has all there is in the overlay
	k, v []byte
	err  error // of the entry at which the walk ended
}

func (w *docWalk) seek(after DocKey) {
	from := after.bytes()
	if after == (DocKey{}) {
		from = []byte(w.f.Prefix())
		if name, exact := w.f.Stream(); exact {
			from = DocKey{Stream: name}.bytes()
		}
	}
	w.k, w.v = w.c.Seek(from)
	if w.k != nil && after != (DocKey{}) && bytes.Equal(w.k, from) {
		w.k, w.v = w.c.Next()
	}
	w.skip()
}

// skip ends the walk of the bucket behind the filter's range, and passes over what the filter does not match: after a look whether that
// is what was written there.
func (w *docWalk) skip() {
	for w.k != nil {
		at, ok := parseDocKey(w.k)
		name, exact := w.f.Stream()
		over := exact && ok && at.Stream != name || !exact && !strings.HasPrefix(string(at.Stream), w.f.Prefix())
		if !over && (!ok || w.f.Match(at.Stream)) {
			return
		}
		if _, w.err = parseDocInPlace(w.k, w.v); over || w.err != nil {
			w.k = nil
			return
		}
		w.k, w.v = w.c.Next()
	}
}

func (w *docWalk) next() (DocKey, docState, bool, error) {
	if w.err != nil {
		return DocKey{}, docState{}, false, w.err
	}
	if w.k == nil {
		if len(w.over) == 0 {
			return DocKey{}, docState{}, false, nil
		}
		return w.popOver()
	}
	at, ok := parseDocKey(w.k)
	if !ok {
		return at, docState{}, false, corruptView("docs: key %q", w.k)
	}
	if len(w.over) > 0 && !at.less(w.over[0].at) {
		if at == w.over[0].at {
			w.k, w.v = w.c.Next()
			w.skip()
		}
		return w.popOver()
	}
	st, err := parseDoc(w.k, w.v)
	w.k, w.v = w.c.Next()
	w.skip()
	return at, st, err == nil, err
}

func (w *docWalk) popOver() (DocKey, docState, bool, error) {
	o := w.over[0]
	w.over = w.over[1:]
	return o.at, o.docState, true, nil
}

// DocAt returns the document at a key as it was when seq was the head of the log; false: there was none. Below the floor
// it returns a *TrimmedError.
func (s *Store) DocAt(st Stream, key string, seq Seq) (d Doc, ok bool, err error) {
	if err := s.checkPast(seq); err != nil {
		return Doc{}, false, err
	}
	at := DocKey{Stream: st, Key: key}
	state, err := s.docState(at)
	if err != nil {
		return Doc{}, false, err
	}
	err = s.viewLog(func(tx *bolt.Tx, log logBucket) error {
		d, ok, err = foldAt(tx, log, at, state, seq)
		return err
	})
	return d, ok, err
}

// DocumentsAt is Documents as of a seq that the log still holds, exactly.
func (s *Store) DocumentsAt(f Filter, seq Seq, after DocKey, limit int) (DocPage, error) {
	if err := s.checkPast(seq); err != nil {
		return DocPage{}, err
	}
	page, err := s.docStates(f, after, limit, func(tx *bolt.Tx, log logBucket, at DocKey, st docState) (Doc, bool, error) {
		return foldAt(tx, log, at, st, seq)
	})
	page.Head = seq
	if err == nil { // trimming may have passed while the page was read
		err = s.checkPast(seq)
	}
	return page, err
}

func (s *Store) checkPast(seq Seq) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if seq < s.floor.seq {
		return &TrimmedError{Floor: s.floor.seq}
	}
	if seq > s.Head() {
		return &Refusal{Code: CodeBadMessage, Message: "that seq is beyond the head of the log"}
	}
	return nil
}

// foldAt walks the key's events back from its newest to the last that settles what was there at seq, then folds forward.
func foldAt(tx *bolt.Tx, log logBucket, at DocKey, now docState, seq Seq) (Doc, bool, error) {
	if now.seq <= seq {
		return now.doc(at)
	}
	var chain []Seq
	floor, err := getFloor(tx)
	if err != nil {
		return Doc{}, false, err
	}
	if seq < floor.seq { // trimming has passed meanwhile: the base is newer than what was asked for
		return Doc{}, false, &TrimmedError{Floor: floor.seq}
	}
	link := now.seq
	for link > floor.seq {
		var rec record
		v := log.get(link)
		if err := parseRecord(link, v, &rec); err != nil {
			return Doc{}, false, err
		}
		link = rec.KPrev
		if rec.Seq > seq {
			continue
		}
		chain = append(chain, rec.Seq)
		if rec.Op == OpPut || rec.Op == OpDelete {
			return foldChain(log, at, docState{}, chain)
		}
	}
	base, err := getDoc(tx.Bucket(bucketBaseDocs), at)
	if err != nil {
		return Doc{}, false, err
	}
	return foldChain(log, at, base, chain)
}

// foldChain folds events, given from the newest to the oldest, into a state. There may be very many, so they are read once more and not kept.
func foldChain(log logBucket, at DocKey, st docState, chain []Seq) (Doc, bool, error) {
	var rec record
	for _, seq := range slices.Backward(chain) {
		if err := parseRecord(seq, log.get(seq), &rec); err != nil {
			return Doc{}, false, err
		}
		if _, err := st.apply(seq, rec.Op, rec.Data, maxDoc, nil); err != nil {
			return Doc{}, false, &CorruptError{Seq: seq, Err: err}
		}
	}
	return st.doc(at)
}
