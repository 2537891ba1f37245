package store

import (
	"fmt"
	"path/filepath"
	"testing"
)

// BenchmarkReplay reads a stream's whole backlog from the file: alone in its log, and among a thousand others.
func BenchmarkReplay(b *testing.B) {
	for _, c := range []struct {
		name    string
		streams int
		total   int
	}{{"alone", 1, 200_000}, {"one of 1000", 1000, 1_000_000}} {
		b.Run(c.name, func(b *testing.B) {
			s := openTest(b, filepath.Join(b.TempDir(), "a.tidemark"), quiet())
			data := fmt.Appendf(nil, `{"text":"%0190d"}`, 1)
			for i := 0; i < c.total; i += 4000 {
				ms := make([]Mutation, 4000)
				for j := range ms {
					ms[j] = Mutation{ID: NewID(), Stream: Stream(fmt.Sprintf("room/%d", (i+j)%c.streams)), Type: "note", Data: data}
				}
				push(b, s, ms...)
			}
			cold(b, s)
			b.ResetTimer()
			n := 0
			for b.Loop() {
				for after := Seq(0); ; {
					p, err := s.Read(Only("room/0"), after, PageLimit{})
					if err != nil {
						b.Fatal(err)
					}
					n += len(p.Events)
					after = p.Through
					if !p.More {
						break
					}
				}
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

// BenchmarkMissed reads what a reader has missed of one stream among a thousand: the newest of it is in the tail.
func BenchmarkMissed(b *testing.B) {
	const streams, missed = 1000, 100
	s := openTest(b, filepath.Join(b.TempDir(), "a.tidemark"), quiet())
	data := fmt.Appendf(nil, `{"text":"%0190d"}`, 1)
	for range missed {
		ms := make([]Mutation, streams)
		for i := range ms {
			ms[i] = Mutation{ID: NewID(), Stream: Stream(fmt.Sprintf("room/%d", i)), Type: "note", Data: data}
		}
		push(b, s, ms...)
	}
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		n++
		p, err := s.Read(Only(Stream(fmt.Sprintf("room/%d", n%streams))), 1, PageLimit{})
		if err != nil || len(p.Events) < missed-1 {
			b.Fatal(len(p.Events), err)
		}
	}
}
