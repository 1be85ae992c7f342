package reload

import (
	"context"
	"errors"
	"fmt"
)

// An apacheSync is one run through the managers.
type apacheSync struct {
	managers *apacheManagers
	side     *apacheSide
	pages    map[apacheHost]apachePage
	fresh    map[apacheHost]bool   // pages that were asked for in this run
	wrong    map[apacheMember]bool // those that were not as they should be
	gone     map[apacheMember]bool // those that get no requests, and may have some running
}

type apacheMember struct{ pool, address string }

// An apachePart is one of the two steps in which a balancer comes to be as it should.
type apachePart func(w *apacheWant, page apachePage) ([]apacheChange, error)

// run makes the pools that match what they should be. Nobody leaves before others have come.
func (s *apacheSync) run(ctx context.Context, want Members, match func(*Pool) bool) error {
	hosts, err := apacheHosts(want, match)
	if err != nil {
		return err
	}
	before := map[apacheHost]apachePage{}
	joining := false
	for host, wants := range hosts {
		page, err := s.page(ctx, host)
		if err != nil {
			return err
		}
		before[host] = page
		for _, w := range wants {
			active, _, err := s.side.of(page, w.balancer)
			if err != nil {
				return err
			}
			if active == nil {
				return fmt.Errorf("%s has no balancer %s", host.name, w.balancer)
			}
			s.count(w, active)
			joining = joining || w.joins(active)
		}
	}
	if joining {
		if err := s.join(ctx, want, match); err != nil {
			return err
		}
	}
	for host, wants := range hosts {
		if err := s.settle(ctx, host, wants, s.both); err != nil {
			return err
		}
		s.left(wants, before[host], s.pages[host])
	}
	return nil
}

// join brings the side at rest up to date, all of it, and sends the requests there.
func (s *apacheSync) join(ctx context.Context, want Members, match func(*Pool) bool) error {
	hosts, err := apacheHosts(want, func(p *Pool) bool { return match(p) || s.side.behind[p.Name] })
	if err != nil {
		return err
	}
	s.side.adding.Lock()
	defer s.side.adding.Unlock()
	for host, wants := range hosts {
		if err := s.settle(ctx, host, wants, s.resting); err != nil {
			return err
		}
	}
	clear(s.side.behind)
	err = s.side.change()
	if err == nil {
		if err = s.side.check(ctx); err != nil {
			err = errors.Join(err, s.side.change())
		}
	}
	if err != nil {
		return fmt.Errorf("send requests to the other side: %w", err)
	}
	return nil
}

// resting has members added to the balancer that nobody is sent to.
func (s *apacheSync) resting(w *apacheWant, page apachePage) ([]apacheChange, error) {
	_, rest, err := s.side.of(page, w.balancer)
	if err == nil && rest == nil {
		err = fmt.Errorf("%s has no double to which a member could be added", w.balancer)
	}
	if err != nil {
		return nil, err
	}
	return w.changes(rest, true), nil
}

// both has what the two know changed, in the one at rest too: a request that was there
// before may still go on to another member.
func (s *apacheSync) both(w *apacheWant, page apachePage) ([]apacheChange, error) {
	active, rest, err := s.side.of(page, w.balancer)
	switch {
	case err != nil:
		return nil, err
	case active == nil:
		return nil, fmt.Errorf("%s is not there any more", w.balancer)
	case w.joins(active):
		return nil, errors.New("requests go to where not all members are")
	}
	list := w.changes(active, false)
	if rest == nil {
		return list, nil
	}
	if w.joins(rest) {
		s.side.behind[w.pool.Name] = true
	}
	return append(list, w.changes(rest, false)...), nil
}

// settle does a part with the balancers of a host until their manager, asked after all
// changes, says that they are as they should be.
func (s *apacheSync) settle(ctx context.Context, host apacheHost, wants []*apacheWant, part apachePart) error {
	const rounds = 5 // to add, to enable, to drain, to look; and once more for a change that was lost
	for range rounds {
		page, err := s.page(ctx, host)
		if err != nil {
			return err
		}
		var changes []apacheChange
		for _, w := range wants {
			list, err := part(w, page)
			if err != nil {
				return err
			}
			changes = append(changes, list...)
		}
		if len(changes) == 0 && s.fresh[host] {
			return nil
		}
		delete(s.pages, host) // it is not what it was, whatever the answer
		for i, c := range changes {
			// Nobody reads the lists any more when the manager's answer has come to its end.
			last := i == len(changes)-1 || changes[i+1].adds()
			if page, err = s.managers.change(ctx, host, c, last); err != nil {
				return err
			}
		}
		if len(changes) > 0 {
			s.pages[host], s.fresh[host] = page, true
		}
	}
	return errors.New("the balancer manager does not do what it is asked for")
}

// page gives what the manager of a host said last.
func (s *apacheSync) page(ctx context.Context, host apacheHost) (apachePage, error) {
	if page := s.pages[host]; page != nil {
		return page, nil
	}
	page, err := s.managers.read(ctx, host)
	if err == nil {
		s.pages[host], s.fresh[host] = page, true
	}
	return page, err
}

// count notes the members that are not as they should be.
func (s *apacheSync) count(w *apacheWant, b *apacheBalancer) {
	for _, address := range w.wrong(b) {
		s.wrong[apacheMember{w.pool.Name, address}] = true
	}
}

// left notes the members that got requests before and get none now, and those that finish
// what they had before this program knew them.
func (s *apacheSync) left(wants []*apacheWant, before, now apachePage) {
	for _, w := range wants {
		active := map[string]bool{}
		for _, b := range before.both(w.balancer) {
			for _, worker := range b.workers {
				active[worker.address()] = active[worker.address()] || !worker.off()
			}
		}
		for _, b := range now.both(w.balancer) {
			for _, worker := range b.workers {
				if worker.off() && w.factors[worker.address()] == 0 && (active[worker.address()] || worker.busy > 0) {
					s.gone[apacheMember{w.pool.Name, worker.address()}] = true
				}
			}
		}
	}
}

// apacheHosts gives the balancers of the pools that match, by their hosts: a manager tells
// about all of its host at once.
func apacheHosts(want Members, match func(*Pool) bool) (map[apacheHost][]*apacheWant, error) {
	hosts := map[apacheHost][]*apacheWant{}
	for _, p := range want.Pools {
		if !match(p) {
			continue
		}
		for _, place := range p.Places {
			host, balancer, err := parseApachePlace(place)
			if err != nil {
				return nil, err
			}
			hosts[host] = append(hosts[host], newApacheWant(balancer, p))
		}
	}
	return hosts, nil
}
