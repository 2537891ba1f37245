package store

import (
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

var (
	modelSeeds = flag.Int("model.seeds", 0, "how many seeds the model test runs; 0: a few")
	modelFirst = flag.Uint64("model.first", 1, "the first seed of the model test")
)

// TestModel drives a store and the model with the same random operations and compares every answer. The store's limits are
// small, so that short histories take every way that reading, flushing, merging and trimming have; the counters prove it.
func TestModel(t *testing.T) {
	seeds, steps := *modelSeeds, 400
	if testing.Short() {
		steps = 150
	}
	if seeds == 0 {
		if seeds = 8; testing.Short() {
			seeds = 1
		}
	}
	var total Stats
	trimmedReads := 0
	for seed := *modelFirst; seed < *modelFirst+uint64(seeds); seed++ {
		ok := t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			r := newModelRun(t, seed)
			r.run(steps)
			addStats(&total, r.stats)
			trimmedReads += r.trimmedReads
		})
		if !ok {
			t.Fatalf("failed; again with: go test -run TestModel -model.first=%d -model.seeds=1", seed)
		}
	}
	if testing.Short() {
		return // too little for every path
	}
	for what, n := range map[string]int64{
		"tail reads": total.TailReads, "file reads": total.FileReads, "dense scans": total.DenseScans, "hop reads": total.HopReads,
		"merged reads": total.MergedReads, "near skips": total.SkipsNear, "pages that ended at a bound": total.PagesShrunk,
		"flush slices beyond the first of each store": total.FlushSlices - int64(seeds), "throttled groups": total.ThrottledGroups,
		"merged id runs": total.IDMergedRuns, "trims": total.Trims, "trims held": total.TrimsHeld, "duplicates": total.Duplicates,
		"groups in the journal": total.Journaled, "times that it was emptied": total.JournalMoves, "long batches": total.LongBatches, "other commits": total.Commits - total.Journaled,
		"refusals": total.Refused, "backups": total.Backups, "reads below the floor": min(int64(trimmedReads), total.TrimmedReads),
	} {
		if n <= 0 {
			t.Errorf("%s: the path was not taken", what)
		}
	}
}

// addStats adds up all counters.
func addStats(sum *Stats, s Stats) {
	to, from := reflect.ValueOf(sum).Elem(), reflect.ValueOf(s)
	for i := range to.NumField() {
		if to.Field(i).CanInt() {
			to.Field(i).SetInt(to.Field(i).Int() + from.Field(i).Int())
		}
	}
}

type modelRun struct {
	*testing.T
	*rand.Rand
	m       *model
	s       *Store
	o       Options
	clock   atomic.Int64
	dir     string
	files   int
	sent    []Mutation // to send again
	sources map[*Source]*modelSource

	stats        Stats
	trimmedReads int
}

func newModelRun(t *testing.T, seed uint64) *modelRun {
	r := &modelRun{T: t, Rand: rand.New(rand.NewPCG(seed, 99)), dir: memoryDir(t), sources: map[*Source]*modelSource{}}
	r.clock.Store(1_790_000_000_000)
	r.o = quiet()
	r.o.Limits = Limits{Data: 400, Doc: 300}
	r.o.TailBytes = 60_000
	r.o.journal = journalSize{blocks: 5 + r.IntN(20), span: 1 + r.IntN(4)}
	r.o.flush = flushPol{target: 150, bound: 400, bytes: 1 << 20, events: 100, entries: 50}
	r.o.now = func() time.Time { return time.UnixMilli(r.clock.Load()) }
	r.s = r.open(r.file())
	r.m = newModel(r.s.LogID(), r.o.Limits)
	r.m.now = r.clock.Load()
	return r
}

// id returns an id that the seed determines, in time order or not.
func (r *modelRun) id() (id ID) {
	binary.BigEndian.PutUint64(id[:], r.Uint64())
	binary.BigEndian.PutUint64(id[8:], r.Uint64())
	if r.IntN(2) == 0 {
		binary.BigEndian.PutUint64(id[:], uint64(len(r.m.events)))
	}
	return id
}

func (r *modelRun) file() string {
	r.files++
	return filepath.Join(r.dir, fmt.Sprint("log", r.files))
}

func (r *modelRun) open(path string) *Store {
	r.Helper()
	s, err := Open(path, r.o)
	if err != nil {
		r.Fatal(err)
	}
	return s
}

func (r *modelRun) closeStore() {
	r.Helper()
	addStats(&r.stats, r.s.Stats())
	if err := r.s.Close(); err != nil {
		r.Fatal(err)
	}
}

