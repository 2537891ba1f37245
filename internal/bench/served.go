package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"

	"tidemark/internal/child"
)

// served is a server that runs in a child process, perhaps in a control group of its own.
type served struct {
	*child.Server
	group   *cgroup // nil: none
	leaving atomic.Bool
	watched chan struct{} // closed when nobody waits for its end any more
}

// launch starts a server on a file. When it ends of itself, the whole measurement ends with the reason.
func (b *Bench) launch(ctx context.Context, path string) (*served, error) {
	s := &served{watched: make(chan struct{})}
	o := child.Options{Data: path}
	if b.Memory > 0 {
		var err error
		if s.group, err = newCgroup(b.Memory); err != nil {
			return nil, err
		}
		if err := forget(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, errors.Join(err, s.group.remove())
		}
		o.Prefix = s.group.prefix()
	}
	var err error
	if s.Server, err = child.Start(ctx, o); err != nil {
		return nil, errors.Join(err, s.group.remove())
	}
	go func() {
		defer close(s.watched)
		<-s.Exited()
		if !s.leaving.Load() {
			b.fail(fmt.Errorf("bench: the server ended: %w%s\n%s", s.Err(), s.group.verdict(), s.Stderr()))
		}
	}()
	return s, nil
}

// stop ends the server in order, or with SIGKILL.
func (s *served) stop(kill bool) (err error) {
	s.leaving.Store(true)
	if kill {
		err = s.Kill()
	} else {
		err = s.Stop()
	}
	<-s.watched
	return errors.Join(err, s.group.remove())
}
