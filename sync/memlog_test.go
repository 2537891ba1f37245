package sync_test

import (
	"context"
	"slices"
	"sort"
	"sync"
	"time"

	"tidemark/store"
	eventsync "tidemark/sync"
)

// memLog is a log in memory with every seam that a test wants to pull at: commits, publication and what Watch is told can
// be held apart, events trimmed and erased.
type memLog struct {
	id store.ID

	mu      sync.Mutex
	events  []store.Event // seq is index + 1
	head    store.Seq     // published
	watched store.Seq     // what Watch was told of
	floors  map[store.Stream]store.Seq
	erased  store.Seq // cursors below it are reset
	queue   []*store.Push
	hold    bool // pushes wait for commit
	quiet   bool // Watch is told nothing until tell
	failed  error
	full    chan struct{} // not nil: Append waits for it
	watch   func(store.Commit)
	reads   int
	docsAll int
	holding int
	onRead  func()
	pageMax int // events of a page; 0: no limit
}

var testLog = id(900)

func newMemLog() *memLog { return &memLog{id: testLog, floors: map[store.Stream]store.Seq{}} }

// id makes a readable id; transcripts write it as "#n".
func id(n int) (i store.ID) {
	for k := 15; n > 0; k-- {
		i[k] = byte(n%10 + n/10%10*16)
		n /= 100
	}
	i[6], i[8] = 0x40, 0x80
	return i
}

func (l *memLog) LogID() store.ID             { return l.id }
func (l *memLog) Watch(fn func(store.Commit)) { l.watch = fn }

