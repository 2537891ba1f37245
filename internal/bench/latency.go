package bench

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"tidemark/client"
)

// Latency measures one client that waits for each answer, beside what the disk's fdatasync alone takes.
type Latency struct {
	Duration time.Duration `default:"5s" help:"How long to measure."`
}

// Run implements Scenario.
func (a *Latency) Run(ctx context.Context, b *Bench) error {
	if err := b.start(ctx); err != nil {
		return err
	}
	disk, err := fdatasync(filepath.Join(b.dir, "probe"), 500)
	if err != nil {
		return err
	}
	c, err := b.client(ctx, client.Options{})
	if err != nil {
		return err
	}
	defer c.Close()
	l, err := b.drive(ctx, []*client.Client{c}, 1, streams(1), a.Duration/5, a.Duration)
	if err != nil {
		return err
	}
	fs := append([]Figure{{"appends", l.rate, "/s"}}, latencies("", &l.hist)...)
	fs = append(fs, latencies("fdatasync ", disk)...)
	fs = append(fs, Figure{"p50 / fdatasync p50", float64(l.hist.quantile(0.5)) / float64(disk.quantile(0.5)), "×"})
	return b.report(ctx, "latency: one client, one at a time", fs...)
}

// fdatasync measures an overwrite of 4 KiB in an allocated file with the sync that makes it durable.
func fdatasync(path string, n int) (*histogram, error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	defer os.Remove(path)
	defer f.Close()
	page := make([]byte, 4096)
	if _, err := f.Write(make([]byte, 1<<20)); err != nil {
		return nil, err
	}
	if err := f.Sync(); err != nil {
		return nil, err
	}
	h := new(histogram)
	for i := range n {
		page[0] = byte(i)
		begin := time.Now()
		if _, err := f.WriteAt(page, int64(i%256)*4096); err != nil {
			return nil, err
		}
		if err := datasync(f); err != nil {
			return nil, err
		}
		h.add(time.Since(begin))
	}
	return h, nil
}
