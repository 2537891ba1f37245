package store

import (
	"flag"
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
)

var benchIDs = flag.Int("ids", 1_000_000, "ids in the index of BenchmarkIDs")

// idsBench fills an index as a server does: flushes of 16,384 ids, merges in between. The file survives between
// benchmarks of one run.
func idsBench(b *testing.B, name string, next func(*idMaker) idEntry) (*idsFile, *idMaker) {
	f, m := newIDsFile(b), newIDMaker(42)
	var worst, worstMerge time.Duration
	start := time.Now()
	es := make([]idEntry, 0, 1<<14)
	for range *benchIDs / cap(es) {
		es = es[:0]
		for range cap(es) {
			es = append(es, next(m))
		}
		f.x.add(es)
		t := time.Now()
		f.flush(m.seq)
		worst = max(worst, time.Since(t))
		for job := f.x.merge(); job != nil; job = f.x.merge() {
			for more := true; more; {
				if err := job.read(f.db.View); err != nil {
					b.Fatal(err)
				}
				t := time.Now()
				var commit func()
				f.update(func(tx *bolt.Tx) (err error) { commit, more, err = job.write(tx); return err })
				commit()
				worstMerge = max(worstMerge, time.Since(t))
			}
			for more := true; more; {
				t := time.Now()
				var commit func()
				f.update(func(tx *bolt.Tx) (err error) { commit, more, err = f.x.reap(tx); return err })
				commit()
				worstMerge = max(worstMerge, time.Since(t))
			}
		}
	}
	took := time.Since(start)
	info, _ := os.Stat(f.db.Path())
	fmt.Fprintf(os.Stderr, "%s: %d ids, %d runs, built at %.0f ids/s, worst flush %v, worst slice of a merge %v, file %d MiB = %.1f bytes an id, filters in memory %d KiB\n",
		name, m.seq, f.x.stats().Runs, float64(m.seq)/took.Seconds(), worst, worstMerge, info.Size()>>20, float64(info.Size())/float64(m.seq), f.x.stats().FilterBytes>>10)
	return f, m
}

// BenchmarkIDs measures a lookup per operation. Ten million ids: go test -run NONE -bench IDs -ids 10000000 ./store
func BenchmarkIDs(b *testing.B) {
	for name, next := range map[string]func(*idMaker) idEntry{"v4": (*idMaker).v4, "v7": (*idMaker).v7} {
		b.Run(name, func(b *testing.B) {
			f, m := idsBench(b, name, next)
			var known []ID
			f.x.walk(f.db.View, func(e idEntry) error {
				if e.FP%64 == 0 {
					known = append(known, e.ID)
				}
				return nil
			})
			m.r.Shuffle(len(known), func(i, j int) { known[i], known[j] = known[j], known[i] })
			unknown := make([]ID, 1<<18)
			for i := range unknown {
				unknown[i] = next(m).ID
			}
			for name, ids := range map[string][]ID{"miss": unknown, "hit": known} {
				b.Run(name, func(b *testing.B) {
					wrong, i := f.x.stats().FalseHits, 0
					cpu := cpuTime(b)
					for b.Loop() {
						if _, ok, err := f.x.lookup(f.db.View, ids[i%len(ids)]); ok != (name == "hit") || err != nil {
							b.Fatal(ok, err)
						}
						i++
					}
					b.ReportMetric(float64(cpuTime(b)-cpu)/float64(i), "cpu-ns/op") // what counts when the machine is shared
					b.ReportMetric(float64(f.x.stats().FalseHits-wrong)/float64(i), "falsehits/op")
				})
			}
			b.Run("open", func(b *testing.B) {
				for b.Loop() {
					f.reopen()
				}
			})
			b.Run("after-open", func(b *testing.B) {
				for b.Loop() {
					f.reopen()
					for _, id := range unknown[:1000] {
						f.x.lookup(f.db.View, id)
					}
				}
			})
		})
	}
}

// cpuTime is what the process has used of all processors, in ns.
func cpuTime(b *testing.B) int64 {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return r.Utime.Nano() + r.Stime.Nano()
}

// BenchmarkIDsFlush writes 4,096 ids per operation as one run.
func BenchmarkIDsFlush(b *testing.B) {
	f, m := newIDsFile(b), newIDMaker(1)
	var es []idEntry
	for range 4096 {
		es = append(es, m.v4())
	}
	for b.Loop() {
		x := *f.x.runs.Load()
		f.x.add(es)
		f.flush(m.seq)
		f.x.runs.Store(&x)
	}
}

// BenchmarkIDsMerge merges eight runs per operation, of as many ids each as the name says.
func BenchmarkIDsMerge(b *testing.B) {
	for _, kind := range []struct {
		name string
		next func(*idMaker) idEntry
	}{{"v4", (*idMaker).v4}, {"v7", (*idMaker).v7}} {
		for _, ids := range []int{tierIDs, 8 * tierIDs} {
			b.Run(fmt.Sprintf("%s/%d", kind.name, ids), func(b *testing.B) { benchmarkMerge(b, kind.next, ids) })
		}
	}
}

func benchmarkMerge(b *testing.B, next func(*idMaker) idEntry, ids int) {
	f, m := newIDsFile(b), newIDMaker(1)
	for range mergeRuns {
		var es []idEntry
		for range ids {
			es = append(es, next(m))
		}
		f.x.add(es)
		f.flush(m.seq)
	}
	inputs := f.x.runs.Load()
	start := time.Now()
	n := 0
	for b.Loop() {
		n++
		job := f.x.merge()
		for f.mergeStep(job) {
		}
		f.x.dead = []uint64{job.b.run.id}
		f.reapAll()
		f.x.runs.Store(inputs)
	}
	b.ReportMetric(float64(n*mergeRuns*ids)/time.Since(start).Seconds(), "ids/s")
}
