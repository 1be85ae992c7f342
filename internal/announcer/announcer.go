// Package announcer turns containers into records that are kept in etcd for as
// long as the containers are there. It decides what is announced and when that
// ends; it knows neither how Docker is asked (discovery/docker) nor how etcd is
// written (discovery/etcd).
package announcer

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"rollcall/internal/check"
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
	// Set replaces what should be there. A record that is there, but should not be, stays
	// while leave says that this is not known yet.
	Set(records map[string]discovery.Record, leave func(discovery.Record) bool)
	// Change alters what Set was told.
	Change(put map[string]discovery.Record, gone []string)
}

// Checks asks endpoints whether they answer.
type Checks interface {
	Change(put map[string]check.Target, gone []string)
	State(id string) (check.State, error)
	Run(ctx context.Context) error
}

// Config is what an Announcer works with.
type Config struct {
	Rules      Rules
	Containers Containers
	Drains     Drains
	Registry   Registry
	// Checks makes the checks; changed is to be called when one has come to another state.
	Checks     func(changed func(id string)) Checks
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// An Announcer keeps the records of this machine's containers. What it is told changes
// what depends on it, and nothing else: a machine may hold thousands of containers.
type Announcer struct {
	cfg    Config
	checks Checks

	mu         sync.Mutex
	entries    map[string]*entry   // by container id
	claims     map[string][]*claim // who wants to be a record, by "service/instance"
	checked    map[string]string   // check → the record that waits for it
	drains     map[string]bool
	listed     bool // Docker has told everything at least once
	drainsRead bool
	told       map[string]discovery.Record // what the registry was told to have
	limbo      limbo
	said       map[string]string // what it is about → why it is not announced

	containers, rejected prometheus.Gauge
}

// New prepares an announcer.
func New(cfg Config) *Announcer {
	a := &Announcer{
		cfg: cfg, entries: map[string]*entry{}, claims: map[string][]*claim{},
		checked: map[string]string{}, told: map[string]discovery.Record{}, said: map[string]string{},
		containers: prometheus.NewGauge(prometheus.GaugeOpts{Name: "rollcall_announce_containers", Help: "Running containers that are looked at."}),
		rejected:   prometheus.NewGauge(prometheus.GaugeOpts{Name: "rollcall_announce_rejected", Help: "Containers or ports that ask to be announced but cannot be."}),
	}
	a.checks = cfg.Checks(a.recheck)
	cfg.Registerer.MustRegister(a.containers, a.rejected)
	return a
}

// Run announces until ctx is done, whose error it returns. The records stay: to
// withdraw them is the caller's decision.
func (a *Announcer) Run(ctx context.Context) error {
	defer a.rest()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return a.cfg.Containers.Run(ctx, a.observe) })
	g.Go(func() error { return a.cfg.Drains.Run(ctx, a.drain) })
	g.Go(func() error { return a.checks.Run(ctx) })
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

// drain takes in which instances are drained.
func (a *Announcer) drain(drained map[string]bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	touched := map[string]bool{}
	for _, ids := range []map[string]bool{a.drains, drained} {
		for id := range ids {
			if a.drains[id] != drained[id] {
				touched[id] = true
			}
		}
	}
	first := !a.drainsRead
	a.drains, a.drainsRead = drained, true
	a.tell(touched, first)
}

// observe takes in what Docker told.
func (a *Announcer) observe(c docker.Change) {
	a.mu.Lock()
	defer a.mu.Unlock()
	touched := map[string]bool{}
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
		for id := range a.entries {
			if !there[id] {
				a.forget(id, touched)
			}
		}
		a.limbo.strangers(len(c.Unknown) > 0)
	}
	for _, id := range c.Gone {
		a.forget(id, touched)
	}
	for _, container := range c.Containers {
		a.consider(container, touched)
	}
	a.tell(touched, c.Listed)
}

// recheck takes in that a check has come to another state.
func (a *Announcer) recheck(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if record, ok := a.checked[id]; ok {
		a.tell(map[string]bool{record: true}, false)
	}
}

// tell tells the registry what has become of the touched records; of all of them when
// everything is to be compared. Nothing is told before Docker and the drains are known:
// an empty set would take live records away.
func (a *Announcer) tell(touched map[string]bool, everything bool) {
	if !a.listed || !a.drainsRead {
		return
	}
	if everything {
		touched = map[string]bool{}
		for _, ids := range []map[string]bool{present(a.claims), present(a.told)} {
			maps.Copy(touched, ids)
		}
	}
	put, gone := map[string]discovery.Record{}, []string{}
	for id := range touched {
		before, was := a.told[id]
		waited := a.limbo.waits(id)
		switch record, ok := a.settle(id, before); {
		case !ok && (was || waited && !a.limbo.waits(id)):
			delete(a.told, id)
			gone = append(gone, id)
		case ok && (!was || !before.Equal(record)):
			a.told[id], put[id] = record, record
		}
	}
	a.containers.Set(float64(len(a.entries)))
	a.rejected.Set(float64(len(a.said)))
	switch {
	case everything:
		a.cfg.Registry.Set(a.told, a.limbo.leave)
	case len(put) > 0 || len(gone) > 0:
		a.cfg.Registry.Change(put, gone)
	}
}

func present[V any](m map[string]V) map[string]bool {
	keys := make(map[string]bool, len(m))
	for k := range m {
		keys[k] = true
	}
	return keys
}

// say names a reason once for as long as it lasts; "" says that there is none any more.
func (a *Announcer) say(what, reason string) {
	if reason == "" {
		delete(a.said, what)
		return
	}
	if a.said[what] != reason {
		a.cfg.Logger.Warn("not announced", "container", what, "reason", reason)
	}
	a.said[what] = reason
}

// Decisions tells what the rules came to for every container, sorted by name. What a
// check says stands in Err while it keeps a port from being announced.
func (a *Announcer) Decisions() []Decision {
	a.mu.Lock()
	defer a.mu.Unlock()
	var all []Decision
	for _, e := range a.entries {
		for n, d := range e.decisions {
			if d.Err == nil && d.Check != nil {
				if state, err := a.checks.State(e.check(n)); state != check.Up {
					d.Err = checkError(d.Check, err)
				}
			}
			all = append(all, d)
		}
	}
	slices.SortFunc(all, func(x, y Decision) int {
		return cmp.Or(cmp.Compare(x.Container, y.Container), cmp.Compare(x.Port, y.Port))
	})
	return all
}
