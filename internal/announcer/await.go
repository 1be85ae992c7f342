package announcer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"rollcall/internal/discovery"
)

// Renderers follows the live renderers' acknowledgements.
type Renderers func(ctx context.Context, handle func([]*discovery.Acknowledgement)) error

// Service follows one service's instances, with the revision they were seen at.
type Service func(ctx context.Context, service string, handle func([]*discovery.Instance, int64)) error

// A Waiter waits for what renderers prove, each by its lease alive: one that died
// is not waited for. Where nothing covers a service there is nobody to wait for.
type Waiter struct {
	Prefix    string
	Renderers Renderers
	Services  Service
}

// ErrNotAnnounced says that there is nothing to wait for, and so nothing proven.
var ErrNotAnnounced = errors.New("it is not announced")

// ErrWeightless says that an instance is announced with weight 0, and so never routed to.
var ErrWeightless = errors.New("has weight 0: no balancer sends it anything")

// Gone is what is known of an instance's end beyond what etcd tells.
type Gone struct {
	// Since is the revision at which it went, for one that is gone at the first look;
	// 0 if nobody knows, which proves nothing about what balancers do.
	Since int64
	// Order, if not nil, brings the end about. It is called when the instance has been
	// seen to be there: an end that comes before the first look leaves no trace.
	Order func() error
	// Seen, if not nil, is told the revision when the end is seen.
	Seen func(revision int64) error
}

// Drained waits until every renderer is done with each instance that was removed, by its
// id ("service/instance", or a service for any of it) and the revision it was removed at, and
// with what the dead were sent, who are known by service only: their requests have ended
// with them, and so none has to be waited for, but none may follow either. It gives the
// number of renderers that are. At ctx's end the error names those that are not.
func (w *Waiter) Drained(ctx context.Context, removed, dead map[string]int64) (int, error) {
	if len(removed)+len(dead) == 0 {
		return 0, nil
	}
	ends := ends(removed, dead)
	return w.proven(ctx, func(a *discovery.Acknowledgement) (covers bool, behind string) {
		var open []end
		for _, e := range ends {
			if a.Covers(w.Prefix, e.service) {
				covers = true
				if !e.over(a) {
					open = append(open, e)
				}
			}
		}
		return covers, lacking(a, open)
	})
}

// Routed waits until the instances (those named, or all of the service) are in etcd and
// every renderer that covers the service sends requests to them. ErrWeightless says that
// none ever will; where a service as a whole is meant, it is so of all of it.
func (w *Waiter) Routed(ctx context.Context, service string, names ...string) (int, error) {
	for {
		var wanted []*discovery.Instance
		var missing string
		_, err := w.observe(ctx, service, func() string { return missing + " is not announced" }, func(instances []*discovery.Instance, _ int64) (int64, bool) {
			wanted, missing = matching(instances, service, names)
			return 0, missing == ""
		})
		if err != nil {
			return 0, err
		}
		if wanted, err = weighty(wanted, len(names) > 0); err != nil {
			return 0, err
		}
		n, err := w.routed(ctx, service, wanted)
		if err != nil {
			return n, err
		}
		// A renderer that has applied the removal has applied the record too.
		still := false
		_, err = w.observe(ctx, service, func() string { return service + " is routed" }, func(instances []*discovery.Instance, _ int64) (int64, bool) {
			still = !slices.ContainsFunc(wanted, func(i *discovery.Instance) bool {
				return !slices.ContainsFunc(instances, func(o *discovery.Instance) bool { return o.Name == i.Name && o.Revision == i.Revision })
			})
			return 0, true
		})
		if err != nil {
			return 0, err
		}
		if still {
			return n, nil
		}
	}
}

// weighty leaves out the instances that no balancer sends anything to, which is wrong if
// each of them is meant.
func weighty(instances []*discovery.Instance, each bool) ([]*discovery.Instance, error) {
	var rest []*discovery.Instance
	for _, i := range instances {
		if i.Weight > 0 {
			rest = append(rest, i)
		} else if each {
			return nil, fmt.Errorf("%s %w", i.ID(), ErrWeightless)
		}
	}
	if len(rest) == 0 {
		return nil, fmt.Errorf("all of %s %w", instances[0].Service, ErrWeightless)
	}
	return rest, nil
}

// routed waits until every renderer that covers the service routes to the instances.
func (w *Waiter) routed(ctx context.Context, service string, wanted []*discovery.Instance) (int, error) {
	return w.proven(ctx, func(a *discovery.Acknowledgement) (covers bool, behind string) {
		if !a.Covers(w.Prefix, service) {
			return false, ""
		}
		for _, i := range wanted {
			switch {
			case a.Applied < i.Revision:
				return true, fmt.Sprintf("has applied revision %d of %d", a.Applied, i.Revision)
			case !a.Routes(w.Prefix, i):
				return true, fmt.Sprintf("cannot route to %s at %s", i.ID(), i.Endpoint())
			}
		}
		return true, ""
	})
}

