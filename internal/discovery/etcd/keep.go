package etcd

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"strings"
	"time"
)

// session is the life of one lease: it ends when the lease does.
func (r *Registry) session(ctx context.Context, granted func()) error {
	s, err := r.acquire(ctx)
	if err != nil {
		return err
	}
	granted()
	r.health.set("lease", nil)
	if r.lost != nil {
		s.lost = r.lost
	}
	err = r.keep(ctx, s)
	r.lost = s.lost
	if errors.Is(err, errLeaseLost) {
		for id, rec := range s.held {
			r.lost[id] = lost{rec.Keys()[0], s.since[id], s.lease.id}
		}
	}
	r.finish(s)
	return err
}

// keep makes etcd equal to what is wanted, again and again, while the lease lives.
func (r *Registry) keep(ctx context.Context, s *session) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	lost := make(chan error, 1)
	go func() { lost <- s.lease.keep(ctx, func(err error) { r.health.set("lease", err) }) }()

	b := newBackoff()
	verify := time.NewTicker(r.verify)
	defer verify.Stop()
	reconnected := r.client.reconnected(ctx)
	var again <-chan time.Time // when conflicts are tried again
	for {
		var retry <-chan time.Time
		if want, leave, ok := r.take(s); ok {
			err := s.reconcile(ctx, want, leave)
			switch {
			case errors.Is(err, errLeaseLost):
				return err
			case err != nil && ctx.Err() == nil:
				r.health.set("records", err)
				retry = time.After(b.NextBackOff())
			case err == nil:
				r.health.set("records", nil)
				b.Reset()
			}
			// Not put off by changes that come more often.
			if len(s.conflicts) > 0 && again == nil {
				again = time.After(conflictInterval + rand.N(conflictInterval))
			}
			r.publish(s, err)
		}
		select {
		case <-r.changed:
		case <-retry:
		case <-again:
			again = nil
			for id := range s.conflicts {
				s.dirty[id] = true
			}
		case <-verify.C:
			s.suspect()
		case <-reconnected: // to what may be a backup, or empty
			s.suspect()
		case err := <-lost:
			return err
		}
	}
}

// finish takes over the ends that a session has seen and not published.
func (r *Registry) finish(s *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.end(s)
}

// end notes the records that have ended. The newest end of each service is kept for
// good: a balancer may still be finishing requests to what went long before a stop.
func (r *Registry) end(s *session) {
	for id, revision := range s.deleted {
		service, _, _ := strings.Cut(id, "/")
		r.ended[service] = max(r.ended[service], revision)
	}
	if r.deleted != nil {
		maps.Copy(r.deleted, s.deleted)
	}
	clear(s.deleted)
}

// publish shows what a reconciliation came to, and wakes those who wait for it.
func (r *Registry) publish(s *session, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.held, r.failure = len(s.held), err
	r.conflicts = maps.Clone(s.conflicts)
	r.end(s)
	r.records.Set(float64(len(s.held)))
	r.conflicting.Set(float64(len(s.conflicts)))
	// A token means that more has been told since: what was written is not what is wanted.
	if err != nil || len(s.conflicts) > 0 || len(r.changed) > 0 {
		r.unsettle()
		return
	}
	select {
	case <-r.settled:
	default:
		close(r.settled)
	}
}
