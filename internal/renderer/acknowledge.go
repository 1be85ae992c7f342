package renderer

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"rollcall/internal/discovery"
	"rollcall/internal/reload"
)

const (
	// maxDraining bounds the revisions whose older workers are waited for at once.
	maxDraining = 64
	// maxNames and maxError bound, in bytes, what an acknowledgement tells: readers
	// refuse one above 64 KiB, and would wait for its renderer no longer. The status
	// tells everything.
	maxNames = 16 << 10 // of those that are skipped, of those that are held, of those that are busy
	maxError = 1 << 10
	// maxNamed bounds how many instances one line of the log names.
	maxNamed = 20
)

// A moment is a revision in one of the histories that etcd has had.
type moment struct {
	history  int
	revision int64
}

// served notes and acknowledges that every worker that accepts follows a rendering.
func (r *Renderer) served(ctx context.Context, a *rendering, o reload.Outcome, took time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.announce(a)
	r.metrics.served(o)
	r.note(a, o, took, time.Now())
	if !a.ahead { // or what keeps its files from following would be said with each change
		r.said = ""
	}
	r.letGo(ctx, a, o)
	r.good, r.old = a, o.Old
	r.part(ctx, o.Leaving)
	if a.newest.Stale || r.at != r.history {
		return // what a cache said, or etcd before it was restored, proves nothing about what is in it
	}
	r.metrics.revision.Set(float64(a.newest.Revision))
	r.ack.Generation = a.candidate.Generation
	if !r.status.Unwritten {
		r.ack.Healthy, r.ack.LastError = true, ""
	}
	r.ack.Skipped = bounded(a.skipped)
	r.ack.More = len(r.ack.Skipped) < len(a.skipped)
	r.ack.Applied = a.newest.Revision
	r.finish(ctx, a.newest.Revision, o.Old)
	r.acknowledge()
}

