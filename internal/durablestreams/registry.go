package durablestreams

import (
	"sync"
	"sync/atomic"
	"time"

	"tidemark/store"
)

// registry holds the state of the streams in use.
type registry struct {
	server *Server

	mu    sync.Mutex
	known map[store.Stream]*stream
	full  int // how many there may be before some are forgotten
}

// stream is the state of one stream. Changes of its life, and appends, go through it one after the other.
type stream struct {
	name store.Stream
	pins int // users of this very struct; guarded by the registry

	used    atomic.Int64         // Unix ms of the last read or write
	current atomic.Pointer[life] // nil: nobody knows, but the log; see known

	mu   sync.Mutex // order of writes: held while they are judged and queued, not while they are committed
	lane lane
}

// life is what is known of a stream, as it is on disk. It is never changed, only replaced.
type life struct {
	meta
	exists   bool // false: nobody made it, or it is gone
	implicit bool // made by writing events to it in another way
}

// get returns the state of a stream, which the caller releases.
func (g *registry) get(name store.Stream) (*stream, error) {
	g.mu.Lock()
	st := g.known[name]
	if st == nil {
		g.sweep()
		st = &stream{name: name}
		g.known[name] = st
	}
	st.pins++
	g.mu.Unlock()
	if st.settled() {
		return st, nil
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.settled() {
		return st, nil
	}
	if err := g.server.load(st); err != nil {
		g.release(st)
		return nil, err
	}
	return st, nil
}

// settled reports whether what is in memory holds until it is changed here. That a stream does not exist does not: events
// may be written to it in another way.
func (st *stream) settled() bool {
	l := st.current.Load()
	return l != nil && (l.exists || l.Gone)
}

// pin adds a user to a stream that has one.
func (g *registry) pin(st *stream) {
	g.mu.Lock()
	defer g.mu.Unlock()
	st.pins++
}

func (g *registry) release(st *stream) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if st.pins--; st.pins == 0 && !st.settled() {
		delete(g.known, st.name)
	}
}

// sweep forgets streams that nobody uses. Those that end by themselves stay: somebody must end them. When most of them stay,
// it looks again only after as many more have come.
func (g *registry) sweep() {
	if len(g.known) < max(g.full, g.server.MaxStreams) {
		return
	}
	for name, st := range g.known {
		l := st.current.Load()
		if st.pins == 0 && l != nil && !l.mortal() {
			delete(g.known, name)
		}
	}
	g.full = 2 * len(g.known)
}

func (l *life) mortal() bool { return l.exists && !l.Hidden && (l.TTL != nil || l.Expires != 0) }

// load reads what the log knows of a stream. The caller holds st.mu.
func (s *Server) load(st *stream) error {
	doc, ok, err := s.Log.Doc(metaStream, string(st.name))
	if err != nil {
		return err
	}
	l := &life{}
	if ok {
		if l.meta, err = decodeMeta(&doc); err != nil {
			return err
		}
		l.exists = !l.Gone
	} else {
		standing, err := s.Log.Resume(store.Only(st.name), store.Cursor{})
		if err != nil {
			return err
		}
		if standing.Head > 0 {
			l = implicitLife()
		}
	}
	st.touch(l.Touched)
	st.current.Store(l)
	return nil
}

// implicitLife is that of a stream to which events were written without this protocol: JSON, open and without end.
func implicitLife() *life {
	zero := store.Seq(0)
	return &life{meta: meta{Type: "application/json", Start: &zero}, exists: true, implicit: true}
}

// touch moves the time of the last use forward.
func (st *stream) touch(ms int64) {
	for {
		old := st.used.Load()
		if old >= ms || st.used.CompareAndSwap(old, ms) {
			return
		}
	}
}

// grace is what a sliding life lasts longer than asked for: a reader who comes every so often, a little late, finds it.
const grace = 500 * time.Millisecond

