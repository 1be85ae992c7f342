package announcer

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"rollcall/internal/check"
	"rollcall/internal/discovery"
)

// A claim is one port of a container that wants to be a record.
type claim struct {
	entry *entry
	n     int // its decision
}

func (c *claim) decision() *Decision { return &c.entry.decisions[c.n] }

// A verdict is what has become of a record.
type verdict struct {
	record discovery.Record
	wanted bool // the record is to be there
	// What is in etcd may stay no longer, though an earlier run put it there: all of what it
	// could have stayed as, or some.
	ended, doubted bool
}

// settle decides which of its claimants a record is, if any. Before is what the registry
// was told last.
//
// Of two containers that claim one instance the one that came last counts: it is the
// successor. One that has not answered its check yet does not take the place of one that
// has. While nobody has answered, and nobody has failed for good, what is in etcd stays if
// it is what one of them would write: it comes from a run of announce before this one.
func (a *Announcer) settle(id string, before discovery.Record) verdict {
	claims := a.claims[id]
	// The order is fixed so that equal claims do not flap.
	slices.SortFunc(claims, func(x, y *claim) int {
		return cmp.Or(cmp.Compare(y.entry.came, x.entry.came), cmp.Compare(x.n, y.n))
	})
	var winner *claim
	var waiting []discovery.Record
	for _, c := range claims {
		d := c.decision()
		state, err := check.Up, error(nil)
		if d.Check != nil {
			state, err = a.checks.State(c.entry.check(c.n))
		}
		switch {
		case state == check.Up && winner == nil:
			winner = c
			a.say(c.entry.about(c.n), reason{})
		case state == check.Up:
			a.say(c.entry.about(c.n), rivalry(winner, c))
		case state == check.Down:
			a.say(c.entry.about(c.n), reason{text: checkError(d.Check, err).Error()})
		default:
			waiting = append(waiting, d.Record)
			a.say(c.entry.about(c.n), reason{})
		}
	}
	if winner != nil || a.drains[id] {
		waiting = nil
	}
	could := a.limbo.wait(id, waiting)
	v := verdict{
		ended:   len(could) > 0 && len(waiting) == 0,
		doubted: slices.ContainsFunc(could, func(r discovery.Record) bool { return !slices.ContainsFunc(waiting, r.Equal) }),
	}
	switch {
	case a.drains[id]:
	case winner != nil:
		v.record, v.wanted = winner.decision().Record, true
	default:
		v.record, v.wanted = before, slices.ContainsFunc(waiting, before.Equal)
	}
	return v
}

// rivalry says why the claim of a container is not heeded beside the winner's.
func rivalry(winner, c *claim) reason {
	id := winner.decision().Record.ID()
	if winner.entry == c.entry {
		return reason{text: fmt.Sprintf("port %s has the same instance, %s", winner.decision().Port, id)}
	}
	// Who it is may change with every newcomer, and is not told each time.
	return reason{text: "a container that started later has the same instance, " + id, by: winner.entry.container.Name}
}

var errUnanswered = errors.New("has not answered yet")

// checkError says what a check lacks.
func checkError(t *check.Target, err error) error {
	if err == nil {
		err = errUnanswered
	}
	return fmt.Errorf("check %s at %s: %w", t.Spec, t.Addr, err)
}
