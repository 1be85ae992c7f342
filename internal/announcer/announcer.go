// Package announcer turns containers into records that are kept in etcd for as
// long as the containers are there. It decides what is announced and when that
// ends; it knows neither how Docker is asked (discovery/docker) nor how etcd is
// written (discovery/etcd).
package announcer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"rollcall/internal/discovery"
	"rollcall/internal/discovery/docker"
)

// Containers tells what runs on this machine.
type Containers interface {
	Run(ctx context.Context, handle func(docker.Change)) error
}

// Drains tells which instances an operator keeps out of every balancer.
type Drains interface {
	Run(ctx context.Context, handle func(map[string]bool)) error
}

// Registry keeps the records in etcd.
type Registry interface {
	Set(map[string]discovery.Record)
	Run(ctx context.Context) error
}

// Config is what an Announcer works with.
type Config struct {
	Rules      Rules
	Prefix     string
	Layout     discovery.Layout
	Containers Containers
	Drains     Drains
	Registry   Registry
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// An Announcer keeps the records of this machine's containers.
type Announcer struct {
	cfg Config

	mu         sync.Mutex
	known      map[string]*announced // by container id
	listed     bool                  // Docker has told everything at least once
	drains     map[string]bool
	drainsRead bool
	said       map[string]string // container and port → reason, as last said

	containers, rejected prometheus.Gauge
}

// announced is a container with what the rules came to for it.
type announced struct {
	container docker.Container
	decisions []Decision
	records   []discovery.Record
}

// New prepares an announcer.
func New(cfg Config) *Announcer {
	a := &Announcer{
		cfg: cfg, known: map[string]*announced{}, said: map[string]string{},
		containers: prometheus.NewGauge(prometheus.GaugeOpts{Name: "rollcall_announce_containers", Help: "Running containers that are looked at."}),
		rejected:   prometheus.NewGauge(prometheus.GaugeOpts{Name: "rollcall_announce_rejected", Help: "Containers or ports that ask to be announced but cannot be."}),
	}
	cfg.Registerer.MustRegister(a.containers, a.rejected)
	return a
}

// Run announces until ctx is done, whose error it returns. The records stay: to
// withdraw them is the caller's decision.
func (a *Announcer) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return a.cfg.Containers.Run(ctx, a.observe) })
	g.Go(func() error { return a.cfg.Drains.Run(ctx, a.drain) })
	return g.Wait()
}

// Ready gives nil once Docker and etcd have told everything that decides what is announced.
func (a *Announcer) Ready() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case !a.listed:
		return errors.New("docker has not listed its containers yet")
	case !a.drainsRead:
		return errors.New("etcd has not told which instances are drained yet")
	}
	return nil
}

func (a *Announcer) drain(drained map[string]bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.drains, a.drainsRead = drained, true
	a.announce()
}

// observe takes in what Docker told.
func (a *Announcer) observe(c docker.Change) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if c.Listed {
		a.listed = true
		there := map[string]bool{}
		for _, container := range c.Containers {
			there[container.ID] = true
		}
		// Alive, but Docker could not say more: what is known of them stays.
		for _, id := range c.Unknown {
			there[id] = true
		}
		maps.DeleteFunc(a.known, func(id string, _ *announced) bool { return !there[id] })
	}
	for _, id := range c.Gone {
		delete(a.known, id)
	}
	for _, container := range c.Containers {
		a.known[container.ID] = a.consider(container)
	}
	a.announce()
}

// consider applies the rules to one container.
func (a *Announcer) consider(container docker.Container) *announced {
	k := &announced{container: container}
	k.decisions = a.cfg.Rules.Decide(&k.container)
	for n, d := range k.decisions {
		if d.Err != nil {
			continue
		}
		record, err := discovery.Encode(a.cfg.Prefix, a.cfg.Layout, d.Instance)
		if err != nil {
			k.decisions[n].Err = err
			continue
		}
		k.records = append(k.records, record)
	}
	return k
}

// announce tells the registry what should be in etcd. Nothing is told before
// Docker and the drains are known: an empty set would take live records away.
func (a *Announcer) announce() {
	if !a.listed || !a.drainsRead {
		return
	}
	// Of two containers that claim one instance the one started last counts: it is
	// the successor. The order is fixed so that equal claims do not flap.
	ordered := slices.SortedFunc(maps.Values(a.known), func(x, y *announced) int {
		return cmp.Or(x.container.Started.Compare(y.container.Started), cmp.Compare(x.container.ID, y.container.ID))
	})
	records := map[string]discovery.Record{}
	owner := map[string]*announced{}
	reasons := map[string]string{}
	for _, k := range ordered {
		for _, r := range k.records {
			switch before, taken := owner[r.ID()]; {
			case taken && before == k:
				reasons[k.container.Name+" "+r.ID()] = "two of its ports have the same instance"
			case taken:
				reasons[before.container.Name+" "+r.ID()] = fmt.Sprintf("container %s, started later, has the same instance", k.container.Name)
			}
			owner[r.ID()] = k
			records[r.ID()] = r
		}
		for _, d := range k.decisions {
			// Who announces one container wants to know whatever keeps it from that.
			if d.Err != nil && (a.cfg.Rules.Single || !errors.Is(d.Err, errSilent)) {
				reasons[d.Container+" "+d.Port] = d.Err.Error()
			}
		}
	}
	for id := range a.drains {
		delete(records, id)
	}
	a.say(reasons)
	a.containers.Set(float64(len(a.known)))
	a.rejected.Set(float64(len(reasons)))
	a.cfg.Registry.Set(records)
}

// say names each reason once for as long as it lasts.
func (a *Announcer) say(reasons map[string]string) {
	for _, what := range slices.Sorted(maps.Keys(reasons)) {
		if a.said[what] != reasons[what] {
			a.cfg.Logger.Warn("not announced", "container", what, "reason", reasons[what])
		}
	}
	a.said = reasons
}

// Decisions tells what the rules came to for every container, sorted by name.
func (a *Announcer) Decisions() []Decision {
	a.mu.Lock()
	defer a.mu.Unlock()
	var all []Decision
	for _, k := range a.known {
		all = append(all, k.decisions...)
	}
	slices.SortFunc(all, func(x, y Decision) int {
		return cmp.Or(cmp.Compare(x.Container, y.Container), cmp.Compare(x.Port, y.Port))
	})
	return all
}
