package discovery

import (
	"cmp"
	"slices"
	"time"
)

// losses are the instances of one service that vanished with their leases, or may have.
type losses struct {
	byName map[string]*loss
	dirty  bool // something was learned since judge was called

	live  *Service    // as judge was told; nil if none is left
	held  []*Instance // marked, sorted by name
	shown *Service    // both together
	rest  []string    // the ids of those that are not held, sorted
	lost  bool        // some are known to have lost their leases
	open  bool        // it is not known of all that are held whether they were deleted
	next  time.Time   // when to judge again; zero for never
}

type loss struct {
	instance *Instance // as it was
	held     *Instance // the same, marked
	at       time.Time
	sure     bool // its lease is known to be gone
	judged   bool // keep says what is to become of it
	keep     bool // too many went with it
}

func (l *losses) add(i *Instance, now time.Time) {
	held := *i
	held.Held = true
	l.byName[i.Name] = &loss{instance: i, held: &held, at: now}
	l.dirty = true
}

// has says whether the loss is of just this instance, which since may have returned
// and gone again.
func (l *losses) has(i *Instance) bool {
	return l != nil && l.byName[i.Name] != nil && l.byName[i.Name].instance == i
}

// judge works out which of the losses are held and which are not, and says whether that
// or live has changed.
func (l *losses) judge(service string, live *Service, maxLoss float64, hold time.Duration, now time.Time) bool {
	there := 0
	if live != nil {
		there = len(live.Instances)
	}
	recent, asked, fresh := 0, 0, false
	for _, x := range l.byName {
		if now.Sub(x.at) < lossWindow {
			recent++
		}
		if !x.sure {
			asked++
		}
		fresh = fresh || x.sure && !x.judged
	}
	doubt := exceeds(recent, there, maxLoss)
	// Nothing is decided before it is known what of it was deleted; and only a loss
	// decides: a deletion, which leaves fewer too, must not bring back what is gone.
	if asked == 0 && fresh {
		for _, x := range l.byName {
			x.judged = true
			x.keep = x.keep || doubt && now.Sub(x.at) < lossWindow
		}
	}
	var held []*Instance
	var rest []string
	l.lost, l.open, l.next = false, false, time.Time{}
	for _, x := range l.byName {
		l.lost = l.lost || x.sure
		end := x.at.Add(hold)
		if !x.keep {
			end = x.at.Add(min(hold, lossWindow))
		}
		if l.next.IsZero() || end.Before(l.next) {
			l.next = end
		}
		if x.keep || doubt && !x.judged {
			held = append(held, x.held)
			l.open = l.open || !x.keep
		} else {
			rest = append(rest, x.instance.ID())
		}
	}
	slices.SortFunc(held, func(x, y *Instance) int { return cmp.Compare(x.Name, y.Name) })
	slices.Sort(rest)
	changed := live != l.live || !slices.Equal(held, l.held)
	if changed {
		l.shown = join(service, live, held)
	}
	changed = changed || !slices.Equal(rest, l.rest)
	l.live, l.held, l.rest, l.dirty = live, held, rest, false
	return changed
}

// exceeds says whether more than a share of the instances is lost.
func exceeds(lost, live int, share float64) bool {
	const rounding = 1e-9
	return float64(lost) > share*float64(live+lost)+rounding
}

// join gives a service with what is live and what is held of it.
func join(name string, live *Service, held []*Instance) *Service {
	byName := make(map[string]*Instance, len(held))
	for _, i := range held {
		byName[i.Name] = i
	}
	var instances []*Instance
	if live != nil {
		instances = live.Instances
	}
	return &Service{Name: name, Instances: merge(instances, byName, func(i *Instance) string { return i.Name })}
}
