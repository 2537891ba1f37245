package cli

import (
	"fmt"
	"io"
	"os"
	"time"
)

// progress shows how far long work is, on a terminal only.
type progress struct {
	w     io.Writer // nil: no terminal
	what  string
	begin time.Time
	last  time.Time
	at    int64 // what was done then
}

func (sys *system) progress(what string) *progress {
	p := &progress{what: what, begin: time.Now()}
	if isTerminal(sys.err) {
		p.w = sys.err
	}
	return p
}

// isTerminal reports whether a person is likely to look at w.
func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	null, err := os.Stat(os.DevNull) // a character device, too, and nobody sits there
	return err != nil || !os.SameFile(info, null)
}

// show may be called often. A total of 0 is unknown.
func (p *progress) show(done, total int64) {
	now := time.Now()
	if done < p.at {
		p.begin = now // another piece of work
	}
	p.at = done
	if p.w == nil || now.Sub(p.last) < 100*time.Millisecond {
		return
	}
	p.last = now
	rate := float64(done) / max(now.Sub(p.begin).Seconds(), 0.001)
	if total > 0 {
		left := time.Duration(float64(total-done) / max(rate, 1e-9) * float64(time.Second))
		fmt.Fprintf(p.w, "\r\x1b[K%s %3d%%  %s left", p.what, 100*done/total, left.Round(time.Second))
		return
	}
	fmt.Fprintf(p.w, "\r\x1b[K%s %d", p.what, done)
}

// done takes the line away.
func (p *progress) done() {
	if p.w != nil && !p.last.IsZero() {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
