package announcer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

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

// Drained waits until every renderer has drained what was removed from each service
// at the given revision, and gives the number of renderers that did. At ctx's end
// the error names those that had not.
func (w *Waiter) Drained(ctx context.Context, revisions map[string]int64) (int, error) {
	if len(revisions) == 0 {
		return 0, nil
	}
	return w.proven(ctx, func(a *discovery.Acknowledgement) (covers bool, behind string) {
		var want int64
		for service, revision := range revisions {
			if a.Covers(w.Prefix, service) {
				covers = true
				want = max(want, revision)
			}
		}
		if a.Drained < want {
			behind = fmt.Sprintf("has drained revision %d of %d", a.Drained, want)
		}
		return covers, behind
	})
}

// Routed waits until the instances (all of the service, or the one named) are in
// etcd and every renderer that covers the service sends requests to them.
func (w *Waiter) Routed(ctx context.Context, service, instance string) (int, error) {
	for {
		var wanted []*discovery.Instance
		_, err := w.observe(ctx, service, name(service, instance)+" is not announced", func(instances []*discovery.Instance, _ int64) (int64, bool) {
			wanted = matching(instances, instance)
			return 0, len(wanted) > 0
		})
		if err != nil {
			return 0, err
		}
		n, err := w.routed(ctx, service, wanted)
		if err != nil {
			return n, err
		}
		// A renderer that has applied the removal has applied the record too.
		still := false
		_, err = w.observe(ctx, service, name(service, instance)+" is routed", func(instances []*discovery.Instance, _ int64) (int64, bool) {
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
	_, err := w.observe(ctx, service, name(service, instance)+" is not announced", func(instances []*discovery.Instance, _ int64) (int64, bool) {
		return 0, len(matching(instances, instance)) > 0
	})
	return err
}

// Gone waits until the instances (all of the service, or the one named) have left
// etcd and every renderer that covers the service has drained them. ErrNotAnnounced
// says that they were not there, and nobody knows since when.
func (w *Waiter) Gone(ctx context.Context, service, instance string, gone Gone) (int, error) {
	seen := false
	var failed error
	revision, err := w.observe(ctx, service, name(service, instance)+" is still announced", func(instances []*discovery.Instance, revision int64) (int64, bool) {
		there := len(matching(instances, instance)) > 0
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
		return 0, fmt.Errorf("%s: %w", name(service, instance), ErrNotAnnounced)
	}
	if seen && gone.Seen != nil {
		if err := gone.Seen(revision); err != nil {
			return 0, err
		}
	}
	return w.Drained(ctx, map[string]int64{service: revision})
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
func (w *Waiter) observe(ctx context.Context, service, still string, ok func([]*discovery.Instance, int64) (int64, bool)) (int64, error) {
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
	return 0, fmt.Errorf("%s: %w", still, err)
}

// matching gives the instance of that name, or all.
func matching(instances []*discovery.Instance, name string) []*discovery.Instance {
	if name == "" {
		return instances
	}
	return slices.DeleteFunc(slices.Clone(instances), func(i *discovery.Instance) bool { return i.Name != name })
}

func name(service, instance string) string {
	if instance == "" {
		return service
	}
	return service + "/" + instance
}

// printable makes one line of what a renderer wrote, which may be all that its server said.
func printable(s string) string {
	const most = 300
	line := strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if len(line) > most {
		return strings.ToValidUTF8(line[:most], "") + "…"
	}
	return line
}