// ended reports whether the stream's time is over.
func (st *stream) ended(l *life, now time.Time) bool {
	d := l.deadline(st.used.Load())
	if l.TTL != nil {
		d = d.Add(grace)
	}
	return (l.TTL != nil || l.Expires != 0) && !now.Before(d)
}

// known returns the stream's life, from the log when nobody could tell what came of a change of it. The caller holds st.mu.
func (s *Server) known(st *stream) (*life, error) {
	if l := st.current.Load(); l != nil {
		return l, nil
	}
	if err := s.load(st); err != nil {
		return nil, err
	}
	return st.current.Load(), nil
}

// lifeOf is known for those who do not hold st.mu.
func (s *Server) lifeOf(st *stream) (*life, error) {
	if l := st.current.Load(); l != nil {
		return l, nil
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	return s.known(st)
}

// living returns the stream's life, or why it cannot be used. The caller does not hold st.mu.
func (s *Server) living(st *stream) (*life, error) {
	l, err := s.lifeOf(st)
	if err == nil {
		err = st.usable(l)
	}
	return l, err
}

// usable returns nil, or why the stream cannot be used: 404, or 410 while forks of it live.
func (st *stream) usable(l *life) error {
	over := st.ended(l, time.Now())
	switch {
	case l.exists && (l.Hidden || over && l.Forks > 0):
		return refuse(410, "gone", "the stream was deleted, but for its forks")
	case !l.exists, over:
		return refuse(404, "not_found", "there is no such stream")
	}
	return nil
}

// loadMortal brings the streams that end by themselves into memory. How long ago they were used is known only roughly, so
// they get a little more time.
func (g *registry) loadMortal() error {
	after := store.DocKey{}
	for {
		page, err := g.server.Log.Documents(store.Only(metaStream), after, 1<<20)
		if err != nil {
			return err
		}
		for i := range page.Docs {
			if err := g.revive(&page.Docs[i]); err != nil {
				return err
			}
		}
		if after = page.Through; !page.More {
			return nil
		}
	}
}

func (g *registry) revive(doc *store.Doc) error {
	m, err := decodeMeta(doc)
	if err != nil {
		return err
	}
	l := &life{meta: m, exists: !m.Gone}
	if !l.mortal() {
		return nil
	}
	st := &stream{name: store.Stream(doc.Key)}
	st.touch(m.Touched)
	if m.TTL != nil {
		st.touch(m.Touched + touchEvery(*m.TTL).Milliseconds() + time.Second.Milliseconds())
	}
	st.current.Store(l)
	g.known[st.name] = st
	return nil
}

// touchEvery is how often the use of a stream with a sliding life is written down.
func touchEvery(ttl int64) time.Duration { return time.Duration(ttl) * time.Second / 4 }

// expire ends streams whose time is over, and writes down the use of others.
func (g *registry) expire(now time.Time) {
	var over, stale []*stream
	g.mu.Lock()
	for _, st := range g.known {
		l := st.current.Load()
		if l == nil || !l.mortal() {
			continue
		}
		switch {
		case st.ended(l, now):
			over = append(over, st)
		case l.TTL != nil && time.Duration(st.used.Load()-l.Touched)*time.Millisecond > touchEvery(*l.TTL):
			stale = append(stale, st)
		default:
			continue
		}
		st.pins++
	}
	g.mu.Unlock()
	for _, st := range over {
		g.server.log("expire", g.server.lapse(st))
		g.leave(st)
	}
	for _, st := range stale {
		g.server.log("touch", g.server.saveUse(st))
		g.leave(st)
	}
}

// leave releases a stream that ends by itself. When its change was refused, its life is read again: what is unknown would be
// forgotten, and nobody would end it.
func (g *registry) leave(st *stream) {
	_, err := g.server.lifeOf(st)
	g.server.log("life", err)
	g.release(st)
}

func (s *Server) log(what string, err error) {
	if err != nil && s.ending.Err() == nil {
		s.Logger.Debug("durablestreams: "+what, "err", err)
	}
}
