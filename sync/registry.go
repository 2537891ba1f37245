package sync

import (
	"sync"

	"tidemark/store"
)

// registry finds the topics that an event belongs to. A commit costs nothing per event while nobody follows anything, and
// one or two lookups per run of events of a stream otherwise.
type registry struct {
	mu    sync.RWMutex
	exact map[store.Stream]*topic
	wide  map[string]*topic // by prefix, with its trailing "/"

	// The watcher's own.
	stamp   uint64
	touched []*topic
}

func newRegistry() *registry {
	return &registry{exact: make(map[store.Stream]*topic), wide: make(map[string]*topic)}
}

// attach returns the topic of a filter, made when there is none; detach gives it back.
func (r *registry) attach(f store.Filter) *topic {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.find(f)
	if t == nil {
		t = &topic{filter: f}
		if name, exact := f.Stream(); exact {
			r.exact[name] = t
		} else {
			r.wide[f.Prefix()] = t
		}
	}
	t.refs++
	return t
}

// detach reports whether nobody is left.
func (r *registry) detach(t *topic) (last bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if t.refs--; t.refs > 0 {
		return false
	}
	if name, exact := t.filter.Stream(); exact {
		delete(r.exact, name)
	} else {
		delete(r.wide, t.filter.Prefix())
	}
	return true
}

func (r *registry) find(f store.Filter) *topic {
	if name, exact := f.Stream(); exact {
		return r.exact[name]
	}
	return r.wide[f.Prefix()]
}

// lookup returns the topic of one stream, or nil.
func (r *registry) lookup(st store.Stream) *topic {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.exact[st]
}

func (r *registry) size() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(r.exact) + len(r.wide)
}

// publish raises the heads of the topics that the events belong to and returns those topics, each once. The list is valid
// until the next call. From the newest event to the oldest: the first of a stream is what its topic comes to.
func (r *registry) publish(events []store.Event) []*topic {
	r.touched = r.touched[:0]
	r.mu.RLock()
	defer r.mu.RUnlock()
	if len(r.exact)+len(r.wide) == 0 {
		return nil
	}
	r.stamp++
	var same store.Stream
	for i := len(events) - 1; i >= 0; i-- {
		ev := &events[i]
		if ev.Stream == same {
			continue
		}
		same = ev.Stream
		r.touch(r.exact[same], ev.Seq)
		if len(r.wide) > 0 {
			r.touchWide(same, ev.Seq)
		}
	}
	return r.touched
}

func (r *registry) touchWide(st store.Stream, seq store.Seq) {
	if !st.Reserved() {
		r.touch(r.wide[""], seq)
	}
	for i := 0; i < len(st); i++ {
		if st[i] == '/' {
			r.touch(r.wide[string(st[:i+1])], seq)
		}
	}
}

func (r *registry) touch(t *topic, seq store.Seq) {
	if t == nil || t.stamp == r.stamp {
		return
	}
	t.stamp = r.stamp
	t.raise(seq)
	r.touched = append(r.touched, t)
}