// Announced waits until the instance is in etcd.
func (w *Waiter) Announced(ctx context.Context, service, instance string) error {
	id := name(service, instance)
	_, err := w.observe(ctx, service, func() string { return id + " is not announced" }, func(instances []*discovery.Instance, _ int64) (int64, bool) {
		return 0, there(instances, instance)
	})
	return err
}

// Gone waits until the instances (all of the service, or the one named) have left
// etcd and every renderer that covers the service has drained them. ErrNotAnnounced
// says that they were not there, and nobody knows since when.
func (w *Waiter) Gone(ctx context.Context, service, instance string, gone Gone) (int, error) {
	seen := false
	var failed error
	id := name(service, instance)
	revision, err := w.observe(ctx, service, func() string { return id + " is still announced" }, func(instances []*discovery.Instance, revision int64) (int64, bool) {
		there := there(instances, instance)
		switch {
		case !there && !seen:
			return gone.Since, true
		case !seen && gone.Order != nil:
			failed = gone.Order()
		}
		seen = true
		return revision, !there || failed != nil
	})
	if err := errors.Join(failed, err); err != nil {
		return 0, err
	}
	if revision == 0 {
		return 0, fmt.Errorf("%s: %w", id, ErrNotAnnounced)
	}
	if seen && gone.Seen != nil {
		if err := gone.Seen(revision); err != nil {
			return 0, err
		}
	}
	return w.Drained(ctx, map[string]int64{id: revision}, nil)
}

// Held says whether a renderer names the instance as one that it routes to, or may yet,
// although its record is gone. When none does, silent are those that do not name them all.
func (w *Waiter) Held(ctx context.Context, service, instance string) (held bool, silent []string, err error) {
	_, err = w.proven(ctx, func(a *discovery.Acknowledgement) (covers bool, behind string) {
		covers = a.Covers(w.Prefix, service)
		switch {
		case !covers:
		case a.NamesHeld(name(service, instance)):
			held = true
		case a.MoreHeld:
			silent = append(silent, a.ID+" on "+a.Node)
		}
		return covers, ""
	})
	return held, silent, err
}

// proven waits until judge finds nobody behind, and gives the number of those that cover.
func (w *Waiter) proven(ctx context.Context, judge func(*discovery.Acknowledgement) (covers bool, behind string)) (int, error) {
	watch, stop := context.WithCancel(ctx)
	defer stop()
	done, covering := false, 0
	pending := []string{"etcd, which does not answer"}
	err := w.Renderers(watch, func(acks []*discovery.Acknowledgement) {
		if done {
			return
		}
		covering, pending = 0, nil
		for _, a := range acks {
			covers, behind := judge(a)
			if covers {
				covering++
			}
			if behind == "" {
				continue
			}
			if a.LastError != "" {
				behind += " (" + printable(a.LastError) + ")"
			}
			pending = append(pending, fmt.Sprintf("%s on %s, which %s", a.ID, a.Node, behind))
		}
		if len(pending) == 0 {
			done = true
			stop()
		}
	})
	if done {
		return covering, nil
	}
	return covering, fmt.Errorf("not confirmed by %s: %w", strings.Join(pending, "; "), err)
}

// observe follows a service until ok, and gives the revision that was found. Still is
// what the error says when ok never came about.
func (w *Waiter) observe(ctx context.Context, service string, still func() string, ok func([]*discovery.Instance, int64) (int64, bool)) (int64, error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var found int64
	reached, heard := false, false
	err := w.Services(ctx, service, func(instances []*discovery.Instance, revision int64) {
		heard = true
		if !reached {
			if found, reached = ok(instances, revision); reached {
				stop()
			}
		}
	})
	if reached {
		return found, nil
	}
	if !heard {
		return 0, fmt.Errorf("etcd does not tell of service %s: %w", service, err)
	}
	return 0, fmt.Errorf("%s: %w", still(), err)
}

// matching gives the named instances, or all of the service, and the id of one that is missing.
func matching(instances []*discovery.Instance, service string, names []string) (found []*discovery.Instance, missing string) {
	if len(names) == 0 {
		if len(instances) == 0 {
			missing = service
		}
		return instances, missing
	}
	for _, n := range names {
		at := slices.IndexFunc(instances, func(i *discovery.Instance) bool { return i.Name == n })
		if at < 0 {
			return nil, name(service, n)
		}
		found = append(found, instances[at])
	}
	return found, ""
}

// there says whether the instance of that name is, or any.
func there(instances []*discovery.Instance, name string) bool {
	return slices.ContainsFunc(instances, func(i *discovery.Instance) bool { return name == "" || i.Name == name })
}

func name(service, instance string) string {
	if instance == "" {
		return service
	}
	return service + "/" + instance
}