func (r *modelRun) run(steps int) {
	defer func() { _ = r.s.Close() }()
	ops := []struct {
		weight int
		run    func()
	}{
		{40, r.pushes}, {6, r.bulk}, {25, r.read}, {8, r.documents}, {8, r.documentsAt}, {8, r.resume}, {4, r.streams},
		{3, r.trim}, {5, r.flush}, {5, func() { cold(r, r.s) }}, {5, func() { noTail(r.s) }}, {5, r.tick}, {3, r.reopen}, {2, r.crash}, {1, r.backup}, {1, r.restore}, {1, r.flood},
	}
	sum := 0
	for _, op := range ops {
		sum += op.weight
	}
	for range steps {
		n := r.IntN(sum)
		for _, op := range ops {
			if n -= op.weight; n < 0 {
				op.run()
				break
			}
		}
		if r.Failed() {
			return
		}
	}
	r.closeStore()
	mustCheck(r, r.s.Path())
}

func (r *modelRun) stream() Stream {
	switch r.IntN(10) {
	case 0, 1, 2, 3:
		return "dense"
	case 4, 5:
		return Stream(fmt.Sprint("few/", r.IntN(3)))
	case 6:
		if r.IntN(5) == 0 {
			return "$ctl"
		}
		return "rare"
	default:
		return Stream(fmt.Sprint("wide/", r.IntN(60)))
	}
}

func (r *modelRun) filter() Filter {
	names := []string{"dense", "rare", "few/**", "few/1", "wide/**", "**", "none", "none/**"}
	name := names[r.IntN(len(names))]
	if name == "few/1" && r.IntN(2) == 0 {
		return Only(r.stream())
	}
	f, err := ParseFilter(name)
	if err != nil {
		r.Fatal(err)
	}
	return f
}

func (r *modelRun) pick(ss ...string) string { return ss[r.IntN(len(ss))] }

func (r *modelRun) mutation() Mutation {
	if n := len(r.sent); n > 0 && r.IntN(12) == 0 {
		m := r.sent[r.IntN(n)]
		if r.IntN(4) == 0 {
			m.Type = "changed"
		}
		return m
	}
	m := Mutation{ID: r.id(), Stream: r.stream(), Type: r.pick("note", "moved", "seen")}
	if r.IntN(3) > 0 {
		m.Key = fmt.Sprint("k", r.IntN(4))
	}
	long := r.pick("", "", "", "a somewhat longer text, so that documents reach their limit now and then, and pages, too, of course")
	m.Data = []byte(r.pick(`{"a":1,"b":{"c":2}}`, `[1,2]`, `"x"`, `null`, `{"a":null,"n`+fmt.Sprint(r.IntN(9))+`":"`+long+`"}`))
	if m.Key != "" {
		switch r.IntN(5) {
		case 0, 1:
			m.Op = OpPatch
		case 2:
			m.Op, m.Type = OpPut, ""
		case 3:
			if m.Op, m.Data = OpDelete, nil; r.IntN(2) == 0 {
				m.Op = OpNone
			}
		}
	} else if r.IntN(4) == 0 {
		m.Bytes, m.Data = true, []byte{0, 1}
	}
	r.expect(&m)
	if len(r.sent) < 2000 {
		r.sent = append(r.sent, m)
	}
	return m
}

// expect gives one mutation in four an expectation, true or not.
func (r *modelRun) expect(m *Mutation) {
	last := r.m.heads[m.Stream]
	if m.Key != "" {
		last = r.m.docs[DocKey{m.Stream, m.Key}].seq
	}
	switch r.IntN(16) {
	case 0:
		m.Expect = Expect{Kind: ExpectSeq}
	case 1:
		m.Expect = Expect{Kind: ExpectSeq, Seq: last}
	case 2:
		m.Expect = Expect{Kind: ExpectSeq, Seq: last, Log: r.someLog()}
	case 3:
		m.Expect = Expect{Kind: ExpectID, ID: r.id()}
		if last > 0 && r.IntN(3) > 0 {
			m.Expect.ID = r.m.events[last-1].ID
		}
	}
}

func (r *modelRun) someLog() ID {
	logs := []ID{{}, r.m.log, r.id()}
	for _, a := range r.m.lineage {
		logs = append(logs, a.log)
	}
	return logs[r.IntN(len(logs))]
}

