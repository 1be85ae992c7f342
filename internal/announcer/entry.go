package announcer

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"rollcall/internal/check"
	"rollcall/internal/discovery/docker"
)

// An entry is a container with what the rules came to for it.
type entry struct {
	container docker.Container
	decisions []Decision

	// A container whose HEALTHCHECK failed is sick until it has succeeded often enough.
	sick  bool
	well  time.Time   // when it began to succeed; zero while it fails
	later *time.Timer // looks again when it will have succeeded often enough
}

// check names the check of a decision.
func (e *entry) check(n int) string { return e.container.ID + " " + e.decisions[n].Port }

// consider applies the rules to a container and puts what comes of it in the place of
// what was known of it. The records that this is about are touched.
func (a *Announcer) consider(container docker.Container, touched map[string]bool) {
	before := a.entries[container.ID]
	e := &entry{container: container}
	a.convalesce(e, before)
	if e.sick && e.container.Health == "healthy" {
		e.decisions = []Decision{{Container: container.Name, Err: fmt.Errorf("%w: health is healthy again, but not for long enough", errSilent)}}
	} else {
		e.decisions = a.cfg.Rules.Decide(&e.container)
	}
	a.replace(before, e, touched)
	a.entries[container.ID] = e
}

// convalesce keeps a flapping HEALTHCHECK from taking a container in and out: after a
// failure it has to succeed as often in a row as a check of ours would. Docker tells
// only of the first success, so the others are waited for.
func (a *Announcer) convalesce(e, before *entry) {
	c := &e.container
	sameLife := before != nil && before.container.Started.Equal(c.Started)
	if sameLife {
		e.sick, e.well = before.sick, before.well
	}
	if c.Health == "unhealthy" {
		e.sick, e.well = true, time.Time{}
	}
	if !e.sick || c.Health == "unhealthy" {
		return
	}
	if e.well.IsZero() {
		e.well = time.Now()
	}
	left := time.Duration(a.cfg.Rules.rise(c)-1)*c.HealthInterval - time.Since(e.well)
	if left <= 0 {
		e.sick = false
		return
	}
	id := c.ID
	e.later = time.AfterFunc(left, func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.entries[id] == e {
			touched := map[string]bool{}
			a.consider(e.container, touched)
			a.tell(touched, false)
		}
	})
}

// forget drops a container that is gone.
func (a *Announcer) forget(id string, touched map[string]bool) {
	if before := a.entries[id]; before != nil {
		a.replace(before, nil, touched)
		delete(a.entries, id)
	}
}

// replace takes what an entry claims and says away and puts its successor's in the place;
// either may be nil.
func (a *Announcer) replace(before, after *entry, touched map[string]bool) {
	old := map[string]check.Target{}
	silent := map[string]bool{}
	if before != nil {
		if before.later != nil {
			before.later.Stop()
		}
		for n, d := range before.decisions {
			silent[about(d)] = true
			if d.Err == nil {
				a.withdraw(before, n, old)
				touched[d.Record.ID()] = true
			}
		}
	}
	fresh := map[string]check.Target{}
	if after != nil {
		for n, d := range after.decisions {
			delete(silent, about(d))
			if d.Err == nil {
				a.claim(after, n, fresh)
				touched[d.Record.ID()] = true
				continue
			}
			reason := d.Err.Error()
			// Who announces one container wants to know whatever keeps it from that.
			if errors.Is(d.Err, errSilent) && !a.cfg.Rules.Single {
				reason = ""
			}
			a.say(about(d), reason)
		}
	}
	for what := range silent {
		a.say(what, "")
	}
	a.check(old, fresh)
}

// claim notes that a decision wants to be a record.
func (a *Announcer) claim(e *entry, n int, targets map[string]check.Target) {
	d := e.decisions[n]
	a.claims[d.Record.ID()] = append(a.claims[d.Record.ID()], &claim{e, n})
	if d.Check != nil {
		targets[e.check(n)], a.checked[e.check(n)] = *d.Check, d.Record.ID()
	}
}

// withdraw takes the claim back.
func (a *Announcer) withdraw(e *entry, n int, targets map[string]check.Target) {
	d := e.decisions[n]
	id := d.Record.ID()
	a.claims[id] = slices.DeleteFunc(a.claims[id], func(c *claim) bool { return c.entry == e && c.n == n })
	if len(a.claims[id]) == 0 {
		delete(a.claims, id)
	}
	if d.Check != nil {
		targets[e.check(n)] = *d.Check
		delete(a.checked, e.check(n))
	}
}

// check has the fresh targets checked in the place of the old.
func (a *Announcer) check(old, fresh map[string]check.Target) {
	var gone []string
	for id := range old {
		if _, ok := fresh[id]; !ok {
			gone = append(gone, id)
		}
	}
	if !maps.Equal(old, fresh) {
		a.checks.Change(fresh, gone)
	}
}

// about names what a reason is about.
func about(d Decision) string { return strings.TrimSpace(d.Container + " " + d.Port) }

// rest stops what still waits for its time.
func (a *Announcer) rest() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, e := range a.entries {
		if e.later != nil {
			e.later.Stop()
		}
	}
}
