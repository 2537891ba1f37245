package store

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// BenchmarkCopies measures what Check, Backup and Restore do with a million events of 200 bytes on 10,000 streams.
func BenchmarkCopies(b *testing.B) {
	dir := memoryDir(b)
	s, err := Open(filepath.Join(dir, "a"), quiet())
	if err != nil {
		b.Fatal(err)
	}
	const n = 1_000_000
	for i := 0; i < n; i += 1000 {
		ms := make([]Mutation, 1000)
		for j := range ms {
			ms[j] = put(Stream(fmt.Sprint("s/", (i+j)*7919%10_000)), fmt.Sprint("k", (i+j)%8), fmt.Sprintf(`{"text":"%0190d"}`, i+j))
		}
		push(b, s, ms...)
	}
	run := func(name string, fn func() error) {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if err := fn(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(n*float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
	to := filepath.Join(dir, "b")
	run("backup", func() error {
		if err := os.RemoveAll(to); err != nil {
			return err
		}
		_, err := s.Backup(b.Context(), to, nil)
		return err
	})
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	run("check", func() error { return verifyFile(b.Context(), s.Path(), nil) })
	run("restore", func() error {
		if err := os.RemoveAll(to); err != nil {
			return err
		}
		_, err := Restore(b.Context(), s.Path(), to, 0, nil)
		return err
	})
}
