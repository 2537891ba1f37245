//go:build linux

package store

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// plEnv makes the test binary a process under test: "run" writes to a store on a recorded disk, "check" looks at images.
const plEnv = "TIDEMARK_POWERLOSS"

func init() {
	switch os.Getenv(plEnv) {
	case "run":
		plRun()
	case "check":
		plCheck()
	default:
		return
	}
	os.Exit(0)
}

const plName = "db" // of the store's file

// plSpec describes what one process does with a store.
type plSpec struct {
	Seed    uint64
	Count   int    // mutations
	Random  bool   // ids without order (v4), else v7
	Control string // a promise that is broken on purpose
	Trim    int    // every so many bursts, the log is trimmed
	Keep    int    // to this many events
	Backup  int    // after this burst, a backup is begun
	Close   bool   // the store is closed at the end; else the process just ends
	Span    int    // blocks of an entry of the journal; 0: none is ever written
	Bulk    bool   // some pushes, and groups, have so much that it goes into long leaves
}

var plControls = map[string]faults{
	"":                             {},
	"no sync":                      {noSync: true},
	"acknowledge before commit":    {ackEarly: true},
	"publish before commit":        {publishEarly: true},
	"continue after an I/O error":  {carryOn: true},
	"no recovery of the commit":    {noRewrite: true},
	"seals without checksums":      {blindSeal: true},
	"journal without checksums":    {blindJournal: true},
	"no check of records' content": {noCRC: true},
}

// options are small in everything, so that a short run does all kinds of work.
func (s plSpec) options() Options {
	now := time.UnixMilli(1_800_000_000_000)
	var mu sync.Mutex
	return Options{
		Logger:   slog.New(slog.NewTextHandler(io.Discard, nil)),
		mmapSize: 256 << 10,
		reserve:  -1,
		long:     1,
		journal:  journalSize{blocks: 7, span: cmp.Or(s.Span, -1)},
		flush:    flushPol{target: 12, bound: 48, bytes: 1 << 20, events: 16, entries: 16},
		faults:   plControls[s.Control],
		now: func() time.Time { // a full disk is tried again at the next push
			mu.Lock()
			defer mu.Unlock()
			now = now.Add(time.Second)
			return now
		},
	}
}

// mutation makes the i-th mutation of a run, always the same.
func (s plSpec) mutation(i int) Mutation {
	r := rand.New(rand.NewPCG(s.Seed, uint64(i)))
	m := Mutation{Stream: Stream(fmt.Sprintf("room/%d", r.IntN(5))), Type: fmt.Sprintf("type-%d", r.IntN(3))}
	binary.BigEndian.PutUint64(m.ID[:], r.Uint64())
	binary.BigEndian.PutUint64(m.ID[8:], r.Uint64())
	m.ID[6] = m.ID[6]&0x0f | 0x40
	if !s.Random {
		binary.BigEndian.PutUint64(m.ID[:], (1_800_000_000_000+s.Seed*1000+uint64(i)/3)<<16|0x7000|r.Uint64N(0x1000))
	}
	size := r.IntN(200)
	if r.IntN(40) == 0 {
		size = 9000 // more than a page
	}
	m.Data = fmt.Appendf(nil, `{"n":%d,"t":"%x"}`, i, plBytes(r, size))
	if r.IntN(4) == 0 {
		return m
	}
	m.Key = fmt.Sprint("k", r.IntN(6))
	switch r.IntN(8) {
	case 0:
		m.Op, m.Data = OpDelete, nil
	case 1, 2:
		m.Op, m.Data = OpPatch, fmt.Appendf(nil, `{"p":{"q%d":%d},"t":null}`, r.IntN(3), i)
	case 3: // an event about a document that does not change it
	default:
		m.Op = OpPut
	}
	return m
}

