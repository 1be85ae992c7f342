package docker

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/client"
	"golang.org/x/sync/errgroup"
)

// settling is how long a subscription must have stood before it is believed: the client
// reports one that was refused a moment after it looked open.
const settling = 100 * time.Millisecond

// inspecting is how many containers of a list are inspected at a time.
const inspecting = 4

// A session is what happens over one connection. What it learns is kept in the
// Watcher, because the next session has to know who died while none was there.
type session struct {
	w      *Watcher
	cli    *client.Client
	stream *stream
	handle func(Change)

	due     *time.Timer                 // fires when everything is to be listed
	next    time.Time                   // when that will be
	pause   *backoff.ExponentialBackOff // before the next list, while there is a doubt
	refused bool                        // the last list failed

	checked map[string]bool  // containers whose health check has just ended, by id
	look    <-chan time.Time // when they are inspected; nil while there are none
}

func (s *session) run(ctx context.Context) error {
	settled := time.After(settling)
	listed := false // the last list succeeded
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-settled:
			settled = nil
		case <-s.due.C:
			again, err := s.list(ctx)
			if again || ctx.Err() != nil {
				return ctx.Err()
			}
			if listed = err == nil; !listed {
				s.w.health.set(err)
			}
		case <-s.look:
			s.lookNow(ctx)
		case m, ok := <-s.stream.events:
			if !ok {
				s.w.metrics.failed(opEvents)
				return s.stream.err
			}
			s.w.metrics.events.Inc()
			s.follow(ctx, m)
		}
		if listed && settled == nil && !s.stream.over() {
			s.w.health.set(nil)
		}
	}
}

// list asks for everything, hands it over and sets the timer for the next time.
//
// A list that fails leaves the event stream open: an engine that shuts down takes no
// more requests, but still says which containers die. Once a list succeeds after that,
// the old stream may be a dead one, and again is set: connect anew.
func (s *session) list(ctx context.Context) (again bool, err error) {
	began := time.Now()
	change, err := s.collect(ctx)
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	switch {
	case err != nil:
		s.refused = true
		s.w.metrics.failed(opList)
		s.listIn(s.pause.NextBackOff())
		return false, err
	case len(s.w.doubtful) > 0:
		// One container that cannot be inspected must not make the engine describe all the
		// others without a break: at most a tenth of the time goes into it.
		s.listIn(max(s.pause.NextBackOff(), min(9*time.Since(began), s.w.resync)))
	default:
		s.pause.Reset()
		s.listIn(s.w.resync)
	}
	s.w.listed = true
	s.handle(change)
	return s.refused, nil
}

func (s *session) listIn(d time.Duration) {
	s.next = time.Now().Add(d)
	s.due.Reset(d)
}

// collect lists the containers that are alive and inspects them all. The list says who
// is there, the inspections what they are: where one fails, what was known before stands.
func (s *session) collect(ctx context.Context) (Change, error) {
	w := s.w
	w.metrics.lists.Inc()
	listing, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	all, err := s.cli.ContainerList(listing, container.ListOptions{})
	if err != nil {
		return Change{}, fmt.Errorf("list containers: %w", err)
	}
	all = slices.DeleteFunc(all, func(c container.Summary) bool {
		return w.name != "" && !slices.Contains(c.Names, "/"+w.name)
	})
	found := make([]Container, len(all))
	errs := make([]error, len(all))
	var group errgroup.Group
	group.SetLimit(inspecting)
	for i, c := range all {
		group.Go(func() error {
			found[i], errs[i] = w.inspect(ctx, s.cli, c.ID)
			return nil
		})
	}
	_ = group.Wait() // each has its own error
	if ctx.Err() != nil {
		return Change{}, ctx.Err()
	}

	change := Change{Listed: true}
	before := maps.Clone(w.known)
	clear(w.known)
	doubtful := w.doubtful
	w.doubtful = map[string]bool{}
	for i, listed := range all {
		c, err := &found[i], errs[i]
		switch {
		case IsNotFound(err), err == nil && !w.wants(c):
			continue // it died, or was renamed, a moment ago
		case err != nil:
			w.distrust(listed.ID, err, doubtful[listed.ID])
			c = before[listed.ID]
		}
		w.known[listed.ID] = c
		if c == nil {
			change.Unknown = append(change.Unknown, listed.ID)
		} else {
			change.Containers = append(change.Containers, *c)
		}
	}
	return change, nil
}
