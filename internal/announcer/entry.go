package announcer

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"rollcall/internal/check"
	"rollcall/internal/discovery/docker"
)

// An entry is a container with what the rules came to for it.
type entry struct {
	container docker.Container
	decisions []Decision
	came      uint64 // the order in which containers came, or came back, to life

	// Of its HEALTHCHECK: when it last began to succeed after a failure, whether it has
	// failed again soon after that, and what looks again when it has succeeded for long enough.
	well     time.Time
	flapping bool
	later    *time.Timer
}

// check names the check of a decision. Another life of the container is checked anew.
func (e *entry) check(n int) string {
	return fmt.Sprintf("%s %s %d", e.container.ID, e.decisions[n].Port, e.container.Started.UnixNano())
}

// about names what is said of a decision.
func (e *entry) about(n int) subject {
	return subject{id: e.container.ID, name: e.container.Name, port: e.decisions[n].Port}
}

// consider applies the rules to a container and puts what comes of it in the place of
// what was known of it. The records that this is about are touched.
func (a *Announcer) consider(container docker.Container, touched map[string]bool) {
	before := a.entries[container.ID]
	e := &entry{container: container}
	if before != nil && before.container.Started.Equal(container.Started) {
		e.came, e.well, e.flapping = before.came, before.well, before.flapping
	} else {
		a.lives++
		e.came = a.lives
	}
	if a.convalesces(e, before) {
		e.decisions = []Decision{{Container: container.Name, Err: fmt.Errorf("%w: its health goes to and fro, and is not healthy for long enough", errSilent)}}
	} else {
		e.decisions = a.cfg.Rules.Decide(&e.container)
	}
	a.replace(before, e, touched)
	a.entries[container.ID] = e
}

// relapse is how many periods of a HEALTHCHECK after it recovered another failure makes it
// one that goes to and fro.
const relapse = 10

// convalesces keeps a flapping HEALTHCHECK from taking a container in and out with each
// try. The first recovery counts at once, since it may be the only instance there is. One
// that fails again soon after has to be healthy from then on for as long as the successes
// that its rise asks for take at most: Docker tells of the first one only.
func (a *Announcer) convalesces(e, before *entry) bool {
	c := &e.container
	was := ""
	if before != nil && before.came == e.came { // the same life
		was = before.container.Health
	}
	switch {
	case c.Health == "unhealthy" && was != "unhealthy":
		e.flapping = !e.well.IsZero() && time.Since(e.well) < relapse*c.HealthPeriod
	case c.Health == "healthy" && was == "unhealthy":
		e.well = time.Now()
	}
	if c.Health != "healthy" || !e.flapping {
		return false
	}
	left := time.Duration(a.cfg.Rules.rise(c)-1)*c.HealthPeriod - time.Since(e.well)
	if left <= 0 {
		return false
	}
	e.later = time.AfterFunc(left, func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.entries[c.ID] == e && !a.resting {
			touched := map[string]bool{}
			a.consider(e.container, touched)
			a.tell(touched, false)
		}
	})
	return true
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
	old, fresh := map[string]check.Target{}, map[string]check.Target{}
	silent := map[subject]bool{}
	if before != nil {
		if before.later != nil {
			before.later.Stop()
		}
		for n, d := range before.decisions {
			silent[before.about(n)] = true
			if d.Err == nil {
				a.withdraw(before, n, old)
				touched[d.Record.ID()] = true
				a.takeLeave(before, n, after)
			}
		}
	}
	if after != nil {
		for n, d := range after.decisions {
			delete(silent, after.about(n))
			if d.Err == nil {
				a.claim(after, n, fresh)
				touched[d.Record.ID()] = true
				continue
			}
			why := reason{}
			if a.isSaid(d.Err) {
				why.text = d.Err.Error()
			}
			a.say(after.about(n), why)
		}
	}
	for what := range silent {
		a.say(what, reason{})
	}
	a.check(old, fresh)
}

// takeLeave tells why a port is announced no longer, unless that is said as a reason that lasts.
func (a *Announcer) takeLeave(before *entry, n int, after *entry) {
	why := "container is gone"
	if after != nil {
		for _, d := range after.decisions {
			switch {
			case d.Port != "" && d.Port != before.decisions[n].Port:
			case d.Err == nil, a.isSaid(d.Err):
				return
			default:
				why = Why(d.Err)
			}
		}
	}
	a.cfg.Logger.Info("no longer announced", "container", before.container.Name, "port", before.decisions[n].Port, "reason", why)
}

// isSaid says whether a reason is said for as long as it lasts. Who announces one container
// wants to know whatever keeps it from that.
func (a *Announcer) isSaid(err error) bool { return a.cfg.Rules.Single || !errors.Is(err, errSilent) }

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

// rest stops what still waits for its time.
func (a *Announcer) rest() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.resting = true
	for _, e := range a.entries {
		if e.later != nil {
			e.later.Stop()
		}
	}
}
