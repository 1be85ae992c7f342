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
	"strings"
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
	lives      uint64 // containers that have come to life so far
	said       map[subject]reason
	resting    bool // Run has ended

	containers, rejected prometheus.Gauge
}

// New prepares an announcer.
func New(cfg Config) *Announcer {
	a := &Announcer{
		cfg: cfg, entries: map[string]*entry{}, claims: map[string][]*claim{},
		checked: map[string]string{}, told: map[string]discovery.Record{}, said: map[subject]reason{},
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
	everything := c.Listed
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
		a.limbo.list(c.Unknown)
	}
	for _, id := range c.Gone {
		a.forget(id, touched)
		everything = a.limbo.meet(id) || everything
	}
	// Events come in their order; of a list only the starts tell who came after whom.
	for _, container := range slices.SortedFunc(slices.Values(c.Containers), func(x, y docker.Container) int {
		return cmp.Or(x.Started.Compare(y.Started), cmp.Compare(x.ID, y.ID))
	}) {
		a.consider(container, touched)
		everything = a.limbo.meet(container.ID) || everything
	}
	a.tell(touched, everything)
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
		for _, ids := range []map[string]bool{present(a.claims), present(a.told), a.drains} {
			maps.Copy(touched, ids)
		}
	}
	put, gone := map[string]discovery.Record{}, []string{}
	for id := range touched {
		before, was := a.told[id]
		v := a.settle(id, before)
		switch {
		case !v.wanted && (was || v.ended):
			delete(a.told, id)
			gone = append(gone, id)
		case !v.wanted:
			everything = everything || v.doubted // the registry has to look what it is
		case !was || !before.Equal(v.record):
			a.told[id], put[id] = v.record, v.record
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

// A subject is what a reason is about: a port of a container, or all of it.
type subject struct{ id, name, port string }

// A reason is why something is not announced; its zero value says that there is none.
type reason struct {
	text string
	by   string // the container in whose favour, if any
}

// say names a reason once for as long as it lasts.
func (a *Announcer) say(what subject, why reason) {
	if why.text == "" {
		delete(a.said, what)
		return
	}
	if a.said[what].text != why.text {
		args := []any{"container", strings.TrimSpace(what.name + " " + what.port), "reason", why.text}
		if why.by != "" {
			args = append(args, "by", why.by)
		}
		a.cfg.Logger.Warn("not announced", args...)
	}
	a.said[what] = why
}

// errDrained is why an instance is not announced that an operator keeps out.
var errDrained = errors.New("drained: `announce resume` puts it back")

// Decisions tells what has become of every container, sorted by name: besides what the
// rules came to, an operator's order, another container's claim or a check that fails.
func (a *Announcer) Decisions() []Decision {
	a.mu.Lock()
	defer a.mu.Unlock()
	var all []Decision
	for _, e := range a.entries {
		for n, d := range e.decisions {
			d.Err = a.refusal(e, n)
			all = append(all, d)
		}
	}
	slices.SortFunc(all, func(x, y Decision) int {
		return cmp.Or(cmp.Compare(x.Container, y.Container), cmp.Compare(x.Port, y.Port))
	})
	return all
}

// refusal gives the reason why a decision is not announced, nil if it is. To be called
// with the mutex held.
func (a *Announcer) refusal(e *entry, n int) error {
	d := e.decisions[n]
	switch why := a.said[e.about(n)]; {
	case d.Err != nil:
		return d.Err
	case a.drains[d.Record.ID()]:
		return errDrained
	case why.text != "":
		return errors.New(strings.TrimSpace(why.text + " " + why.by))
	case d.Check != nil:
		if state, err := a.checks.State(e.check(n)); state != check.Up {
			return checkError(d.Check, err)
		}
	}
	return nil
}
