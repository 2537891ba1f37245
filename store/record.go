package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"unsafe"
)

// recordVersion is the first byte of every record. Readers refuse higher versions.
const recordVersion = 1

// The fields that a record has or leaves out (its third byte).
const (
	hasSkip1 = 1 << iota
	hasSkip2
	hasKey
	hasBy
	hasData
	hasExtra
	hasOp
	hasOriginal // a stub: the CRC of the record that stood here before
)

// Skip links: every skipBlock-th event of a stream points skipBlock events back, every skipFar-th also skipFar.
const (
	skipBlock = 256
	skipFar   = 65536
)

// record is an event with what only the log needs: its links for walking back and its place in the chain of checksums.
type record struct {
	Event
	Skip1    Seq    // the stream's block boundary before this one; 0: none
	Skip2    Seq    // the stream's far boundary before this one; 0: none
	PrevCRC  uint32 // checksum of the record before it in the log
	Original uint32 // of a stub: the checksum that its successor was chained to
	CRC      uint32 // its own
}

// chain returns the checksum that the next record's PrevCRC must repeat.
func (r *record) chain() uint32 {
	if r.Flags.Has(FlagStub) {
		return r.Original
	}
	return r.CRC
}

// appendRecord appends r in the format of docs/storage.md ("Record"); it sets r.CRC.
func appendRecord(dst []byte, r *record) []byte {
	start := len(dst)
	var has byte
	set := func(bit byte, on bool) {
		if on {
			has |= bit
		}
	}
	set(hasSkip1, r.Skip1 != 0)
	set(hasSkip2, r.Skip2 != 0)
	set(hasKey, r.Key != "")
	set(hasBy, r.By != "")
	set(hasData, r.Data != nil)
	set(hasExtra, r.Extra != nil)
	set(hasOp, r.Op != OpNone)
	set(hasOriginal, r.Flags.Has(FlagStub))
	dst = append(dst, recordVersion, byte(r.Flags), has)
	dst = appendDelta(dst, r.Seq, r.Prev)
	if r.Skip1 != 0 {
		dst = appendDelta(dst, r.Seq, r.Skip1)
	}
	if r.Skip2 != 0 {
		dst = appendDelta(dst, r.Seq, r.Skip2)
	}
	dst = append(dst, r.ID[:]...)
	dst = binary.AppendUvarint(dst, uint64(r.At))
	dst = appendString(dst, string(r.Stream))
	dst = appendString(dst, r.Type)
	if r.Op != OpNone {
		dst = append(dst, byte(r.Op))
	}
	if r.Key != "" {
		dst = appendDelta(dst, r.Seq, r.KPrev)
		dst = appendString(dst, r.Key)
	}
	if r.By != "" {
		dst = appendString(dst, r.By)
	}
	if r.Data != nil {
		dst = binary.AppendUvarint(dst, uint64(len(r.Data)))
		dst = append(dst, r.Data...)
	}
	if r.Extra != nil {
		dst = binary.AppendUvarint(dst, uint64(len(r.Extra)))
		dst = append(dst, r.Extra...)
	}
	if r.Flags.Has(FlagStub) {
		dst = binary.BigEndian.AppendUint32(dst, r.Original)
	}
	dst = binary.BigEndian.AppendUint32(dst, r.PrevCRC)
	r.CRC = recordCRC(r.Seq, dst[start:])
	return binary.BigEndian.AppendUint32(dst, r.CRC)
}

// recordCRC covers the key as well, so that a record under another seq is found.
func recordCRC(seq Seq, body []byte) uint32 {
	var key [8]byte
	binary.BigEndian.PutUint64(key[:], uint64(seq))
	return crc32.Update(crc32.Checksum(key[:], castagnoli), castagnoli, body)
}

func appendDelta(dst []byte, from, to Seq) []byte {
	if to == 0 {
		return append(dst, 0)
	}
	return binary.AppendUvarint(dst, uint64(from-to))
}

func appendString(dst []byte, s string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	return append(dst, s...)
}

var errRecordShape = errors.New("record is malformed")

// checkRecord is what parseRecord says of the record's bytes: for scans, which must not pass over what only looks like another stream's.
func checkRecord(seq Seq, b []byte) error {
	if len(b) < 4+recordMin || b[0] != recordVersion {
		return corruptRecord(seq, b)
	}
	if recordCRC(seq, b[:len(b)-4]) != binary.BigEndian.Uint32(b[len(b)-4:]) {
		return &CorruptError{Seq: seq, Err: errors.New("checksum does not match")}
	}
	return nil
}