func (r *modelRun) randomPush(n int) *Push {
	p := &Push{Atomic: r.IntN(3) == 0, By: r.pick("alice", "bob", "")}
	for range n {
		p.Mutations = append(p.Mutations, r.mutation())
	}
	if r.IntN(8) == 0 {
		p.Refused = make([]*Refusal, n)
		code := []Code{CodeForbidden, CodeOverloaded, CodeMutationInvalid}[r.IntN(3)]
		p.Refused[r.IntN(n)] = &Refusal{Code: code}
	}
	if r.IntN(3) == 0 {
		p.Source = r.source(p)
	}
	return p
}

// source returns a new or a known origin; to a blocked one it brings what opens it, often enough.
func (r *modelRun) source(p *Push) *Source {
	for src, ms := range r.sources {
		if ms.blocked == "" || len(r.sources) < 4 {
			continue
		}
		if i := slices.IndexFunc(r.sent, func(m Mutation) bool { return m.ID == ms.first }); i >= 0 {
			p.Mutations[0] = r.sent[i]
		} else {
			delete(r.sources, src)
		}
		return src
	}
	src := &Source{}
	r.sources[src] = &modelSource{}
	return src
}

// pushes queues a few pushes at once, so that they meet in one group, and compares all verdicts.
func (r *modelRun) pushes() { r.send(1+r.IntN(4), 1+r.IntN(8)) }

func (r *modelRun) bulk() { r.send(3, 150) }

// flood writes so much to one stream that the blocks of the others are better walked than scanned.
func (r *modelRun) flood() {
	for range 6 {
		p := &Push{}
		for range 1000 {
			p.Mutations = append(p.Mutations, Mutation{ID: r.id(), Stream: "flood", Type: "drop"})
		}
		want := r.m.push(p, nil)
		got, err := r.s.AppendWait(r.Context(), p)
		if err != nil || !slices.EqualFunc(got, want, sameVerdict) {
			r.Fatalf("flood: %v", err)
		}
	}
}

func (r *modelRun) send(pushes, mutations int) {
	r.Helper()
	var ps []*Push
	var want [][]Verdict
	done := make(chan struct{}, pushes)
	for range pushes {
		p := r.randomPush(mutations)
		p.Done = func(*Push) { done <- struct{}{} }
		var src *modelSource
		if p.Source != nil {
			if src = r.sources[p.Source]; src == nil {
				p.Source = nil // given up
			}
		}
		ps, want = append(ps, p), append(want, r.m.push(p, src))
	}
	for _, p := range ps {
		if err := r.s.Append(r.Context(), p); err != nil {
			r.Fatal(err)
		}
	}
	for range ps {
		<-done
	}
	for i, p := range ps {
		for j := range p.Mutations {
			if !sameVerdict(p.Verdicts[j], want[i][j]) {
				r.Fatalf("mutation %+v (atomic %t): verdict %+v %+v, want %+v %+v", p.Mutations[j], p.Atomic,
					p.Verdicts[j], p.Verdicts[j].Refusal, want[i][j], want[i][j].Refusal)
			}
			r.sameDocument(&p.Mutations[j], p.Verdicts[j].Refusal)
		}
	}
	if r.s.Head() != r.m.head() {
		r.Fatalf("head %d, want %d", r.s.Head(), r.m.head())
	}
}

// sameDocument looks at the document that comes with a conflict: it is the one that there is now.
func (r *modelRun) sameDocument(m *Mutation, refusal *Refusal) {
	if refusal == nil || !refusal.HasDocument() {
		return
	}
	got, want := refusal.WithDocument(), r.m.docs[DocKey{m.Stream, m.Key}]
	if want.data == nil && got.Seq == 0 && got.Data == nil {
		return
	}
	if got.Seq != want.seq || string(got.Data) != string(want.data) {
		r.Fatalf("conflict of %+v: %s as of %d, want %s as of %d", m, got.Data, got.Seq, want.data, want.seq)
	}
}

func (r *modelRun) seq() Seq { return Seq(r.IntN(int(r.m.head()) + 1)) }

// read reads a few pages of a filter from a random cursor.
func (r *modelRun) read() {
	f, after := r.filter(), r.seq()
	if r.IntN(3) == 0 {
		after = max(r.m.floor, r.m.head()-min(r.m.head(), Seq(r.IntN(300))))
	}
	lim := []PageLimit{{}, {Events: 1 + r.IntN(20)}, {Bytes: 1 + r.IntN(5000)}, {Bytes: 3000, Events: 7}}[r.IntN(4)]
	for range 4 {
		p, err := r.s.Read(f, after, lim)
		floor := r.m.floorOf(f)
		if f.Wide() && f != All && after < floor || after < floor {
			var gone *TrimmedError
			if !errors.As(err, &gone) || gone.Floor != floor {
				r.Fatalf("%s after %d: %v, want trimmed up to %d", f, after, err, floor)
			}
			r.trimmedReads++
			return
		}
		if err != nil {
			r.Fatalf("%s after %d: %v", f, after, err)
		}
		r.comparePage(f, after, lim, p)
		if after = p.Through; !p.More {
			return
		}
	}
}