func plBytes(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// pushes cuts the mutations of a run into pushes.
func (s plSpec) pushes() (out []*Push) {
	r := rand.New(rand.NewPCG(s.Seed, 1<<40))
	for i := 0; i < s.Count; {
		p := &Push{Atomic: r.IntN(4) == 0, By: "tester"}
		n := 1 + r.IntN(4)
		if s.Bulk && r.IntN(8) == 0 {
			n = 30
		}
		for ; n > 0 && i < s.Count; n-- {
			p.Mutations = append(p.Mutations, s.mutation(i))
			i++
		}
		out = append(out, p)
	}
	return out
}

// plRunner is the process under test.
type plRunner struct {
	spec    plSpec
	s       *Store
	dir     string
	notes   *os.File
	backups sync.WaitGroup
}

// Exit codes of the process.
const (
	plExitFailed = 3 // the store stopped itself
	plExitOpen   = 4 // it could not be opened
	plExitWrong  = 5 // something that must not happen
)

func plRun() {
	r := &plRunner{dir: os.Getenv(plEnv + "_DIR")}
	r.must(json.Unmarshal([]byte(os.Getenv(plEnv+"_SPEC")), &r.spec))
	var err error
	r.notes, err = os.OpenFile(filepath.Join(r.dir, plNotes), os.O_WRONLY, 0)
	r.must(err)
	o := r.spec.options()
	o.OnFail = func(err error) {
		r.exit(plExitFailed, err)
	}
	if r.s, err = Open(filepath.Join(r.dir, plName), o); err != nil {
		r.exit(plExitOpen, err)
	}
	r.note("log %s\n", r.s.LogID())
	r.readAll()
	r.s.Watch(func(c Commit) { r.saw(c.Events) })
	r.work()
	if r.spec.Close {
		r.must(r.s.Close())
	}
	st := r.s.Stats()
	r.note("did %d %d %d %d %d %d %d %d\n", st.FlushSlices, st.IDMerges, st.Trims, st.Backups, st.Journaled, st.JournalMoves, st.Commits-st.Journaled, st.LongBatches)
}

func (r *plRunner) exit(code int, err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(code)
}

func (r *plRunner) must(err error) {
	if errors.Is(err, ErrFailed) { // before OnFail has ended the process
		r.exit(plExitFailed, err)
	}
	if err != nil {
		r.exit(plExitWrong, err)
	}
}

// note tells the outside world; it returns when that has heard.
func (r *plRunner) note(format string, a ...any) {
	_, err := fmt.Fprintf(r.notes, format, a...)
	r.must(err)
}

func (r *plRunner) saw(es []Event) {
	var text strings.Builder
	for i := range es {
		text.WriteString(fmt.Sprintf("saw %d %s %d\n", es[i].Seq, es[i].ID, es[i].At))
	}
	r.note("%s", text.String())
}

// readAll reads like a subscriber what is there at the start.
func (r *plRunner) readAll() {
	after := r.s.Floor()
	for {
		p, err := r.s.Read(All, after, PageLimit{})
		r.must(err)
		if len(p.Events) > 0 {
			r.saw(p.Events)
		}
		if after = p.Through; !p.More {
			return
		}
	}
}

// work pushes everything in bursts, so that groups hold several pushes.
func (r *plRunner) work() {
	pushes := r.spec.pushes()
	rnd := rand.New(rand.NewPCG(r.spec.Seed, 1<<41))
	for burst, at := 1, 0; at < len(pushes); burst++ {
		n := 1 + rnd.IntN(4)
		if r.spec.Bulk && rnd.IntN(4) == 0 {
			n = 20
		}
		n = min(n, len(pushes)-at)
		r.push(pushes[at : at+n])
		at += n
		if rnd.IntN(3) == 0 { // a client that lost the acknowledgement
			r.push(pushes[rnd.IntN(at):][:1])
		}
		if r.spec.Trim > 0 && burst%r.spec.Trim == 0 {
			to := Seq(max(0, int(r.s.Head())-r.spec.Keep))
			r.must(r.s.Trim(context.Background(), to))
			r.note("floor %d\n", r.s.Floor())
		}
		if burst == r.spec.Backup {
			r.backup()
		}
	}
	r.backups.Wait()
}

// backup makes a copy beside the pushes that follow.
func (r *plRunner) backup() {
	r.backups.Go(func() {
		const name = "copy"
		info, err := r.s.Backup(context.Background(), filepath.Join(r.dir, name), nil)
		r.must(err)
		r.note("backup %s %d\n", name, info.Head)
	})
}

// push sends pushes at once, and again until all of them were taken.
func (r *plRunner) push(pushes []*Push) {
	for tries := 0; len(pushes) > 0; tries++ {
		if tries == 10 {
			r.exit(plExitWrong, fmt.Errorf("refused: %v", pushes[0].Verdicts[0].Refusal))
		}
		done := make(chan *Push, len(pushes))
		for _, p := range pushes {
			p.Refused = nil
			p.Done = func(p *Push) {
				r.acknowledge(p)
				done <- p
			}
			r.must(r.s.Append(context.Background(), p))
		}
		var again []*Push
		for range pushes {
			if p := <-done; p.Verdicts[0].Refusal != nil {
				again = append(again, p)
			}
		}
		pushes = again
	}
}

func (r *plRunner) acknowledge(p *Push) {
	var text strings.Builder
	for i, v := range p.Verdicts {
		if v.Refusal == nil {
			text.WriteString(fmt.Sprintf("ack %d %s\n", v.Seq, p.Mutations[i].ID))
		}
	}
	if text.String() != "" {
		r.note("%s", text.String())
	}
}
