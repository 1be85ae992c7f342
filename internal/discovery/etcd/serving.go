package etcd

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"rollcall/internal/discovery"
)

const (
	// firstAnswer is how long etcd may take at the start before the cache is served.
	firstAnswer = 300 * time.Millisecond
	// openPatience is how long a catalog waits for the answer whether what vanished of
	// it was deleted. It takes one round trip.
	openPatience = 100 * time.Millisecond
)

// serving is one run of a Source.
type serving struct {
	*Source
	handle func(*discovery.Catalog)
	tasks  sync.WaitGroup

	assembler *discovery.Assembler
	guard     *discovery.Guard
	answers   chan answer
	cache     *cache
	last      *discovery.Catalog // as handed over; nil before the first
	cluster   uint64             // whose listing was the last; 0 before the first

	waiting <-chan time.Time // for an answer; nil while nothing does
	next    *time.Timer      // when to judge again

	orders     chan map[string]bool // nil unless something is held, or may yet be
	stopOrders context.CancelFunc
}

// Run hands over a catalog after the first listing and after every change, from
// one goroutine, until ctx is done, whose error it returns. Records that are not
// valid are named in the log once and left out. A catalog's revision is that of the
// last change it shows; what it holds, see discovery.Guard, is marked. When etcd does
// not answer at the start, what the cache remembers is handed over first.
func (s *Source) Run(ctx context.Context, handle func(*discovery.Catalog)) error {
	ctx, cancel := context.WithCancel(ctx)
	r := &serving{
		Source: s, handle: handle, guard: discovery.NewGuard(s.cfg.Prefix, s.cfg.MaxLoss, s.cfg.Hold),
		answers: make(chan answer), next: time.NewTimer(time.Hour), stopOrders: func() {},
		cache: newCache(s.cfg.Cache, s.cfg.Prefix, s.logger, s.unwritten.Inc),
	}
	r.next.Stop()
	defer func() {
		cancel()
		r.next.Stop()
		r.tasks.Wait()
	}()
	updates := make(chan update)
	r.tasks.Go(func() {
		_ = s.follower.run(ctx, func(u update) {
			select {
			case updates <- u:
			case <-ctx.Done():
			}
		})
	})
	r.tasks.Go(func() { r.cache.run(ctx) })
	first := time.After(firstAnswer)
	remembered := r.remember()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case u := <-updates:
			if !r.learn(ctx, u) {
				first = time.After(firstAnswer)
				continue
			}
			remembered = nil // a later listing that comes to no end must not bring it back
			r.serve(ctx, false)
		case <-first:
			if remembered != nil {
				s.logger.Warn("etcd does not answer; the cache tells what was there", "cache", s.cfg.Cache, "revision", remembered.Revision, "instances", remembered.Len())
				r.give(remembered)
				remembered = nil
			}
		case a := <-r.answers:
			r.hear(a)
			r.hearOthers()
			r.serve(ctx, false)
		case ids := <-r.orders:
			r.guard.Excuse(ids)
			r.serve(ctx, false)
		case <-r.waiting:
			r.serve(ctx, true)
		case <-r.next.C:
			r.serve(ctx, false)
		}
	}
}

// remember reads the cache. What it says counts for a loss later on, unless it was
// written longer ago than anything is held.
func (r *serving) remember() *discovery.Catalog {
	c, written := r.cache.read()
	if c != nil && time.Since(written) < r.cfg.Hold {
		r.guard.Observe(c, time.Now())
	}
	return c
}

// learn takes in an update, and says whether there is a catalog now.
func (r *serving) learn(ctx context.Context, u update) bool {
	r.events.Add(float64(len(u.events)))
	if r.guard.Mourning() {
		// What returns and goes again at once has been deleted: nobody may miss it.
		for at := 0; at < len(u.events); {
			n := at
			for n < len(u.events) && u.events[n].Kv.ModRevision == u.events[at].Kv.ModRevision {
				n++
			}
			r.observe(ctx, update{events: u.events[at:n], revision: u.events[at].Kv.ModRevision})
			at = n
		}
		if len(u.events) > 0 {
			return true
		}
	}
	return r.observe(ctx, u)
}

func (r *serving) observe(ctx context.Context, u update) bool {
	r.assembler = u.assemble(r.assembler, r.cfg.Prefix)
	live := r.assembler.Catalog(u.revision) // decodes, which lets go of the values
	if u.partial {
		return false
	}
	if len(u.events) == 0 {
		r.listings.Inc()
		r.compare(u, live)
	}
	if suspects := r.guard.Observe(live, time.Now()); len(suspects) > 0 {
		r.inquire(ctx, suspects)
	}
	return true
}