// part follows members that get no new requests until the last of theirs is over. They
// were removed by a revision that is not acknowledged yet, perhaps in an attempt that has
// failed. To be called with the mutex held, before the next one is.
func (r *Renderer) part(ctx context.Context, list []*reload.Leaver) {
	for _, l := range list {
		if _, known := r.leavers[l]; known || l.Over() {
			continue
		}
		r.leavers[l] = r.ack.Applied + 1
		r.waits.Go(func() {
			if l.Wait(ctx) != nil {
				return
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			delete(r.leavers, l)
			if r.ack.Applied > 0 {
				r.acknowledge()
			}
		})
	}
}

// letGo notes who is held no longer. Requests to them may still be running, and that they
// are not any more is proven by no revision: to be let go happens at none. So they are
// called held until all older workers are gone, and all that leave.
func (r *Renderer) letGo(ctx context.Context, a *rendering, o reload.Outcome) {
	if r.good == nil {
		return
	}
	ids := unknown(r.good.held, slices.Sorted(slices.Values(a.held)))
	if len(ids) == 0 {
		return
	}
	for _, id := range ids {
		r.leaving[id]++
	}
	r.waits.Go(func() {
		if o.Old.Wait(ctx) != nil {
			return
		}
		for _, l := range o.Leaving {
			if l.Wait(ctx) != nil {
				return
			}
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, id := range ids {
			if r.leaving[id]--; r.leaving[id] == 0 {
				delete(r.leaving, id)
			}
		}
		if r.ack.Applied > 0 {
			r.acknowledge()
		}
	})
}

// acknowledge tells what is proven, and names who is held, who was, and who may yet be:
// what was proven gone must not be back. As long as nothing is finished, there may be
// workers of an earlier run, and nobody knows any more whom that held. To be called with
// the mutex held.
func (r *Renderer) acknowledge() {
	r.reckon()
	held := slices.Sorted(maps.Keys(r.leaving))
	if r.good != nil {
		held = slices.Concat(held, r.good.held)
	}
	if r.catalog != nil {
		held = slices.Concat(held, r.catalog.Mourned, returning(r.good, r.catalog))
	}
	slices.Sort(held)
	held = slices.Compact(held)
	r.ack.Held = bounded(held)
	r.ack.MoreHeld = len(r.ack.Held) < len(held) || r.ack.Finished == 0
	r.cfg.Acknowledger.Set(r.ack)
}

// reckon works out what is drained: what is finished, but for what a member that leaves
// was removed by. To be called with the mutex held.
func (r *Renderer) reckon() {
	drained := r.ack.Finished
	var leaving, busy []string
	for l, revision := range r.leavers {
		drained = min(drained, revision-1)
		id := l.Pool + "/" + l.Member
		leaving = append(leaving, id)
		if l.Member == l.Address { // from an earlier run: which of the service it was nobody knows
			id = l.Pool
		}
		busy = append(busy, id)
	}
	r.ack.Drained = max(r.ack.Drained, drained)
	r.status.Drained = r.ack.Drained
	slices.Sort(leaving)
	r.status.Leaving = slices.Compact(leaving)
	slices.Sort(busy)
	busy = slices.Compact(busy)
	r.ack.Busy = bounded(busy)
	r.ack.MoreBusy = len(r.ack.Busy) < len(busy)
}

// returning gives those that the newest catalog holds and that are not in service: they
// are mourned no longer, and served before long.
func returning(good *rendering, newest *discovery.Catalog) (ids []string) {
	was := &discovery.Catalog{}
	if good != nil {
		was = good.newest
	}
	pairs(was, newest, func(_ string, before, now *discovery.Service) {
		if before == now {
			return
		}
		eachInstance(before, now, func(before, now *discovery.Instance) {
			if before == nil && now.Held {
				ids = append(ids, now.ID())
			}
		})
	})
	return ids
}

// announce logs what is new about a rendering that is not as somebody wanted it.
func (r *Renderer) announce(a *rendering) {
	var lost map[Route]string
	if r.good != nil {
		lost = r.good.lost
	}
	for _, route := range slices.SortedFunc(maps.Keys(a.lost), compareRoutes) {
		if lost[route] != a.lost[route] {
			r.cfg.Logger.Warn("route refused: another service has it", "route", route.String(), "owner", a.lost[route])
		}
	}
	if news := unknown(a.skipped, r.status.Skipped); len(news) > 0 {
		r.cfg.Logger.Warn("instances are in the catalog but cannot be routed to", "instances", news[:min(len(news), maxNamed)], "new", len(news), "skipped", len(a.skipped))
	}
	if news := unknown(a.held, r.status.Held); len(news) > 0 {
		r.cfg.Logger.Warn("instances are routed to although their records are gone", "instances", news[:min(len(news), maxNamed)], "new", len(news), "held", len(a.held))
	}
}

// unknown gives the names that are not in a sorted list.
func unknown(names, known []string) []string {
	var news []string
	for _, name := range names {
		if _, ok := slices.BinarySearch(known, name); !ok {
			news = append(news, name)
		}
	}
	return news
}

// finish acknowledges a revision as finished once the workers of older configurations
// are gone. Long connections may take hours: the wait is bounded in number, and the
// periodic check takes up what did not find a place.
// To be called with the mutex held.
func (r *Renderer) finish(ctx context.Context, revision int64, old reload.Workers) {
	m := moment{r.history, revision}
	if r.ack.Finished >= revision || r.draining[m] || len(r.draining) >= maxDraining {
		return
	}
	r.draining[m] = true
	r.waits.Go(func() {
		err := old.Wait(ctx)
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.draining, m)
		if err == nil && m.history == r.history && revision > r.ack.Finished {
			r.ack.Finished = revision
			r.acknowledge()
		}
		if err == nil && r.ack.Applied > r.ack.Finished { // it may not have found a place
			r.finish(ctx, r.ack.Applied, r.old)
		}
	})
}

// failed notes why the newest catalog is not served, and says so when the reason is new.
func (r *Renderer) failed(ctx context.Context, c *discovery.Catalog, a *rendering, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	attrs := []any{"revision", c.Revision, "err", err}
	reason := describe(err)
	if step, ok := errors.AsType[*reload.StepError](err); ok && step.Output != "" {
		attrs = append(attrs, "output", step.Output)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.noteFailure(c, a, reason, time.Now())
	if !sameTrouble(r.said, reason) {
		r.said = reason
		if r.status.Unwritten {
			r.cfg.Logger.Error("the server has the newest members, but its files cannot follow; retrying", attrs...)
		} else {
			r.cfg.Logger.Error("configuration is not in service; the last good one stays, retrying", attrs...)
		}
	}
	if !c.Stale {
		r.ack.Healthy, r.ack.LastError = false, shortened(firstLine(reason))
		r.acknowledge()
	}
	return err
}

// sameTrouble says whether two descriptions differ in numbers only: servers put times
// and process ids into their words, and what is tried again is not to be said again.
// Line numbers go with them; the status has those.
func sameTrouble(x, y string) bool {
	digits := func(r rune) rune {
		if r >= '0' && r <= '9' {
			return -1
		}
		return r
	}
	return strings.Map(digits, x) == strings.Map(digits, y)
}

func bounded(list []string) []string {
	room := maxNames
	for n, s := range list {
		if room -= len(s) + len(`"",`); room < 0 {
			return list[:n]
		}
	}
	return list
}

func shortened(s string) string {
	return strings.ToValidUTF8(s[:min(len(s), maxError)], "")
}