func (r *modelRun) comparePage(f Filter, after Seq, lim PageLimit, p Page) {
	r.Helper()
	head := r.m.head()
	if p.Through < after || p.Through > head || p.More != (p.Through < head) || p.Through != r.m.pushEnd(p.Through) && p.Through > r.m.floor {
		r.Fatalf("%s after %d: through %d, more %t, head %d", f, after, p.Through, p.More, head)
	}
	want := r.m.matching(f, after, p.Through)
	if !slices.EqualFunc(p.Events, want, sameEvent) {
		r.Fatalf("%s after %d through %d: %d events, want %d, or they differ", f, after, p.Through, len(p.Events), len(want))
	}
	if n := lim.Events; n > 0 && len(p.Events) > n && !p.Events[n-1].Flags.Has(FlagMore) {
		r.Fatalf("%s after %d: %d events, limit %d", f, after, len(p.Events), n)
	}
	if p.More && p.Through == after && after >= r.m.floor {
		r.Fatalf("%s after %d: the page leads nowhere", f, after)
	}
}

func (r *modelRun) listDocs(page func(after DocKey, size int) (DocPage, error)) (out []Doc) {
	r.Helper()
	size := 1 + r.IntN(4000)
	for after := (DocKey{}); ; {
		p, err := page(after, size)
		if err != nil {
			r.Fatal(err)
		}
		out = append(out, p.Docs...)
		if !p.More {
			return out
		}
		after = p.Through
	}
}

func (r *modelRun) documents() {
	f := r.filter()
	got := r.listDocs(func(after DocKey, size int) (DocPage, error) { return r.s.Documents(f, after, size) })
	if !slices.EqualFunc(got, r.m.documents(f, r.m.head()), sameDoc) {
		r.Fatalf("%s: %d documents, or they differ", f, len(got))
	}
	at := DocKey{r.stream(), fmt.Sprint("k", r.IntN(4))}
	d, ok, err := r.s.Doc(at.Stream, at.Key)
	want := r.m.docs[at]
	if err != nil || ok != (want.data != nil) || ok && (d.Seq != want.seq || string(d.Data) != string(want.data)) {
		r.Fatalf("document %+v: %+v, %t, %v; want %+v", at, d, ok, err, want)
	}
}

func (r *modelRun) documentsAt() {
	f, at := r.filter(), r.seq()
	if at < r.m.floor {
		var gone *TrimmedError
		if _, err := r.s.DocumentsAt(f, at, DocKey{}, 1000); !errors.As(err, &gone) || gone.Floor != r.m.floor {
			r.Fatalf("documents as of %d: %v, floor %d", at, err, r.m.floor)
		}
		return
	}
	got := r.listDocs(func(after DocKey, size int) (DocPage, error) { return r.s.DocumentsAt(f, at, after, size) })
	want := r.m.documents(f, at)
	if !slices.EqualFunc(got, want, sameDoc) {
		r.Fatalf("%s as of %d: %d documents, want %d, or they differ", f, at, len(got), len(want))
	}
	for _, d := range want[:min(len(want), 3)] {
		if one, ok, err := r.s.DocAt(d.Stream, d.Key, at); err != nil || !ok || !sameDoc(one, d) {
			r.Fatalf("document %s %s as of %d: %+v, %t, %v", d.Stream, d.Key, at, one, ok, err)
		}
	}
}

func (r *modelRun) resume() {
	f := r.filter()
	for range 5 {
		c := Cursor{Seq: Seq(r.IntN(int(r.m.head()) + 3)), Log: r.someLog()}
		for _, a := range r.m.lineage {
			if a.log == c.Log && r.IntN(2) == 0 {
				c.Seq = a.cut + Seq(r.IntN(2))
			}
		}
		switch r.IntN(3) {
		case 0:
			c.Mark = r.id()
		case 1:
			if c.Seq > 0 && c.Seq <= r.m.head() {
				c.Mark = r.m.events[c.Seq-1].ID
			}
		}
		st, err := r.s.Resume(f, c)
		if want := r.m.resume(f, c); err != nil || st != want {
			r.Fatalf("%s from %+v: %+v, %v; want %+v", f, c, st, err, want)
		}
		if mark := r.s.Mark(c.Seq); c.Seq > 0 && c.Seq >= r.m.floor && c.Seq <= r.m.head() && mark != r.m.events[c.Seq-1].ID {
			r.Fatalf("mark at %d: %s", c.Seq, mark)
		}
	}
}

