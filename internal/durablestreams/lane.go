package durablestreams

import (
	"context"
	"maps"
	"sync"

	"tidemark/store"
)

// lane keeps the appends of one stream in order while many of them are on their way to the disk at once: each is judged by
// what will be true when those before it have been committed. When one of them fails, none behind it takes effect (that is
// what the Source is for), and everything is judged anew from what is on disk.
//
// stream.mu is held while an append is judged and queued. The fields here have a lock of their own, because pushes end on
// the log's goroutine, which must never wait for somebody who waits for the log.
type lane struct {
	mu     sync.Mutex
	source *store.Source
	flying int             // appends queued and not yet answered
	last   *flight         // the newest of them
	failed bool            // one of them failed; nothing new until all are answered
	ahead  map[string]mark // of producers: what the appends on their way will make of them
}

// flight is one append on its way.
type flight struct {
	done chan struct{}
	seq  store.Seq
	err  error
}

// wait returns how the append ended.
func (f *flight) wait(ctx context.Context) error {
	if f == nil {
		return nil
	}
	select {
	case <-f.done:
		return f.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ready returns nil when the lane takes appends, or what to wait for first.
func (l *lane) ready() *flight {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed && l.flying > 0 {
		return l.last
	}
	if l.failed || l.source == nil {
		l.source, l.ahead, l.failed, l.last = &store.Source{}, nil, false, nil
	}
	return nil
}

// newest returns the append that was queued last; nil when all are answered.
func (l *lane) newest() *flight {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.flying == 0 && !l.failed {
		return nil
	}
	return l.last
}

// foresee returns what a producer will have said when all that is queued is committed.
func (l *lane) foresee(producer string) (mark, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	m, ok := l.ahead[producer]
	return m, ok
}

// launch queues a push that leaves marks behind. The caller holds stream.mu.
func (l *lane) launch(ctx context.Context, log Log, p *store.Push, marks map[string]mark) (*flight, error) {
	f := &flight{done: make(chan struct{})}
	l.mu.Lock()
	before := l.last
	if l.ahead == nil && len(marks) > 0 {
		l.ahead = make(map[string]mark)
	}
	maps.Copy(l.ahead, marks)
	l.last = f
	l.flying++
	p.Source = l.source
	l.mu.Unlock()
	p.Done = func(p *store.Push) { l.land(f, p, marks) }
	if err := log.Append(ctx, p); err != nil { // it was not taken, so what it would have left behind is not true
		l.mu.Lock()
		defer l.mu.Unlock()
		l.last, l.flying, l.failed = before, l.flying-1, true
		return nil, err
	}
	return f, nil
}

// land takes over the verdicts. What succeeded is in the view already: the log tells its watchers first.
func (l *lane) land(f *flight, p *store.Push, marks map[string]mark) {
	f.seq, f.err = lastSeq(p)
	l.mu.Lock()
	l.flying--
	l.failed = l.failed || f.err != nil
	for id, m := range marks {
		if l.ahead[id] == m {
			delete(l.ahead, id)
		}
	}
	l.mu.Unlock()
	close(f.done)
}
