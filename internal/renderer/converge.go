package renderer

import (
	"context"
	"errors"
	"os"
	"strings"
	"time"

	"rollcall/internal/discovery"
	"rollcall/internal/reload"
)

// serve puts the newest catalog into service, or as much of it as is accepted, and
// acknowledges it.
func (r *Renderer) serve(ctx context.Context) error {
	c := r.newest()
	if c == nil || c.Stale && r.leave(c) {
		return nil
	}
	began := time.Now()
	in, err := r.inputs.choose(began)
	if err != nil {
		r.metrics.failed(err)
		return r.failed(ctx, c, nil, err)
	}
	view := r.quarantine.view(c, r.confirmed(), began)
	a, outcome, err := r.attempt(ctx, c, view, in)
	if fresh, reason := in, err; refused(err) || unconfirmed(err) {
		// The catalog, the inputs or the server? Earlier inputs tell.
		for _, in = range r.inputs.earlier(fresh) {
			a, outcome, err = r.attempt(ctx, c, view, in)
			if err == nil || refused(reason) && !refused(err) {
				r.inputs.refuse(fresh, reason, time.Now()) // a confirmation takes longer than the first pause
				break
			}
		}
	}
	if refused(err) {
		if view, err = r.isolate(ctx, view, in, err); err == nil {
			a, outcome, err = r.attempt(ctx, c, view, in)
		}
	}
	if err != nil {
		return r.failed(ctx, c, a, err)
	}
	switch {
	case outcome.Members > 0 && a == r.good:
		r.cfg.Logger.Warn("members of the running server were not as they should be; put right", "changed", outcome.Members)
	case outcome.Reloaded || outcome.Changed || outcome.Members > 0:
		r.cfg.Logger.Info("configuration is in service", "generation", a.candidate.Generation,
			"revision", c.Revision, "instances", c.Len(), "took", time.Since(began))
	}
	r.inputs.accept(in)
	for _, name := range r.quarantine.served(c, view) {
		r.cfg.Logger.Info("service is out of quarantine", "service", name)
	}
	r.served(ctx, a, outcome, time.Since(began))
	return nil
}

// leave says that a catalog from the cache is not to replace what an earlier run left in
// place. That may be newer: a render that was killed had no time to remember the last
// change. A server reads it by itself, or is started with it.
func (r *Renderer) leave(c *discovery.Catalog) bool {
	if r.last != nil { // what is in place is ours, or none was
		return false
	}
	for _, path := range r.cfg.Outputs {
		if info, err := os.Stat(path); err != nil || info.Size() == 0 {
			return false
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.status.Stale {
		r.cfg.Logger.Warn("etcd does not answer; what an earlier run left stays in place", "files", r.cfg.Outputs, "cached", c.Revision)
	}
	r.noteCatalog(c)
	return true
}

// attempt renders and applies. The rendering is nil when there is none.
func (r *Renderer) attempt(ctx context.Context, newest, view *discovery.Catalog, in *input) (*rendering, reload.Outcome, error) {
	a := r.good
	if !r.current(a, newest, view, in) {
		var err error
		if a, err = r.render(newest, view, in); err != nil {
			r.metrics.failed(err)
			return nil, reload.Outcome{}, err
		}
	}
	r.lookForEdits(a)
	r.mu.Lock()
	r.last = a
	r.status.Desired = Configuration{Generation: a.candidate.Generation, Revision: newest.Revision}
	r.mu.Unlock()
	outcome, err := r.cfg.Applier.Apply(ctx, r.eased(ctx, a))
	if outcome.Changed {
		r.placed = a
	}
	if err != nil && ctx.Err() == nil {
		r.metrics.failed(err)
	}
	return a, outcome, err
}

// confirmed gives the catalog that is in service; an empty one before there is any.
func (r *Renderer) confirmed() *discovery.Catalog {
	if r.good == nil {
		return &discovery.Catalog{}
	}
	return r.good.catalog
}

// refused says whether an error means that the content is wrong. Trouble with disks,
// processes and time is none of the content's fault, and passes by itself.
func refused(err error) bool {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	if _, ok := errors.AsType[*renderError](err); ok {
		return true
	}
	step, ok := errors.AsType[*reload.StepError](err)
	if !ok || step.Step != reload.StepValidate {
		return false
	}
	_, ok = errors.AsType[*reload.ServerError](err)
	return ok
}

// unconfirmed says whether a configuration passed the server's check, was not served
// then, and was taken back. That may be its own fault, or the server's.
func unconfirmed(err error) bool {
	step, ok := errors.AsType[*reload.StepError](err)
	return ok && step.Step == reload.StepConfirm && step.Rollback == nil && !errors.Is(err, context.Canceled)
}

// describe gives an error with what the server said to it.
func describe(err error) string {
	if step, ok := errors.AsType[*reload.StepError](err); ok && step.Output != "" {
		return err.Error() + "\n" + strings.TrimSpace(step.Output)
	}
	return err.Error()
}

// drop takes a mark away, and says whether there was one.
func drop(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