func (r *modelRun) streams() {
	prefix := r.pick("", "few/", "wide/1", "none", "$")
	var got []StreamInfo
	after, size := Stream(""), 1+r.IntN(20)
	for {
		page, err := r.s.Streams(prefix, after, size)
		if err != nil {
			r.Fatal(err)
		}
		if got = append(got, page...); len(page) < size {
			break
		}
		after = page[len(page)-1].Stream
	}
	if want := r.m.streams(prefix); !slices.Equal(got, want) {
		r.Fatalf("streams of %q: %+v, want %+v", prefix, got, want)
	}
}

func (r *modelRun) trim() {
	to := r.m.floor + Seq(r.IntN(int(r.m.head()-r.m.floor)/3+1))
	if r.IntN(4) == 0 {
		release := r.s.HoldTrim(r.m.floor)
		if err := r.s.Trim(r.Context(), to); err != nil || r.s.Floor() != r.m.floor {
			r.Fatalf("trimmed to %d while a snapshot was read, %v", r.s.Floor(), err)
		}
		release()
	}
	if err := r.s.Trim(r.Context(), to); err != nil {
		r.Fatal(err)
	}
	r.m.floor = max(r.m.floor, r.m.pushEnd(to))
	if r.s.Floor() != r.m.floor {
		r.Fatalf("trimmed to %d, asked for %d, want %d", r.s.Floor(), to, r.m.floor)
	}
}

// flush takes one slice, or all.
func (r *modelRun) flush() {
	all := r.IntN(3) == 0
	err := r.s.onWriter(r.Context(), func() error {
		for r.s.flushSlice() && all {
		}
		return nil
	})
	if err != nil {
		r.Fatal(err)
	}
}

// tick moves the clock, now and then back.
func (r *modelRun) tick() {
	r.clock.Add(int64(r.IntN(100_000)) - 20_000)
	r.m.now = r.clock.Load()
}

func (r *modelRun) reopen() {
	r.closeStore()
	r.s = r.open(r.s.Path())
	r.compareOpened()
}

func (r *modelRun) compareOpened() {
	r.Helper()
	if r.s.Head() != r.m.head() || r.s.LogID() != r.m.log || r.s.Floor() != r.m.floor {
		r.Fatalf("opened: log %s, head %d, floor %d; want %s, %d, %d", r.s.LogID(), r.s.Head(), r.s.Floor(), r.m.log, r.m.head(), r.m.floor)
	}
}

// swap goes on with another file.
func (r *modelRun) swap(path string) {
	r.Helper()
	old := r.s.Path()
	r.closeStore()
	if err := os.Remove(old); err != nil {
		r.Fatal(err)
	}
	r.s = r.open(path)
	r.compareOpened()
}

// crash goes on with the file as it is on disk, the views behind.
func (r *modelRun) crash() {
	path := r.file()
	snapshotFile(r, r.s, path)
	mustCheck(r, path)
	r.swap(path)
}

func (r *modelRun) backup() {
	path := r.file()
	info, err := r.s.Backup(r.Context(), path, nil)
	if err != nil || info.Head != r.m.head() || info.Floor != r.m.floor {
		r.Fatalf("backup %+v, %v", info, err)
	}
	r.swap(path)
}

func (r *modelRun) restore() {
	cut := r.m.floor + Seq(r.IntN(int(r.m.head()-r.m.floor)+1))
	if r.IntN(2) == 0 {
		cut = r.m.head()
	}
	end := max(r.m.pushEnd(cut), r.m.floor)
	if cut == 0 {
		end = r.m.head()
	}
	from, to := r.s.Path(), r.file()
	r.closeStore()
	info, err := Restore(r.Context(), from, to, cut, nil)
	if err != nil || info.Cut != end {
		r.Fatalf("restore to %d: %+v, %v; want %d", cut, info, err, end)
	}
	r.m.cut(end, info.Log)
	if err := os.Remove(from); err != nil {
		r.Fatal(err)
	}
	r.s = r.open(to)
	r.compareOpened()
}
