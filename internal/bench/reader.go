package bench

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"tidemark/client"
)

// reader counts what one subscription brings. The client checks that no event is missing; reader remembers if one was.
type reader struct {
	c      *client.Client
	sub    *client.Subscription
	events atomic.Int64
	live   chan struct{} // closed when the subscription is live for the first time
	isLive bool
	seen   func(*client.Update) // may be nil
}

// subscribe starts a reader on a client of its own, which it closes.
func (b *Bench) subscribe(ctx context.Context, spec client.Spec, seen func(*client.Update)) (*reader, error) {
	c, err := b.client(ctx, client.Options{})
	if err != nil {
		return nil, err
	}
	r, err := b.subscribeOn(c, spec, seen)
	if err != nil {
		c.Close()
	}
	return r, err
}

func (b *Bench) subscribeOn(c *client.Client, spec client.Spec, seen func(*client.Update)) (*reader, error) {
	r := &reader{c: c, live: make(chan struct{}), seen: seen}
	spec.Raw = true
	var err error
	r.sub, err = c.Subscribe(spec, r.update)
	return r, err
}

func (r *reader) update(u *client.Update) {
	switch u.Kind {
	case client.KindEvents:
		r.events.Add(int64(len(u.Events)))
	case client.KindLive:
		if !r.isLive {
			r.isLive = true
			close(r.live)
		}
	}
	if r.seen != nil {
		r.seen(u)
	}
}

func (r *reader) waitLive(ctx context.Context) error {
	select {
	case <-r.live:
		return nil
	case <-r.sub.Done():
		return fmt.Errorf("bench: a subscription ended: %w", r.sub.Err())
	case <-ctx.Done():
		return ctx.Err()
	}
}

// close ends the client and returns an error when the chain of events was ever broken.
func (r *reader) close() error {
	r.c.Close()
	if st := r.sub.Stats(); st.Gaps > 0 || st.Duplicates > 0 || st.Resets > 0 {
		return fmt.Errorf("bench: a subscriber saw %d gaps, %d duplicates, %d resets", st.Gaps, st.Duplicates, st.Resets)
	}
	return nil
}

// subscribers starts n readers, several at a time, and waits until all are live.
func (b *Bench) subscribers(ctx context.Context, n int, spec func(i int) client.Spec, seen func(*client.Update)) ([]*reader, error) {
	const hands = 16
	rs := make([]*reader, n)
	errs := make(chan error, hands)
	var next atomic.Int64
	for range hands {
		go func() {
			for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
				r, err := b.subscribe(ctx, spec(int(i)), seen)
				if err != nil {
					errs <- err
					return
				}
				rs[i] = r
			}
			errs <- nil
		}()
	}
	var err error
	for range hands {
		if e := <-errs; e != nil {
			err = e
		}
	}
	for _, r := range rs {
		if r != nil && err == nil {
			err = r.waitLive(ctx)
		}
	}
	if err != nil {
		closeReaders(rs)
		return nil, err
	}
	return rs, nil
}

func closeReaders(rs []*reader) error {
	errs := make(chan error)
	for _, r := range rs {
		go func() {
			if r == nil {
				errs <- nil
				return
			}
			errs <- r.close()
		}()
	}
	var err error
	for range rs {
		if e := <-errs; e != nil {
			err = e
		}
	}
	return err
}

// waitCount waits until all readers have n events.
func waitCount(ctx context.Context, rs []*reader, n int64) error {
	for _, r := range rs {
		for r.events.Load() < n {
			if err := sleep(ctx, time.Millisecond); err != nil {
				return err
			}
		}
	}
	return nil
}