func (l *memLog) Append(ctx context.Context, p *store.Push) error {
	l.mu.Lock()
	full, failed := l.full, l.failed
	l.mu.Unlock()
	if failed != nil {
		return failed
	}
	if full != nil {
		select {
		case <-full:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	l.mu.Lock()
	l.queue = append(l.queue, p)
	hold := l.hold
	l.mu.Unlock()
	if !hold {
		l.commit()
	}
	return nil
}

// commit judges what is queued, makes it visible, tells the watcher and answers.
func (l *memLog) commit() {
	l.mu.Lock()
	defer l.mu.Unlock()
	queue := l.queue
	l.queue = nil
	for _, p := range queue {
		l.judge(p)
	}
	l.publish()
	for _, p := range queue {
		l.unlocked(func() { p.Done(p) })
	}
}

func (l *memLog) publish() {
	l.head = store.Seq(len(l.events))
	if !l.quiet {
		l.tellLocked()
	}
}

// tell gives the watcher what it has not been told of.
func (l *memLog) tell() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.quiet = false
	l.tellLocked()
}

func (l *memLog) tellLocked() {
	news := slices.Clone(l.events[l.watched:l.head])
	if len(news) == 0 || l.watch == nil {
		return
	}
	l.watched = l.head
	head := l.head
	l.unlocked(func() { l.watch(store.Commit{Events: news, Head: head}) })
}

func (l *memLog) unlocked(fn func()) {
	l.mu.Unlock()
	defer l.mu.Lock()
	fn()
}

func (l *memLog) judge(p *store.Push) {
	p.Verdicts = p.Verdicts[:0]
	for i := range p.Mutations {
		m := &p.Mutations[i]
		switch at := l.byID(m.ID); {
		case p.Refused != nil && p.Refused[i] != nil:
			p.Verdicts = append(p.Verdicts, store.Verdict{Refusal: p.Refused[i]})
		case at != 0:
			p.Verdicts = append(p.Verdicts, store.Verdict{Seq: at, Dup: true})
		case m.Expect.Kind == store.ExpectSeq && m.Expect.Seq != l.last(m.Stream, m.Key):
			d := l.doc(m.Stream, m.Key)
			p.Verdicts = append(p.Verdicts, store.Verdict{Refusal: &store.Refusal{
				Code: store.CodeConflict, Message: "it changed", Seq: l.last(m.Stream, m.Key), Data: d.Data}})
		default:
			ev := l.add(m, p.By)
			if p.Atomic && i < len(p.Mutations)-1 {
				l.events[len(l.events)-1].Flags |= store.FlagMore
			}
			p.Verdicts = append(p.Verdicts, store.Verdict{Seq: ev.Seq, Prev: ev.Prev, At: ev.At})
		}
	}
}

func (l *memLog) add(m *store.Mutation, by string) store.Event {
	ev := store.Event{
		Seq: store.Seq(len(l.events) + 1), Prev: l.last(m.Stream, ""), At: time.Now().UnixMilli(), ID: m.ID, Stream: m.Stream,
		Type: m.Type, Key: m.Key, By: by, Op: m.Op, Data: m.Data,
	}
	if ev.Type == "" {
		ev.Type = m.Op.String()
	}
	l.events = append(l.events, ev)
	return ev
}

func (l *memLog) byID(x store.ID) store.Seq {
	for i := range l.events {
		if l.events[i].ID == x {
			return l.events[i].Seq
		}
	}
	return 0
}

// last is the newest event of a stream, or with a key of that key.
func (l *memLog) last(st store.Stream, key string) store.Seq {
	for i := len(l.events) - 1; i >= 0; i-- {
		if ev := &l.events[i]; ev.Stream == st && (key == "" || ev.Key == key) {
			return ev.Seq
		}
	}
	return 0
}

func (l *memLog) doc(st store.Stream, key string) (d store.Doc) {
	for i := range l.events {
		ev := &l.events[i]
		if ev.Stream != st || ev.Key != key || key == "" {
			continue
		}
		d.Stream, d.Key, d.Seq = st, key, ev.Seq
		switch ev.Op {
		case store.OpPut:
			d.Data = ev.Data
		case store.OpPatch:
			d.Data, _ = store.MergePatch(nil, d.Data, ev.Data)
		case store.OpDelete:
			d.Data = nil
		}
	}
	return d
}

func (l *memLog) floor(f store.Filter) (floor store.Seq) {
	for st, at := range l.floors {
		if f.Match(st) {
			floor = max(floor, at)
		}
	}
	return floor
}

func (l *memLog) Read(f store.Filter, after store.Seq, lim store.PageLimit) (store.Page, error) {
	l.mu.Lock()
	onRead := l.onRead
	l.mu.Unlock()
	if onRead != nil {
		onRead()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reads++
	if l.failed != nil {
		return store.Page{}, l.failed
	}
	if floor := l.floor(f); floor > after {
		return store.Page{}, &store.TrimmedError{Floor: floor}
	}
	page := store.Page{Through: max(after, l.head)}
	size := 0
	for i := int(after); i < int(l.head); i++ {
		ev := l.events[i]
		if f.Match(ev.Stream) {
			page.Events = append(page.Events, ev)
			size += 160 + len(ev.Data)
		}
		if (size >= lim.Bytes || l.pageMax > 0 && len(page.Events) >= l.pageMax) && !ev.Flags.Has(store.FlagMore) {
			page.Through, page.More = ev.Seq, ev.Seq < l.head
			break
		}
	}
	return page, nil
}

func (l *memLog) Documents(f store.Filter, after store.DocKey, limit int) (store.DocPage, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.docsAll++
	if l.failed != nil {
		return store.DocPage{}, l.failed
	}
	seen := map[store.DocKey]bool{}
	var keys []store.DocKey
	for _, ev := range l.events[:l.head] {
		k := store.DocKey{Stream: ev.Stream, Key: ev.Key}
		if ev.Key != "" && f.Match(ev.Stream) && !seen[k] && lessKey(after, k) {
			seen[k] = true
			keys = append(keys, k)
		}
	}
	sort.Slice(keys, func(i, j int) bool { return lessKey(keys[i], keys[j]) })
	page := store.DocPage{Head: l.head}
	size := 0
	for _, k := range keys {
		if size >= limit {
			page.More = true
			break
		}
		page.Through = k
		if d := l.doc(k.Stream, k.Key); d.Data != nil {
			page.Docs = append(page.Docs, d)
			size += len(d.Data) + len(d.Key) + 40
		}
	}
	return page, nil
}

func lessKey(a, b store.DocKey) bool {
	if a.Stream != b.Stream {
		return a.Stream < b.Stream
	}
	return a.Key < b.Key
}

func (l *memLog) Resume(f store.Filter, c store.Cursor) (store.Standing, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed != nil {
		return store.Standing{}, l.failed
	}
	st := store.Standing{LogHead: l.head, Head: l.head, Floor: l.floor(f)}
	if name, exact := f.Stream(); exact {
		st.Head = 0
		for _, ev := range l.events[:l.head] {
			if ev.Stream == name {
				st.Head = ev.Seq
			}
		}
	}
	switch {
	case c.Seq == 0:
	case !c.Log.IsZero() && c.Log != l.id:
		st.Reset = store.ResetLogChanged
	case c.Seq > l.head:
		st.Reset = store.ResetAhead
	case c.Seq < st.Floor:
		st.Reset = store.ResetTrimmed
	case c.Seq < l.erased:
		st.Reset = store.ResetErased
	case !c.Mark.IsZero() && l.events[c.Seq-1].ID != c.Mark:
		st.Reset = store.ResetLogChanged
	}
	return st, nil
}

func (l *memLog) Mark(at store.Seq) store.ID {
	l.mu.Lock()
	defer l.mu.Unlock()
	if at == 0 || at > l.head {
		return store.ID{}
	}
	return l.events[at-1].ID
}

func (l *memLog) HoldTrim(store.Seq) func() {
	l.mu.Lock()
	l.holding++
	l.mu.Unlock()
	return func() {
		l.mu.Lock()
		l.holding--
		l.mu.Unlock()
	}
}

// trim takes away the events up to a seq.
func (l *memLog) trim(to store.Seq) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, ev := range l.events[:to] {
		l.floors[ev.Stream] = ev.Seq
	}
}

var (
	_ eventsync.Log    = (*memLog)(nil)
	_ eventsync.Holder = (*memLog)(nil)
	_ eventsync.Log    = (*store.Store)(nil)
	_ eventsync.Holder = (*store.Store)(nil)
)
