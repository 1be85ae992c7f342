package docker

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/docker/docker/client"
)

// settling is how long a subscription must have stood before it is believed: the client
// reports one that was refused a moment after it looked open.
const settling = 100 * time.Millisecond

// A session is what happens over one connection: a loop that never waits for the engine,
// because a death must not wait for anybody. Its questions are asked beside it.
type session struct {
	w      *Watcher
	cli    *client.Client
	stream *stream
	handle func(Change)

	beside      sync.WaitGroup
	inspections *inspections

	listing  *listing      // the list that is being made; nil if none is
	lists    chan *listing // where it comes back with those who are there
	slow     *time.Timer   // fires when the list has waited long enough
	complete bool          // the last list succeeded
	refused  bool          // one before it failed

	due   *time.Timer                 // fires when everything is to be listed
	next  time.Time                   // when that will be
	pause *backoff.ExponentialBackOff // before the next list, while there is a doubt

	checked map[string]bool  // containers whose health check has just ended, by id
	look    <-chan time.Time // when they are inspected; nil while there are none
}

// session follows the engine over one connection until the stream ends, or until it is
// time to connect anew, which is no error.
func (w *Watcher) session(ctx context.Context, cli *client.Client, stream *stream, handle func(Change)) error {
	ctx, cancel := context.WithCancel(ctx)
	s := &session{
		w: w, cli: cli, stream: stream, handle: handle, pause: newBackoff(),
		lists: make(chan *listing, 1), due: time.NewTimer(0), slow: time.NewTimer(late),
	}
	defer s.beside.Wait()
	defer cancel()
	defer s.due.Stop()
	defer s.slow.Stop()
	s.slow.Stop()
	s.inspections = newInspections(w.atOnce, s.beside.Go, func(i *inspection) {
		c, err := w.inspect(ctx, cli, i.id)
		i.found, i.err = &c, err
	})
	return s.run(ctx)
}

func (s *session) run(ctx context.Context) error {
	settled := time.After(settling)
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-settled:
			settled = nil
		case <-s.due.C:
			s.list(ctx)
		case l := <-s.lists:
			s.listed(ctx, l)
		case <-s.slow.C:
			s.overdue()
		case i := <-s.inspections.back:
			s.inspected(ctx, i)
		case <-s.look:
			s.lookNow()
		case m, ok := <-s.stream.events:
			if !ok {
				s.w.metrics.failed(opEvents)
				return s.stream.err
			}
			s.w.metrics.events.Inc()
			s.follow(m)
		}
		switch {
		case s.complete && s.refused:
			return nil
		case len(s.inspections.queue) > maxBehind:
			return fmt.Errorf("more than %d containers to be inspected", maxBehind)
		case s.complete && settled == nil && !s.stream.over():
			s.w.health.set(nil)
		}
	}
	return ctx.Err()
}