// compare says when a listing cannot be of the history that was followed until now:
// somebody restored a backup, or gave etcd's address to another cluster.
func (r *serving) compare(u update, live *discovery.Catalog) {
	another := r.cluster != 0 && r.cluster != u.cluster
	r.cluster = u.cluster
	if r.last != nil && (another || u.revision < r.last.Revision) {
		r.logger.Warn("etcd's history is another one: it was restored, or another cluster answers; what it tells now counts",
			"revision", u.revision, "was", r.last.Revision, "gone", len(discovery.Vanished(r.last, live)), "cluster", fmt.Sprintf("%x", u.cluster))
	}
}

func (r *serving) hear(a answer) {
	if a.lives {
		r.guard.Acquit(a.instances)
	} else {
		r.guard.Confirm(a.instances)
	}
}

// hearOthers takes in the answers that are there as well: to judge a large service once
// for each of a thousand machines would take a minute.
func (r *serving) hearOthers() {
	for {
		select {
		case a := <-r.answers:
			r.hear(a)
		default:
			return
		}
	}
}

// serve hands over what the guard makes of it all, if that is new. While it is open
// whether something was deleted it waits a moment for the answer.
func (r *serving) serve(ctx context.Context, impatient bool) {
	v := r.guard.Judge(time.Now())
	if r.next.Stop(); !v.Next.IsZero() {
		r.next.Reset(time.Until(v.Next))
	}
	if v.Open && !impatient && v.Catalog != r.last {
		if r.waiting == nil {
			r.waiting = time.After(r.patience)
		}
		return
	}
	r.waiting = nil
	r.obey(ctx, v.Lost || len(v.Held) > 0)
	if !v.Open {
		r.mark(v)
	}
	if v.Catalog == r.last {
		return
	}
	r.give(v.Catalog)
	r.cache.keep(v.Catalog)
}

func (r *serving) give(c *discovery.Catalog) {
	r.last = c
	r.report(c)
	r.handle(c)
}

// obey follows the orders to let go while there is something to let go.
func (r *serving) obey(ctx context.Context, holding bool) {
	if holding == (r.orders != nil) {
		return
	}
	r.stopOrders()
	r.orders = nil
	if !holding {
		r.guard.Excuse(nil)
		return
	}
	orders := make(chan map[string]bool)
	ctx, r.stopOrders = context.WithCancel(ctx)
	r.orders = orders
	d := NewDrains(r.client, r.logger)
	d.farewell = true
	r.tasks.Go(func() {
		_ = d.Run(ctx, func(ids map[string]bool) {
			select {
			case orders <- ids:
			case <-ctx.Done():
			}
		})
	})
}

// mark says once for each service that its instances are held, and when they are not
// any more.
func (r *serving) mark(v discovery.Verdict) {
	if len(v.Held)+len(r.holding) == 0 {
		return
	}
	held := 0
	for _, service := range slices.Sorted(maps.Keys(v.Held)) {
		held += v.Held[service]
		if !r.holding[service] {
			r.holds.Inc()
			r.logger.Warn("too many instances lost their leases together; holding them", "service", service, "held", v.Held[service], "until", time.Now().Add(r.cfg.Hold).Format(time.RFC3339))
		}
	}
	for _, service := range slices.Sorted(maps.Keys(r.holding)) {
		if v.Held[service] == 0 {
			r.logger.Info("instances are held no longer", "service", service)
		}
	}
	r.holding = map[string]bool{}
	for service := range v.Held {
		r.holding[service] = true
	}
	r.held.Set(float64(held))
}

// report sets the metrics and names what was refused since the last catalog.
func (s *Source) report(c *discovery.Catalog) {
	s.revision.Set(float64(c.Revision))
	s.instances.Set(float64(c.Len()))
	s.refused.Set(float64(len(c.Refused)))
	now := make(map[string]string, len(c.Refused))
	for _, r := range c.Refused {
		now[r.Key] = r.Reason
		switch {
		case s.refusals[r.Key] == r.Reason:
		case r.Incomplete:
			s.logger.Debug("record is not complete yet", "key", r.Key, "reason", r.Reason)
		default:
			s.logger.Warn("record refused", "key", r.Key, "reason", r.Reason, "revision", r.Revision)
		}
	}
	s.refusals = now
}
