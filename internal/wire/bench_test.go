package wire

import (
	"strings"
	"testing"

	"tidemark/store"
)

func benchMutation(i int) store.Mutation {
	return store.Mutation{
		ID: store.NewID(), Stream: "room/1", Type: "card.moved", Key: "card/7", Op: store.OpPatch,
		Data: []byte(`{"column":"done","title":"` + strings.Repeat("a b", 40) + `","order":12.75,"tags":["x","y"],"done":false}`),
	}
}

func benchPush(n int) []byte {
	p := &Push{Ref: IntRef(17), Stream: "room/1", HasStream: true}
	for i := range n {
		p.Mutations = append(p.Mutations, benchMutation(i))
	}
	return p.Append(nil)
}

func benchEvents(n int) *Events {
	m := &Events{Sub: 1}
	for i := range n {
		mu := benchMutation(i)
		m.Events = append(m.Events, store.Event{
			Seq: store.Seq(i) + 1<<20, Prev: store.Seq(i) + 1<<20 - 1, At: 1790000000000, ID: mu.ID, Type: mu.Type,
			Key: mu.Key, Op: mu.Op, By: "alice", Data: mu.Data,
		})
	}
	return m
}

func perItem(b *testing.B, n int, bytes int) {
	b.SetBytes(int64(bytes))
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/item")
}

func BenchmarkDecodePush(b *testing.B) {
	for _, n := range []int{1, 64, 1000} {
		b.Run(store.Seq(n).String(), func(b *testing.B) {
			frame := benchPush(n)
			d := Decoder{Limits: Limits{}.WithDefaults()}
			b.ReportAllocs()
			for b.Loop() {
				if _, e := d.Decode(frame); e != nil {
					b.Fatal(e)
				}
			}
			perItem(b, n, len(frame))
		})
	}
}

func BenchmarkAppendEvents(b *testing.B) {
	m := benchEvents(100)
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendEvents(buf[:0], m.Events, false)
	}
	perItem(b, len(m.Events), len(buf))
}

func BenchmarkAppendAck(b *testing.B) {
	p := &Push{Stream: "room/1", HasStream: true}
	for i := range 64 {
		p.Mutations = append(p.Mutations, benchMutation(i))
		p.Verdicts = append(p.Verdicts, store.Verdict{Seq: store.Seq(i) + 1<<20, Prev: store.Seq(i) + 1<<20 - 1, At: 1790000000000})
	}
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendAck(buf[:0], p, 1<<20)
	}
	perItem(b, len(p.Verdicts), len(buf))
}

func BenchmarkDecodeAck(b *testing.B) {
	p := &Push{Stream: "room/1", HasStream: true}
	for i := range 64 {
		p.Mutations = append(p.Mutations, benchMutation(i))
		p.Verdicts = append(p.Verdicts, store.Verdict{Seq: store.Seq(i) + 1<<20, Prev: store.Seq(i) + 1<<20 - 1, At: 1790000000000})
	}
	frame := AppendAck(nil, p, 1<<20)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DecodeServer(frame); err != nil {
			b.Fatal(err)
		}
	}
	perItem(b, len(p.Verdicts), len(frame))
}

func BenchmarkDecodeEvents(b *testing.B) {
	frame := benchEvents(500).Append(nil)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DecodeServer(frame); err != nil {
			b.Fatal(err)
		}
	}
	perItem(b, 500, len(frame))
}

func BenchmarkScanEvents(b *testing.B) {
	frame := benchEvents(500).Append(nil)
	b.ReportAllocs()
	for b.Loop() {
		scan, ok := ScanEvents(frame)
		var e RawEvent
		n := 0
		for scan.Next(&e) {
			n++
		}
		if !ok || n != 500 || scan.Err() != nil {
			b.Fatal(n, ok, scan.Err())
		}
	}
	perItem(b, 500, len(frame))
}
