// Package renderer makes a balancer follow the catalog: it works out the routes,
// renders the configuration, has it put into service by a transaction, and
// acknowledges in etcd what is proven to be served. It knows neither how etcd is
// read (discovery/etcd), nor what a configuration looks like (templates), nor how
// a server takes it (reload).
package renderer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"rollcall/internal/discovery"
	"rollcall/internal/reload"
	"rollcall/internal/templates"
)

const (
	// checkInterval is how often desired, on disk and running are compared although
	// nothing has changed.
	checkInterval = 10 * time.Second
	retryMin      = 200 * time.Millisecond
	retryMax      = 10 * time.Second
	// maxDraining bounds the configurations that are waited for at once.
	maxDraining = 64
)

// Source gives catalogs.
type Source interface {
	Run(ctx context.Context, handle func(*discovery.Catalog)) error
}

// Applier puts a configuration into service.
type Applier interface {
	Apply(ctx context.Context, c reload.Candidate) (reload.Outcome, error)
}

// Acknowledger tells etcd what is served.
type Acknowledger interface {
	Set(discovery.Acknowledgement)
}

// Config is what a Renderer works with.
type Config struct {
	ID, Node, Prefix string // as they are acknowledged
	Routing          Routing
	Balancer         templates.Balancer // what does not depend on the catalog
	Template         *templates.Template
	Output           string // the file
	MinWait, MaxWait time.Duration

	Source       Source
	Applier      Applier
	Acknowledger Acknowledger
	Lookup       Lookup
	Logger       *slog.Logger
	Registerer   prometheus.Registerer
}

// A Renderer makes one balancer follow the catalog.
type Renderer struct {
	cfg      Config
	router   *router
	resolver *resolver
	metrics  metrics
	changed  chan struct{} // a token when there is a newer catalog

	mu       sync.Mutex
	catalog  *discovery.Catalog // the newest
	ack      discovery.Acknowledgement
	draining int
	status   Status
}

// New prepares a renderer.
func New(cfg Config) *Renderer {
	return &Renderer{
		cfg:      cfg,
		router:   newRouter(cfg.Routing, cfg.Logger, time.Now),
		resolver: newResolver(cfg.Lookup, cfg.Logger),
		metrics:  newMetrics(cfg.Registerer),
		changed:  make(chan struct{}, 1),
		ack: discovery.Acknowledgement{
			ID: cfg.ID, Node: cfg.Node, Prefix: cfg.Prefix, Proxy: cfg.Balancer.Proxy, Services: cfg.Routing.Covers(),
		},
		status: Status{ID: cfg.ID, Proxy: cfg.Balancer.Proxy, Output: cfg.Output},
	}
}

// Run follows the catalog until ctx is done, whose error it returns.
func (r *Renderer) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return r.cfg.Source.Run(ctx, r.offer) })
	g.Go(func() error { return r.resolver.run(ctx) })
	g.Go(func() error { return r.converge(ctx) })
	return g.Wait()
}

// offer takes in a newer catalog; one that was not rendered yet is overtaken.
func (r *Renderer) offer(c *discovery.Catalog) {
	r.mu.Lock()
	r.catalog = c
	r.mu.Unlock()
	token(r.changed)
}

// converge works until what is served is what should be, again and again.
func (r *Renderer) converge(ctx context.Context) error {
	pace := pacer{min: r.cfg.MinWait, max: r.cfg.MaxWait}
	retries := backoff.NewExponentialBackOff()
	retries.InitialInterval, retries.MaxInterval = retryMin, retryMax
	check := time.NewTicker(checkInterval)
	defer check.Stop()
	var retry <-chan time.Time
	for {
		wait := time.Duration(0)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-r.changed:
			wait = pace.delay(time.Now())
		case <-r.resolver.changed:
			wait = pace.delay(time.Now())
		case <-retry:
		case <-check.C:
		}
		if !pause(ctx, wait) {
			return ctx.Err()
		}
		// Whatever arrived during the wait is part of this configuration.
		drop(r.changed)
		drop(r.resolver.changed)
		err := r.serve(ctx)
		pace.done(time.Now())
		retry = nil
		if err == nil {
			retries.Reset()
		} else if ctx.Err() == nil {
			retry = time.After(retries.NextBackOff())
		}
	}
}

