package renderer

import (
	"context"
	"errors"
	"time"

	"rollcall/internal/reload"
)

// follow brings the newest catalog into service at once where it differs from what is in
// service in nothing but members, and the running server takes those. The files are to
// follow, by place. What follow cannot do is for serve.
func (r *Renderer) follow(ctx context.Context) {
	c, good := r.newest(), r.good
	if !r.cfg.Ahead || c == nil || c.Stale || good == nil || good.candidate.Members == nil {
		return
	}
	began := time.Now()
	in, err := r.inputs.choose(began)
	if err != nil || in.ID != good.inputs.ID {
		return
	}
	view := r.quarantine.view(c, r.confirmed(), began)
	a := r.plan(c, view, in)
	if !sameStructure(a.Balancer, good.Balancer) {
		return
	}
	a.candidate, a.places, a.ahead = good.candidate, good.places, true
	a.candidate.Members = &reload.Members{Structure: good.candidate.Members.Structure, Pools: r.pools.of(a.Balancer, a.places)}
	outcome, err := r.cfg.Applier.Sync(ctx, a.candidate.Members)
	if err != nil {
		if !errors.Is(err, reload.ErrNeedsReload) && ctx.Err() == nil {
			r.cfg.Logger.Warn("members could not be changed while the server runs", "revision", c.Revision, "err", err)
		}
		return
	}
	if outcome.Members > 0 {
		r.cfg.Logger.Info("members are in service", "revision", c.Revision, "instances", c.Len(), "changed", outcome.Members, "took", time.Since(began))
	}
	r.served(ctx, a, outcome, time.Since(began))
}

// lags says that files are all that is missing: the running server has the newest members.
func (r *Renderer) lags() bool {
	if r.good == nil || !r.good.ahead {
		return false
	}
	now := time.Now()
	c := r.newest()
	in, err := r.inputs.choose(now)
	if err != nil || in.ID != r.good.inputs.ID {
		return false
	}
	a := *r.good
	a.ahead = false
	return r.current(&a, c, r.quarantine.view(c, r.confirmed(), now), in)
}

// A placement is what has become of putting the files in place that say what the running
// server has already.
type placement struct {
	of, placed *rendering
	outcome    reload.Outcome
	err        error
}

// place does so beside the changes that keep coming: the server's own check may take
// seconds, and there is no hurry. Nobody may serve until it is done.
func (r *Renderer) place(ctx context.Context, done chan<- placement) {
	of, earlier := r.good, r.earlier()
	r.waits.Go(func() {
		p := placement{of: of}
		a := *of
		a.ahead = false
		if p.err = r.write(&a, earlier); p.err == nil {
			p.outcome, p.err = r.cfg.Applier.Place(context.WithoutCancel(ctx), a.candidate) // it has its own time
			p.placed = &a
		}
		done <- p
	})
}

// take notes a placement. What has failed is to be served as a whole.
func (r *Renderer) take(p placement) (ok bool) {
	if p.err != nil {
		return false
	}
	r.placed = p.placed
	r.mu.Lock()
	defer r.mu.Unlock()
	r.said = ""
	s := &r.status
	s.Error, s.ErrorSince, s.Retry, s.Unwritten = "", time.Time{}, nil, false
	r.ack.Healthy, r.ack.LastError = true, ""
	if r.good != p.of {
		return true // it is ahead again
	}
	if p.outcome.Changed {
		r.replaced, r.diff = r.good.candidate.Files, nil
	}
	r.metrics.served(reload.Outcome{Changed: p.outcome.Changed})
	r.good, r.last = p.placed, p.placed
	s.Desired.Generation, s.Running.Generation, s.Running.Since = p.placed.candidate.Generation, p.placed.candidate.Generation, time.Now()
	r.ack.Generation = p.placed.candidate.Generation
	if r.ack.Applied > 0 {
		r.acknowledge()
	}
	return true
}
