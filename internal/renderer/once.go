package renderer

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/rogpeppe/go-internal/diff"

	"rollcall/internal/discovery"
	"rollcall/internal/reload"
)

// onceTimeout bounds the look-ups of host names before a single rendering.
const onceTimeout = 3 * time.Second

// Once renders one catalog and puts it into service. A server that is not running
// is no error: it will read its files when it starts.
func (r *Renderer) Once(ctx context.Context, c *discovery.Catalog) (reload.Outcome, error) {
	candidate, err := r.settle(ctx, c)
	if err != nil {
		return reload.Outcome{}, err
	}
	outcome, err := r.cfg.Applier.Apply(ctx, candidate)
	if errors.Is(err, reload.ErrNotRunning) {
		r.cfg.Logger.Info("configuration is in place; the server is not running", "files", r.cfg.Outputs)
		return outcome, nil
	}
	if err == nil {
		r.cfg.Logger.Info("configuration is in service", "files", r.cfg.Outputs, "generation", candidate.Generation,
			"revision", c.Revision, "changed", outcome.Changed, "reloaded", outcome.Reloaded)
	}
	return outcome, err
}

// Diff renders one catalog and gives the unified difference to what is on disk;
// "" if there is none.
func (r *Renderer) Diff(ctx context.Context, c *discovery.Catalog) (string, error) {
	candidate, err := r.settle(ctx, c)
	if err != nil {
		return "", err
	}
	all := ""
	for _, file := range candidate.Files {
		old, err := os.ReadFile(file.Path)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return "", err
		}
		all += r.hide(diff.Diff(file.Path, old, file.Path+" (new)", file.Content))
	}
	return all, nil
}

// settle renders when every host name has been looked up.
func (r *Renderer) settle(ctx context.Context, c *discovery.Catalog) (reload.Candidate, error) {
	in, err := r.inputs.choose(time.Now())
	if err != nil {
		return reload.Candidate{}, err
	}
	resolving, stop := context.WithTimeout(ctx, onceTimeout)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = r.resolver.run(resolving)
	}()
	defer func() {
		stop()
		<-done
	}()
	for {
		a, err := r.render(c, c, in)
		if err != nil {
			return reload.Candidate{}, err
		}
		if !r.resolver.pending() {
			if a.resolved != r.resolver.version() {
				continue // the last answer came while this was rendered without it
			}
			return a.candidate, nil
		}
		select {
		case <-r.resolver.changed:
		case <-resolving.Done():
			return a.candidate, ctx.Err()
		}
	}
}

func (r *resolver) pending() bool {
	for _, err := range r.unresolved() {
		if errors.Is(err, errPending) {
			return true
		}
	}
	return false
}