// serve renders the newest catalog, puts it into service and acknowledges it.
func (r *Renderer) serve(ctx context.Context) error {
	r.mu.Lock()
	c := r.catalog
	r.mu.Unlock()
	if c == nil {
		return nil
	}
	began := time.Now()
	candidate, err := r.render(c)
	if err != nil {
		return r.failed(ctx, c, "", err)
	}
	outcome, err := r.cfg.Applier.Apply(ctx, candidate)
	if err != nil {
		return r.failed(ctx, c, candidate.Generation, err)
	}
	if outcome.Reloaded || outcome.Changed {
		r.cfg.Logger.Info("configuration is in service", "generation", candidate.Generation,
			"revision", c.Revision, "instances", c.Len(), "took", time.Since(began))
	}
	r.served(c, candidate.Generation, outcome)
	r.drain(ctx, c.Revision, outcome.Old)
	return nil
}

func (r *Renderer) render(c *discovery.Catalog) (reload.Candidate, error) {
	b := r.router.route(c, r.cfg.Balancer, r.resolver.address)
	out, err := r.cfg.Template.Render(b)
	if err != nil {
		return reload.Candidate{}, fmt.Errorf("render %s: %w", r.cfg.Output, err)
	}
	return reload.Candidate{
		Generation: out.Generation,
		Files:      []reload.File{{Path: r.cfg.Output, Content: out.Content}},
	}, nil
}

// served notes and acknowledges that every worker that accepts follows revision.
func (r *Renderer) served(c *discovery.Catalog, generation string, o reload.Outcome) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.metrics.served(o)
	r.metrics.revision.Set(float64(c.Revision))
	r.status.served(c, generation, o, time.Now())
	// A restored etcd may be at an earlier revision than it was: what counts is now.
	r.ack.Applied, r.ack.Generation, r.ack.Healthy, r.ack.LastError = c.Revision, generation, true, ""
	r.ack.Drained = min(r.ack.Drained, r.ack.Applied)
	r.cfg.Acknowledger.Set(r.ack)
}

// drain acknowledges revision as drained once the workers of older configurations
// are gone. Long connections may take hours: the wait is bounded in number, and the
// periodic check takes up what did not find a place.
func (r *Renderer) drain(ctx context.Context, revision int64, old reload.Workers) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ack.Drained >= revision || r.draining >= maxDraining {
		return
	}
	r.draining++
	go func() {
		err := old.Wait(ctx)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.draining--
		if err == nil && revision > r.ack.Drained && revision <= r.ack.Applied {
			r.ack.Drained, r.status.Drained = revision, revision
			r.cfg.Acknowledger.Set(r.ack)
		}
	}()
}

// failed notes why the newest catalog is not served, and says so when the reason is new.
func (r *Renderer) failed(ctx context.Context, c *discovery.Catalog, generation string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	attrs := []any{"revision", c.Revision, "err", err}
	reason := err.Error()
	if step, ok := errors.AsType[*reload.StepError](err); ok && step.Output != "" {
		attrs = append(attrs, "output", step.Output)
		reason += "\n" + step.Output
	}
	r.mu.Lock()
	news := r.status.failed(c, generation, reason, time.Now())
	r.metrics.failures.Inc()
	r.ack.Healthy, r.ack.LastError = false, firstLine(reason)
	r.cfg.Acknowledger.Set(r.ack)
	r.mu.Unlock()
	if news {
		r.cfg.Logger.Error("configuration is not in service; the last good one stays, retrying", attrs...)
	}
	return err
}

func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func drop(c chan struct{}) {
	select {
	case <-c:
	default:
	}
}
