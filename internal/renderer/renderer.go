// Package renderer makes a balancer follow the catalog: it works out the routes,
// renders the configuration, has it put into service by a transaction, and
// acknowledges in etcd what is proven to be served. It knows neither how etcd is
// read (discovery/etcd), nor what a configuration looks like (templates), nor how
// a server takes it (reload).
//
// What should be served, what is on disk and what is running are three things, and
// it works until they agree. Two kinds of refusal do not stop it: the operator's
// files are used as they last were good, and services that no configuration is
// accepted with stay as they last were in service.
package renderer

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"rollcall/internal/discovery"
	"rollcall/internal/reload"
	"rollcall/internal/templates"
)

// Source gives catalogs.
type Source interface {
	Run(ctx context.Context, handle func(*discovery.Catalog)) error
}

// Applier puts a configuration into service.
type Applier interface {
	Apply(ctx context.Context, c reload.Candidate) (reload.Outcome, error)
	// Sync changes the members of the running server, without the files; Place puts files in
	// place that say what the running server has already. reload.ErrNeedsReload sends either
	// to Apply.
	Sync(ctx context.Context, m *reload.Members) (reload.Outcome, error)
	Place(ctx context.Context, c reload.Candidate) (reload.Outcome, error)
	// Check has the server check a configuration, and changes nothing.
	Check(ctx context.Context, c reload.Candidate) error
}

// Acknowledger tells etcd what is served.
type Acknowledger interface {
	Set(discovery.Acknowledgement)
}

// Config is what a Renderer works with.
type Config struct {
	ID, Node, Prefix string // as they are acknowledged
	Routing          Routing
	Balancer         templates.Balancer // what depends neither on the catalog nor on the inputs
	Outputs          []string           // the files, one for each template of the inputs
	AssetDir         string             // for what the outputs name; nobody else writes there
	MinWait, MaxWait time.Duration
	// Ahead lets members go to the running server before the files are checked that say so:
	// where the template is the built-in one, no record has it refused.
	Ahead  bool
	Secret string // what the configuration holds and nobody else may read; "" if nothing
	Dial   dialer // to members, to see whether they are alive

	Inputs       Inputs
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

	// These belong to whoever serves.
	inputs     feed
	quarantine quarantine
	said       string          // the failure that was logged last; "" after a success
	placed     *rendering      // written to the files last; nil before any was
	edited     map[string]bool // files that are not as this process left them, which is said
	pools      pools

	mu       sync.Mutex
	catalog  *discovery.Catalog // the newest
	good     *rendering         // in service; like last written by whoever serves, who reads it without the mutex
	last     *rendering         // tried last
	replaced []reload.File      // by good; nil at first
	diff     *string            // from replaced to good; nil until somebody asks
	old      reload.Workers     // of older configurations than good
	ack      discovery.Acknowledgement
	history  int // how often etcd's revision went back
	at       int // the history of the catalog that is being served
	draining map[moment]bool
	leaving  map[string]int           // held no longer, by id, and by how many configurations' workers still served
	leavers  map[*reload.Leaver]int64 // members with requests that may still run, and by which revision they were removed
	status   Status
}

// New prepares a renderer.
func New(cfg Config) *Renderer {
	r := &Renderer{
		cfg:        cfg,
		router:     newRouter(cfg.Routing, time.Now),
		resolver:   newResolver(cfg.Lookup, cfg.Logger),
		changed:    make(chan struct{}, 1),
		inputs:     feed{source: cfg.Inputs, dir: cfg.AssetDir, log: cfg.Logger},
		quarantine: quarantine{},
		edited:     map[string]bool{},
		draining:   map[moment]bool{},
		leaving:    map[string]int{},
		leavers:    map[*reload.Leaver]int64{},
		ack: discovery.Acknowledgement{
			ID: cfg.ID, Node: cfg.Node, Prefix: cfg.Prefix, Proxy: cfg.Balancer.Proxy, Services: cfg.Routing.Covers(),
			Output: strings.Join(cfg.Outputs, " "),
		},
		status: Status{ID: cfg.ID, Proxy: cfg.Balancer.Proxy, Outputs: cfg.Outputs},
	}
	r.metrics = newMetrics(cfg.Registerer, r.oldWorkers)
	return r
}

// Run follows the catalog and the inputs until ctx is done, whose error it returns.
func (r *Renderer) Run(ctx context.Context) error {
	defer r.waits.Wait()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return r.cfg.Source.Run(ctx, r.offer) })
	g.Go(func() error { return r.cfg.Inputs.Run(ctx) })
	g.Go(func() error { return r.resolver.run(ctx) })
	g.Go(func() error { return r.converge(ctx) })
	return g.Wait()
}

// offer takes in a newer catalog; one that was not rendered yet is overtaken, and one
// that only mourns others is acknowledged as it is. When the revision goes back, etcd was
// restored: its revisions from here on are others than those that were acknowledged, and
// it may be long before anything is proven of them.
func (r *Renderer) offer(c *discovery.Catalog) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.catalog
	r.catalog = c
	if before != nil && before.Revision == c.Revision && before.Stale == c.Stale && slices.Equal(before.Services, c.Services) {
		if r.ack.Applied > 0 {
			r.acknowledge()
		}
		return
	}
	if !c.Stale && c.Revision < r.ack.Applied {
		r.history++
		r.ack.Applied, r.ack.Finished, r.ack.Drained, r.status.Drained = 0, 0, 0, 0
		for l := range r.leavers { // of another history: nothing is drained before they are over
			r.leavers[l] = 1
		}
		r.acknowledge()
	}
	token(r.changed)
}

// newer gives the newest catalog to whoever does not serve it.
func (r *Renderer) newer() *discovery.Catalog {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.catalog
}

func (r *Renderer) newest() *discovery.Catalog {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.at = r.history
	return r.catalog
}

// oldWorkers counts the workers of older configurations that are still alive.
func (r *Renderer) oldWorkers() int {
	if old := r.finishing(); old != nil {
		return old.Len()
	}
	return 0
}

// oldConfigurations counts the configurations that they are of.
func (r *Renderer) oldConfigurations() int {
	if old := r.finishing(); old != nil {
		return old.Configurations()
	}
	return 0
}

func (r *Renderer) finishing() reload.Workers {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.old
}
