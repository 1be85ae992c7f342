package announcer

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"

	"rollcall/internal/check"
	"rollcall/internal/discovery"
)

// A claim is one port of a container that wants to be a record.
type claim struct {
	entry *entry
	n     int // its decision
}

func (c *claim) decision() *Decision { return &c.entry.decisions[c.n] }

// settle decides which of its claimants a record is, if any. Before is what the registry
// was told last.
//
// Of two containers that claim one instance the one started last counts: it is the
// successor. One that has not answered its check yet does not take the place of one that
// has. While nobody has answered, and nobody has failed for good, what is in etcd stays if
// it is what one of them would write: it comes from a run of announce before this one.
func (a *Announcer) settle(id string, before discovery.Record) (record discovery.Record, ok bool) {
	claims := a.claims[id]
	// The order is fixed so that equal claims do not flap.
	slices.SortFunc(claims, func(x, y *claim) int {
		return cmp.Or(y.entry.container.Started.Compare(x.entry.container.Started),
			cmp.Compare(y.entry.container.ID, x.entry.container.ID), cmp.Compare(x.n, y.n))
	})
	var winner *claim
	var waiting []discovery.Record
	for _, c := range claims {
		d := c.decision()
		state, err := check.Up, error(nil)
		if d.Check != nil {
			state, err = a.checks.State(c.entry.check(c.n))
		}
		reason := ""
		switch {
		case state == check.Up && winner == nil:
			winner = c
		case state == check.Up:
			reason = rivalry(winner, c)
		case state == check.Down:
			reason = checkError(d.Check, err).Error()
		default:
			waiting = append(waiting, d.Record)
		}
		a.say(about(*d), reason)
	}
	switch {
	case a.drains[id]:
		a.limbo.wait(id, nil)
		return discovery.Record{}, false
	case winner != nil:
		a.limbo.wait(id, nil)
		return winner.decision().Record, true
	}
	a.limbo.wait(id, waiting)
	return before, slices.ContainsFunc(waiting, before.Equal)
}

// rivalry says why the claim of a container is not heeded beside the winner's.
func rivalry(winner, c *claim) string {
	if winner.entry == c.entry {
		return fmt.Sprintf("port %s has the same instance, %s", winner.decision().Port, winner.decision().Record.ID())
	}
	return fmt.Sprintf("container %s, started later, has the same instance, %s", winner.entry.container.Name, winner.decision().Record.ID())
}

var errUnanswered = errors.New("has not answered yet")

// checkError says what a check lacks.
func checkError(t *check.Target, err error) error {
	if err == nil {
		err = errUnanswered
	}
	return fmt.Errorf("check %s at %s: %w", t.Spec, t.Addr, err)
}

// A limbo holds what is not known yet about records that an earlier run of announce left
// in etcd. The registry asks it from a goroutine of its own.
type limbo struct {
	mu      sync.Mutex
	waiting map[string][]discovery.Record // what a record may stay as while checks are undecided
	settled map[string]bool               // records that have been decided about in this run
	unknown bool                          // containers are alive that nobody could describe yet
}

// wait notes what a record may stay as; nothing, when it has been decided about.
func (l *limbo) wait(id string, records []discovery.Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.settled == nil {
		l.settled, l.waiting = map[string]bool{}, map[string][]discovery.Record{}
	}
	l.settled[id] = true
	if len(records) == 0 {
		delete(l.waiting, id)
		return
	}
	l.waiting[id] = records
}

// waits says whether a record may stay as it is until checks have decided about it.
func (l *limbo) waits(id string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.waiting[id]) > 0
}

// strangers notes whether containers are alive of which nothing is known.
func (l *limbo) strangers(are bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.unknown = are
}

// leave says whether a record that nobody wants may stay where it is.
func (l *limbo) leave(r discovery.Record) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.waiting[r.ID()], r.Equal) || l.unknown && !l.settled[r.ID()]
}
