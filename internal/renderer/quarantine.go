package renderer

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"rollcall/internal/discovery"
)

// maxChecks bounds what one search for offenders costs. Sixteen thousand changed
// services with one offender among them need 29 at most.
const maxChecks = 32

// A quarantine keeps services that no configuration is accepted with at the version
// that was last in service, so that one bad record does not stop all others.
type quarantine map[string]*detained

// A detained service is one that is in quarantine.
type detained struct {
	*trial
	version *discovery.Service // the one that was refused; nil for its absence
}

var errNotTried = errors.New("not tried yet: too many services are refused at once")

// view gives the catalog with the services in quarantine as they were when they were
// last in service, except those that have changed since or are to be tried again.
func (q quarantine) view(newest, good *discovery.Catalog, now time.Time) *discovery.Catalog {
	kept := map[string]bool{}
	for name, h := range q {
		version, _ := newest.Service(name)
		if !h.due(now) && sameService(version, h.version) {
			kept[name] = true
		}
	}
	if len(kept) == 0 {
		return newest
	}
	return mix(newest, good, func(name string) bool { return kept[name] })
}

// served forgets those whose newest version is in service now, and gives their names.
func (q quarantine) served(newest, view *discovery.Catalog) (released []string) {
	for name := range q {
		is, _ := newest.Service(name)
		if served, _ := view.Service(name); sameService(is, served) {
			delete(q, name)
			released = append(released, name)
		}
	}
	return released
}

// isolate finds the services that keep a catalog from being accepted, and gives the
// catalog with those as they were last in service. It gives the refusal back when they
// are not to blame: when what was in service is refused as well.
func (r *Renderer) isolate(ctx context.Context, newest *discovery.Catalog, in *input, refusal error) (*discovery.Catalog, error) {
	good := r.confirmed()
	suspects := differing(good, newest)
	if len(suspects) == 0 {
		return nil, refusal
	}
	s := search{offenders: map[string]error{}, admitted: map[string]bool{}, left: maxChecks}
	s.view = func() *discovery.Catalog {
		return mix(newest, good, func(name string) bool { return !s.admitted[name] })
	}
	s.check = func() error {
		a, err := r.compose(s.view(), in)
		if err != nil {
			return err
		}
		return r.cfg.Applier.Check(ctx, a.candidate)
	}
	if err := s.check(); err != nil {
		if refused(err) {
			err = refusal
		}
		return nil, err
	}
	if err := s.admit(suspects, refusal); err != nil {
		return nil, err
	}
	now := time.Now()
	for _, name := range slices.Sorted(maps.Keys(s.offenders)) {
		reason := s.offenders[name]
		version, _ := newest.Service(name)
		before := r.quarantine[name]
		h := &detained{version: version}
		if before != nil {
			h.trial = before.trial
		}
		h.trial = h.refused(name, reason, now)
		if errors.Is(reason, errNotTried) {
			h.next = now
		} else if before == nil || !sameTrouble(describe(before.reason), describe(reason)) {
			r.cfg.Logger.Error("service is in quarantine: its newest records are refused; it stays as it was last in service", "service", name, "err", describe(reason))
		}
		r.quarantine[name] = h
	}
	return s.view(), nil
}

// A search finds offenders by halves.
type search struct {
	check     func() error // whether what is admitted is accepted
	view      func() *discovery.Catalog
	admitted  map[string]bool
	offenders map[string]error
	left      int // checks
}

// admit admits those of the suspects that are accepted together with all that is
// admitted already. The reason says why they are not when they come all together.
// An error says that the checks themselves have failed.
func (s *search) admit(suspects []string, reason error) error {
	if len(suspects) == 1 {
		s.offenders[suspects[0]] = reason
		return nil
	}
	half := len(suspects) / 2
	left, right := suspects[:half], suspects[half:]
	why, err := s.try(left)
	if err != nil {
		return err
	}
	if why != nil {
		if err := s.admit(left, why); err != nil {
			return err
		}
		// Whether the others are accepted too is open now.
		if reason, err = s.try(right); err != nil || reason == nil {
			return err
		}
	}
	return s.admit(right, reason)
}

// try admits all of the suspects, or says why they are refused.
func (s *search) try(suspects []string) (why, err error) {
	if s.left == 0 {
		return errNotTried, nil
	}
	s.left--
	for _, name := range suspects {
		s.admitted[name] = true
	}
	if why = s.check(); why == nil {
		return nil, nil
	}
	for _, name := range suspects {
		delete(s.admitted, name)
	}
	if !refused(why) {
		return nil, why
	}
	return why, nil
}

// differing names the services that are not the same in two catalogs, sorted.
func differing(x, y *discovery.Catalog) []string {
	var names []string
	pairs(x, y, func(name string, a, b *discovery.Service) {
		if !sameService(a, b) {
			names = append(names, name)
		}
	})
	return names
}

// mix gives a catalog with some of its services as they are in another one.
func mix(c, other *discovery.Catalog, from func(service string) bool) *discovery.Catalog {
	mixed := &discovery.Catalog{Revision: c.Revision, Refused: c.Refused, Stale: c.Stale}
	pairs(c, other, func(name string, a, b *discovery.Service) {
		if a != b && from(name) {
			a = b
		}
		if a != nil {
			mixed.Services = append(mixed.Services, a)
		}
	})
	return mixed
}

// heldBack notes what quarantine means for the instances: whose newest record is not
// served is skipped. Whoever is served where no record leads any more is held, also when
// there is one that leads elsewhere: what was there before must not be taken for gone.
func (a *rendering) heldBack() {
	if a.newest == a.catalog {
		return
	}
	skipped := make(map[string]bool, len(a.skipped))
	for _, id := range a.skipped {
		skipped[id] = true
	}
	pairs(a.newest, a.catalog, func(_ string, newest, served *discovery.Service) {
		if newest == served {
			return
		}
		eachInstance(newest, served, func(newest, served *discovery.Instance) {
			recorded := newest != nil && !newest.Held
			switch {
			case served != nil && served.Held: // is named already
			case newest != nil && newest.Held:
				a.held = append(a.held, newest.ID())
			case served != nil && (newest == nil || newest.Endpoint() != served.Endpoint()):
				a.held = append(a.held, served.ID())
			}
			if recorded && (served == nil || !sameInstance(newest, served)) && !skipped[newest.ID()] {
				a.skipped = append(a.skipped, newest.ID())
				a.why[newest.ID()] = "its service is in quarantine"
			}
		})
	})
}