// parseRecord reads the record at seq. Strings and bytes of the result point into b. An error is a *CorruptError.
func parseRecord(seq Seq, b []byte, r *record) error {
	if err := checkRecord(seq, b); err != nil {
		return err
	}
	body, crc := b[:len(b)-4], binary.BigEndian.Uint32(b[len(b)-4:])
	d := decoder{b: body[3:]}
	has := body[2]
	*r = record{CRC: crc}
	r.Seq, r.Flags = seq, Flags(body[1])
	r.Prev = d.delta(seq)
	if has&hasSkip1 != 0 {
		r.Skip1 = d.delta(seq)
	}
	if has&hasSkip2 != 0 {
		r.Skip2 = d.delta(seq)
	}
	copy(r.ID[:], d.take(16))
	r.At = int64(d.uvarint())
	r.Stream = Stream(d.string())
	r.Type = d.string()
	if has&hasOp != 0 {
		r.Op = Op(d.byte())
	}
	if has&hasKey != 0 {
		r.KPrev = d.delta(seq)
		r.Key = d.string()
	}
	if has&hasBy != 0 {
		r.By = d.string()
	}
	if has&hasData != 0 {
		r.Data = d.bytes()
	}
	if has&hasExtra != 0 {
		r.Extra = d.bytes()
	}
	if has&hasOriginal != 0 {
		r.Original = d.uint32()
	}
	r.PrevCRC = d.uint32()
	if d.bad || len(d.b) != 0 || r.Op > OpDelete || r.Flags.Has(FlagStub) != (has&hasOriginal != 0) {
		return &CorruptError{Seq: seq, Err: errRecordShape}
	}
	return nil
}

// recordMin is the shortest body: three header bytes, prev, id, at, empty stream and type, the checksum before it.
const recordMin = 3 + 1 + 16 + 1 + 1 + 1 + 4

func corruptRecord(seq Seq, b []byte) error {
	if len(b) > 0 && b[0] > recordVersion {
		return &CorruptError{Seq: seq, Err: fmt.Errorf("record version %d is newer than this program", b[0])}
	}
	return &CorruptError{Seq: seq, Err: errRecordShape}
}

// peekStream returns the stream of a record without checking anything but lengths, for scans that skip most records: what they skip they let
// checkRecord see.
func peekStream(b []byte) (Stream, bool) {
	if len(b) < 4+recordMin {
		return "", false
	}
	d := decoder{b: b[3:]}
	d.uvarint()
	if b[2]&hasSkip1 != 0 {
		d.uvarint()
	}
	if b[2]&hasSkip2 != 0 {
		d.uvarint()
	}
	d.take(16)
	d.uvarint()
	s := d.string()
	return Stream(s), !d.bad
}

// decoder reads the small fields of our own formats; after a short read it is bad and yields zeros.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) take(n int) []byte {
	if n < 0 || n > len(d.b) {
		d.bad, d.b = true, nil
		return nil
	}
	p := d.b[:n:n]
	d.b = d.b[n:]
	return p
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.bad, d.b = true, nil
		return 0
	}
	d.b = d.b[n:]
	return v
}

// delta reads a distance back from seq; 0 means none.
func (d *decoder) delta(seq Seq) Seq {
	v := d.uvarint()
	if v == 0 {
		return 0
	}
	if v >= uint64(seq) {
		d.bad = true
		return 0
	}
	return seq - Seq(v)
}

func (d *decoder) byte() byte {
	if p := d.take(1); p != nil {
		return p[0]
	}
	return 0
}

func (d *decoder) uint32() uint32 {
	if p := d.take(4); p != nil {
		return binary.BigEndian.Uint32(p)
	}
	return 0
}

func (d *decoder) uint64() uint64 {
	if p := d.take(8); p != nil {
		return binary.BigEndian.Uint64(p)
	}
	return 0
}

func (d *decoder) id() (id ID) {
	copy(id[:], d.take(16))
	return id
}

// bytes reads a length and that many bytes; the result is never nil.
func (d *decoder) bytes() []byte {
	n := d.uvarint()
	if n > uint64(len(d.b)) {
		d.bad, d.b = true, nil
		return []byte{}
	}
	return d.take(int(n))
}

func (d *decoder) string() string { return viewString(d.bytes()) }

// sealed appends to value, an entry of a view or of the metadata, the checksum of its key and itself.
func sealed(key, value []byte) []byte {
	return binary.BigEndian.AppendUint32(value, crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, value))
}

// unsealed returns a decoder for a sealed value; it is bad when the checksum does not fit.
func unsealed(key, b []byte) decoder {
	if len(b) < 4 {
		return decoder{bad: true}
	}
	value := b[: len(b)-4 : len(b)-4]
	if crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, value) != binary.BigEndian.Uint32(b[len(b)-4:]) {
		return decoder{bad: true}
	}
	return decoder{b: value}
}

// viewString is b as a string without a copy; b must not change afterwards.
func viewString(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// clone moves everything that r points to into memory of its own, in one allocation.
func (r *record) clone() {
	n := len(r.Stream) + len(r.Type) + len(r.Key) + len(r.By) + len(r.Data) + len(r.Extra)
	buf := make([]byte, 0, n)
	own := func(p string) string {
		start := len(buf)
		buf = append(buf, p...)
		return viewString(buf[start:])
	}
	r.Stream = Stream(own(string(r.Stream)))
	r.Type, r.Key, r.By = own(r.Type), own(r.Key), own(r.By)
	if r.Data != nil {
		start := len(buf)
		buf = append(buf, r.Data...)
		r.Data = buf[start:len(buf):len(buf)]
	}
	if r.Extra != nil {
		start := len(buf)
		buf = append(buf, r.Extra...)
		r.Extra = buf[start:len(buf):len(buf)]
	}
}

func seqKey(s Seq) []byte { return binary.BigEndian.AppendUint64(make([]byte, 0, 8), uint64(s)) }

func keySeq(k []byte) Seq { return Seq(binary.BigEndian.Uint64(k)) }
