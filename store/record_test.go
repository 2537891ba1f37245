package store

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

func randomRecord(r *rand.Rand) record {
	word := func(n int) string {
		b := make([]byte, r.IntN(n)+1)
		for i := range b {
			b[i] = 'a' + byte(r.IntN(26))
		}
		return string(b)
	}
	maybe := func() bool { return r.IntN(2) == 0 }
	rec := record{Event: Event{Seq: Seq(r.Uint64N(uint64(MaxSeq)-2) + 2), At: r.Int64N(1 << 44), ID: NewID(), Stream: Stream(word(40)), Type: word(9)}}
	back := func() Seq { return rec.Seq - Seq(r.Uint64N(uint64(rec.Seq)-1)) - 1 }
	if maybe() {
		rec.Prev = max(1, back())
	}
	if maybe() {
		rec.Skip1 = max(1, back())
	}
	if maybe() {
		rec.Skip2 = max(1, back())
	}
	if maybe() {
		rec.Key, rec.Op = word(50), Op(r.IntN(4))
		if maybe() {
			rec.KPrev = max(1, back())
		}
	}
	if maybe() {
		rec.By = word(12)
	}
	if maybe() {
		rec.Data = []byte(word(300))
	}
	if maybe() {
		rec.Extra = []byte(word(20))
	}
	if r.IntN(8) == 0 {
		rec.Flags, rec.Original = FlagStub, r.Uint32()
	} else if maybe() {
		rec.Flags = FlagMore | FlagBytes
	}
	rec.PrevCRC = r.Uint32()
	return rec
}

func TestRecordRoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 5000 {
		want := randomRecord(r)
		b := appendRecord([]byte("before"), &want)[6:]
		var got record
		if err := parseRecord(want.Seq, b, &got); err != nil {
			t.Fatalf("%+v: %v", want, err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("got  %+v\nwant %+v", got, want)
		}
		if st, ok := peekStream(b); !ok || st != want.Stream {
			t.Fatalf("peek: %q %v", st, ok)
		}
		home := want.Event
		rehome(&home, b)
		if !reflect.DeepEqual(home, want.Event) {
			t.Fatalf("rehome: %+v", home)
		}
		got.clone()
		clear(b)
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("clone still points into the record")
		}
	}
}

// Every single bit of a record matters: no flip is read as another event.
func TestRecordFindsEveryFlip(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	rec := randomRecord(r)
	rec.Flags = FlagMore
	b := appendRecord(nil, &rec)
	var got record
	for i := range len(b) * 8 {
		b[i/8] ^= 1 << (i % 8)
		var c *CorruptError
		if err := parseRecord(rec.Seq, b, &got); !errors.As(err, &c) || c.Seq != rec.Seq {
			t.Fatalf("bit %d: %v", i, err)
		}
		b[i/8] ^= 1 << (i % 8)
	}
	if err := parseRecord(rec.Seq+1, b, &got); err == nil {
		t.Fatal("a record under another seq was accepted")
	}
}

// FuzzRecord: no bytes make the parser panic, and what it accepts is what the encoder writes.
func FuzzRecord(f *testing.F) {
	f.Fuzz(func(t *testing.T, seq uint64, b []byte) {
		s := Seq(seq%uint64(MaxSeq)) + 1
		peekStream(b)
		var r record
		if parseRecord(s, resealed(s, bytes.Clone(b)), &r) != nil {
			return
		}
		var again record
		if err := parseRecord(s, appendRecord(nil, &r), &again); err != nil {
			t.Fatalf("%+v: %v", r, err)
		}
	})
}

func TestFuzzRecordSeeds(t *testing.T) {
	dir := filepath.Join("testdata", "fuzz", "FuzzRecord")
	if seeds, err := os.ReadDir(dir); err != nil || len(seeds) < 3 {
		t.Fatalf("%s: %d seeds, %v", dir, len(seeds), err)
	}
}

// No bit of a view's entry, nor of its key, can flip unnoticed.
func TestEntriesFindEveryFlip(t *testing.T) {
	at := DocKey{Stream: "room/1", Key: "card/7"}
	doc, err := docState{seq: 300, exists: true, data: []byte(`{"n":1}`)}.value(at.bytes())
	if err != nil {
		t.Fatal(err)
	}
	entries := []struct {
		key, value []byte
		parse      func(k, v []byte) error
	}{
		{at.bytes(), doc, func(k, v []byte) error { _, err := parseDoc(k, v); return err }},
		{[]byte("room/1"), headState{last: 7, count: 3, floor: 2}.value([]byte("room/1")), func(k, v []byte) error { _, err := parseHead(k, v); return err }},
	}
	for _, e := range entries {
		if err := e.parse(e.key, e.value); err != nil {
			t.Fatal(err)
		}
		for _, b := range [][]byte{e.key, e.value} {
			for i := range len(b) * 8 {
				b[i/8] ^= 1 << (i % 8)
				var c *CorruptError
				if err := e.parse(e.key, e.value); !errors.As(err, &c) {
					t.Fatalf("%q: bit %d: %v", b, i, err)
				}
				b[i/8] ^= 1 << (i % 8)
			}
		}
	}
}
