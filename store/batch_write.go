package store

import (
	"cmp"
	"encoding/binary"

	bolt "go.etcd.io/bbolt"
)

// logWriter appends records to the log's bucket in the batches in which they will stay. Its memory may be used for the next
// transaction once this one has ended.
//
// bbolt writes each leaf in one call, with all the pages that overflow from it; it puts at least two entries into a leaf, as many as
// there is room for in its first page, and leaves the last three or four in one, which the next commit writes again. So few records are laid out in
// batches of half a page, two to a leaf of one page. Many become **long** leaves: a batch of half a page, then a long one, which that leaf has no room
// for but must take; and at the end three batches of a third of a page each: a leaf of one page is then all that is written again. Where bbolt
// splits otherwise nothing is wrong, only more is written. docs/decisions/0009 has the figures.
type logWriter struct {
	b    *bolt.Bucket
	page int
	long pageHabit

	recs []rawRecord // of this transaction, in the order of their seqs
	out  []byte      // the batches of this transaction, which bbolt refers to until it has ended

	batches, longs int64 // of this transaction: batches that were written, and how many of them are long
}

const (
	keepBatches = 1 << 20 // bytes of memory that are kept for the next transaction
	leafBytes   = 1 << 16 // of a long leaf; what the ends in a batch's head can count
	longPages   = 4       // so many pages of records are worth long leaves
)

// begin makes the writer ready for a transaction.
func (w *logWriter) begin(tx *bolt.Tx) {
	w.b, w.page, w.batches, w.longs = tx.Bucket(bucketLog), tx.DB().Info().PageSize, 0, 0
	w.long.look(tx)
	clear(w.recs)
	w.recs, w.out = w.recs[:0], w.out[:0]
	if cap(w.out) > keepBatches {
		w.out = nil
	}
	if cap(w.recs) > keepGroup {
		w.recs = nil
	}
}

// add appends the record at a seq, which is above all that were added before. The record must not change until the transaction has ended.
func (w *logWriter) add(seq Seq, rec []byte) { w.recs = append(w.recs, rawRecord{seq, rec}) }

// flush puts all that was added into the bucket.
func (w *logWriter) flush() error {
	if len(w.recs) == 0 {
		return nil
	}
	w.b.FillPercent = 1
	for recs := w.recs; len(recs) > 0; {
		n := 1
		for n < len(recs) && recs[n].seq == recs[n-1].seq+1 {
			n++
		}
		if err := w.lay(recs[:n]); err != nil {
			return err
		}
		recs = recs[n:]
	}
	clear(w.recs)
	w.recs = w.recs[:0]
	return nil
}

// lay puts records with consecutive seqs into batches.
func (w *logWriter) lay(recs []rawRecord) error {
	short, third := w.room(2), w.room(3)
	if !w.long.wants(entrySize(recs), w.page) {
		return w.fill(recs, short)
	}
	tail := len(recs)
	for range 3 {
		tail -= fitBack(recs[:tail], third)
	}
	for body := recs[:tail]; len(body) > 0; {
		n := fit(body, short)
		used := entrySize(body[:n])
		if err := w.put(body[:n]); err != nil {
			return err
		}
		if body = body[n:]; len(body) == 0 {
			break
		}
		n = fit(body, leafBytes-pageHeader-2*(pageElement+8)-used)
		if err := w.put(body[:n]); err != nil {
			return err
		}
		if n > 1 && entrySize(body[:n]) > w.page {
			w.longs++
		}
		body = body[n:]
	}
	return w.fill(recs[tail:], third)
}

// room is the size of the largest of n batches that fit into a leaf of one page.
func (w *logWriter) room(n int) int { return (min(w.page, 1<<16)-pageHeader)/n - pageElement - 8 }

// fill puts records into batches of a size.
func (w *logWriter) fill(recs []rawRecord, room int) error {
	for len(recs) > 0 {
		n := fit(recs, room)
		if err := w.put(recs[:n]); err != nil {
			return err
		}
		recs = recs[n:]
	}
	return nil
}

// put writes one entry.
func (w *logWriter) put(recs []rawRecord) error {
	value := recs[0].v
	if len(recs) > 1 {
		w.batches++
		start := len(w.out)
		w.out = appendEntry(w.out, recs)
		value = w.out[start:len(w.out):len(w.out)]
	}
	var key [8]byte
	binary.BigEndian.PutUint64(key[:], uint64(recs[len(recs)-1].seq))
	return w.b.Put(key[:], value)
}

// fit tells how many records, from the first one, fit into an entry of a size; at least one.
func fit(recs []rawRecord, room int) int {
	n, size := 1, batchHead+batchEnd+len(recs[0].v)
	for ; n < len(recs); n++ {
		if size += batchEnd + len(recs[n].v); size > room {
			break
		}
	}
	return n
}

// fitBack is fit from the last record on; 0 if there is none.
func fitBack(recs []rawRecord, room int) (n int) {
	for size := batchHead; n < len(recs); n++ {
		if size += batchEnd + len(recs[len(recs)-1-n].v); size > room && n > 0 {
			break
		}
	}
	return n
}

// entrySize is the size of the entry that records make.
func entrySize(recs []rawRecord) int {
	if len(recs) == 1 {
		return len(recs[0].v)
	}
	size := batchHead + len(recs)*batchEnd
	for i := range recs {
		size += len(recs[i].v)
	}
	return size
}

// appendEntry appends the value of an entry.
func appendEntry(dst []byte, recs []rawRecord) []byte {
	if len(recs) == 1 {
		return append(dst, recs[0].v...)
	}
	dst = append(dst, batchMark)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(recs)))
	end := 0
	for i := range recs {
		end += len(recs[i].v)
		dst = binary.BigEndian.AppendUint16(dst, uint16(end))
	}
	for i := range recs {
		dst = append(dst, recs[i].v...)
	}
	return dst
}

// pageHabit decides whether the log takes pages in long rows. It does, unless the file grows although much of it is free, or cannot
// grow: then what is free are single pages, which commits of single pages use up.
type pageHabit struct {
	pages int          // so many pages of records are worth it; negative: none are. 0: longPages
	free  func() int64 // tells how many bytes of the file are free; nil: nobody knows
	short bool         // single pages are to be used
	full  bool         // for the file cannot grow
	size  int64        // of the file, in use, before the last transaction; 0: not known
	still int          // transactions since it grew
}

// Free pages, of 4 KiB, from which on single ones are used up, and down to which; and transactions without growth after which long rows are
// tried again.
const (
	manyFree = 1024 * 4096
	fewFree  = 512 * 4096
	tryAfter = 256
)

// look is called at the begin of each transaction.
func (h *pageHabit) look(tx *bolt.Tx) {
	h.pages = cmp.Or(h.pages, longPages)
	size := tx.Size()
	grown := h.size > 0 && size > h.size
	h.size, h.still = size, h.still+1
	if grown {
		h.full, h.still = false, 0
	}
	switch {
	case h.pages < 0 || h.full || h.free == nil:
	case !h.short:
		h.short = grown && h.free() > manyFree
	case h.still >= tryAfter || h.free() < fewFree:
		h.short = false
	}
}

// wants reports whether records of a size are put into long leaves of pages of a size.
func (h *pageHabit) wants(size, page int) bool {
	return !h.short && h.pages > 0 && size >= h.pages*page && longPages*page <= leafBytes
}

// noRoom is told that a transaction found no room.
func (h *pageHabit) noRoom() { h.short, h.full = true, true }
