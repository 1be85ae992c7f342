package announcer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// lookOpening is how often an opening looks what there is to wait for.
	lookOpening = 50 * time.Millisecond
	// maxOpening bounds the services that are waited for at once.
	maxOpening = 100
	// maxNamed bounds how many instances are named at once: a machine may hold thousands.
	maxNamed = 10
)

// An Opening holds a start up until every balancer routes to the instances that are there:
// the mirror image of a withdrawal. It lasts no longer than its limit, because a balancer
// that is behind is no reason to take a container that is well for one that has failed.
type Opening struct {
	Announcer *Announcer
	Written   func() error // nil once etcd has the records as they should be
	Waiter    *Waiter
	Limit     time.Duration
	Logger    *slog.Logger

	mu      sync.Mutex
	waiting []string // what it waits for, sorted; none before that is known
	over    bool
}

// Run waits until it is over, then until ctx is done, whose error it returns.
func (o *Opening) Run(ctx context.Context) error {
	o.wait(ctx)
	o.set(nil, true)
	<-ctx.Done()
	return ctx.Err()
}

// Check is a condition of readiness.
func (o *Opening) Check() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.over:
		return nil
	case len(o.waiting) == 0:
		return errors.New("it is not known yet what balancers are to route to")
	default:
		return fmt.Errorf("not every balancer is known to route to %s yet", strings.Join(few(o.waiting), ", "))
	}
}

func (o *Opening) set(waiting []string, over bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.waiting, o.over = waiting, over
}

// wait waits until it is over, and says what came of it.
func (o *Opening) wait(parent context.Context) {
	began := time.Now()
	ctx, cancel := context.WithTimeout(parent, o.Limit)
	defer cancel()
	ids, err := o.expected(ctx)
	var uncovered []string
	for err == nil && len(ids) > 0 {
		o.set(ids, false)
		round, stop := context.WithCancel(ctx)
		rest := make(chan []string, 1)
		go func() { rest <- o.remaining(round, ids, stop) }()
		uncovered, err = o.routed(round, ids)
		stop()
		still := <-rest
		if err == nil || len(still) == len(ids) {
			break
		}
		if ids, err = still, nil; len(ids) == 0 {
			ids, err = o.expected(ctx)
		}
	}
	switch took := time.Since(began).Round(time.Millisecond); {
	case parent.Err() != nil: // it is told to stop
	case err != nil:
		o.Logger.Warn("ready, although not every balancer is known to route to what is here", "reasons", o.reasons(ids, err), "waited", took)
	case len(ids) == 0:
		o.Logger.Info("ready without waiting: nothing is here that a balancer would route to")
	case len(uncovered) > 0:
		o.Logger.Info("routed, but for services that no renderer covers: there is nobody to wait for", "instances", few(ids), "uncovered", few(uncovered), "took", took)
	default:
		o.Logger.Info("routed by every renderer", "instances", few(ids), "took", took)
	}
}

// expected gives what is to be routed to, once that is known. The sidekick of one container
// waits for that to be there.
func (o *Opening) expected(ctx context.Context) ([]string, error) {
	var alive map[string]Standing
	known := func() bool {
		if o.Announcer.Ready() != nil {
			return false
		}
		alive = o.Announcer.Alive()
		return len(alive) > 0 || !o.Announcer.cfg.Rules.Single
	}
	if !until(ctx, known) {
		return nil, o.nothing()
	}
	maps.DeleteFunc(alive, func(_ string, s Standing) bool { return !s.Wanted() })
	return slices.Sorted(maps.Keys(alive)), nil
}

// remaining gives those of the ids that are still to be routed to when ctx is done, or as
// soon as one is not, which it tells.
func (o *Opening) remaining(ctx context.Context, ids []string, tell func()) []string {
	rest := ids
	if until(ctx, func() bool {
		alive := o.Announcer.Alive()
		rest = slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return !alive[id].Wanted() })
		return len(rest) < len(ids)
	}) {
		tell()
	}
	return rest
}

// until looks again and again until found; false when ctx is done first.
func until(ctx context.Context, found func() bool) bool {
	tick := time.NewTicker(lookOpening)
	defer tick.Stop()
	for !found() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// routed waits until the instances are routed to, and gives the services that no renderer
// covers. The error says of each other service who is behind.
func (o *Opening) routed(ctx context.Context, ids []string) (uncovered []string, err error) {
	// What an earlier run has left in etcd may be routed to already, and lead elsewhere.
	var unwritten error
	if !until(ctx, func() bool { unwritten = o.Written(); return unwritten == nil }) {
		return nil, unwritten
	}
	byService := map[string][]string{}
	for _, id := range ids {
		service, instance, _ := strings.Cut(id, "/")
		byService[service] = append(byService[service], instance)
	}
	services := slices.Sorted(maps.Keys(byService))
	counts, errs := make([]int, len(services)), make([]error, len(services))
	var g errgroup.Group
	g.SetLimit(maxOpening)
	for n, service := range services {
		g.Go(func() error {
			counts[n], errs[n] = o.Waiter.Routed(ctx, service, byService[service]...)
			return nil
		})
	}
	_ = g.Wait() // errs has them all
	for n, service := range services {
		if errs[n] == nil && counts[n] == 0 {
			uncovered = append(uncovered, service)
		}
	}
	return uncovered, errors.Join(errs...)
}

// nothing says why it never became known what is to be routed to.
func (o *Opening) nothing() error {
	if err := o.Announcer.Ready(); err != nil {
		return err
	}
	for _, d := range o.Announcer.Decisions() {
		if d.Err != nil {
			return fmt.Errorf("nothing of %s is announced: %s", d.Container, Why(d.Err))
		}
	}
	return errors.New("the container is not there")
}

// reasons says what was lacking when time was up: which instances are not announced and
// why, and who does not route to those that are.
func (o *Opening) reasons(ids []string, err error) string {
	var all []string
	alive := o.Announcer.Alive()
	for _, id := range ids {
		if why := alive[id].Absent; why != nil {
			all = append(all, id+" is not announced: "+Why(why))
		}
	}
	late := ": " + context.DeadlineExceeded.Error()
	for line := range strings.Lines(err.Error()) {
		line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), late)
		if len(all) == 0 || !strings.HasSuffix(line, " is not announced") {
			all = append(all, line)
		}
	}
	return strings.Join(few(all), "; ")
}

// few names some, and says how many more there are.
func few(names []string) []string {
	if len(names) <= maxNamed {
		return names
	}
	return append(slices.Clone(names[:maxNamed]), fmt.Sprintf("and %d more", len(names)-maxNamed))
}
