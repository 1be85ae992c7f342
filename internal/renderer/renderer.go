// Package renderer makes a balancer follow the catalog: it works out the routes,
// renders the configuration, has it put into service by a transaction, and
// acknowledges in etcd what is proven to be served. It knows neither how etcd is
// read (discovery/etcd), nor what a configuration looks like (templates), nor how
// a server takes it (reload).
package renderer

import (
	"context"
	"fmt"
	"log/slog"
	"os"
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

	waits sync.WaitGroup // of draining

	mu       sync.Mutex
	catalog  *discovery.Catalog // the newest
	ack      discovery.Acknowledgement
	history  int // how often etcd's revision went back
	draining map[moment]bool
	status   Status
	said     string // the failure that was logged last; "" after a success
}

// New prepares a renderer.
func New(cfg Config) *Renderer {
	return &Renderer{
		cfg:      cfg,
		router:   newRouter(cfg.Routing, cfg.Logger, time.Now),
		resolver: newResolver(cfg.Lookup, cfg.Logger),
		metrics:  newMetrics(cfg.Registerer),
		changed:  make(chan struct{}, 1),
		draining: map[moment]bool{},
		ack: discovery.Acknowledgement{
			ID: cfg.ID, Node: cfg.Node, Prefix: cfg.Prefix, Proxy: cfg.Balancer.Proxy, Services: cfg.Routing.Covers(),
		},
		status: Status{ID: cfg.ID, Proxy: cfg.Balancer.Proxy, Output: cfg.Output},
	}
}

// Run follows the catalog until ctx is done, whose error it returns.
func (r *Renderer) Run(ctx context.Context) error {
	defer r.waits.Wait()
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
		wait, paced := time.Duration(0), true
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-r.changed:
			wait = pace.delay(time.Now())
		case <-r.resolver.changed:
			wait = pace.delay(time.Now())
		case <-retry:
		case <-check.C:
			paced = false // a look that finds nothing to do delays no change after it
		}
		if !pause(ctx, wait) {
			return ctx.Err()
		}
		// Whatever arrived during the wait is part of this configuration.
		paced = drop(r.changed) || paced
		paced = drop(r.resolver.changed) || paced
		err := r.serve(ctx)
		if paced {
			pace.done(time.Now())
		}
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
	candidate, skipped, err := r.render(c)
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
	r.served(c, candidate.Generation, skipped, outcome)
	r.drain(ctx, c.Revision, outcome.Old)
	return nil
}

// render gives the configuration of a catalog, and the instances that are not in it.
func (r *Renderer) render(c *discovery.Catalog) (reload.Candidate, []string, error) {
	began := time.Now()
	b, skipped := r.router.route(c, r.cfg.Balancer, r.resolver.address)
	r.resolver.used(began)
	out, err := r.cfg.Template.Render(b)
	if err != nil {
		return reload.Candidate{}, nil, fmt.Errorf("render %s: %w", r.cfg.Output, err)
	}
	// A later revision of the same content is no reason to reload: the file keeps
	// the revision that it was made from.
	if old, err := os.ReadFile(r.cfg.Output); err == nil && out.Same(old) {
		out.Content = old
	}
	return reload.Candidate{
		Generation: out.Generation,
		Files:      []reload.File{{Path: r.cfg.Output, Content: out.Content}},
	}, skipped, nil
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

// drop takes a mark away, and says whether there was one.
func drop(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
