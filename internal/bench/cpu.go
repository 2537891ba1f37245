package bench

import (
	"syscall"
	"time"
)

// cpuTimes is the processor time used so far.
type cpuTimes struct {
	b         *Bench
	own       time.Duration
	ofServer  time.Duration
	hasServer bool
}

func (b *Bench) cpu() cpuTimes {
	t := cpuTimes{b: b, own: ownCPU(), hasServer: b.server != nil}
	if t.hasServer {
		t.ofServer = b.server.CPU()
	}
	return t
}

func ownCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// since returns the processor time for each of n operations: where the time goes when the machine is the limit.
func (t cpuTimes) since(what string, n int64) []Figure {
	each := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 / float64(max(n, 1)) }
	now := t.b.cpu()
	fs := []Figure{{"generator CPU per " + what, each(now.own - t.own), "µs"}}
	if t.hasServer {
		fs = append(fs, Figure{"server CPU per " + what, each(now.ofServer - t.ofServer), "µs"})
	}
	return fs
}
