package reload

import (
	"context"
	"maps"
	"math"
	"slices"
	"sync"
	"time"
)

// settling is how long a request may take from the choice of a member until it is counted
// among those that run there: a few instructions, if its thread is not made to wait.
const settling = 5 * time.Millisecond

// longTail is how long the count of a member's requests has to have been believed to be
// exact, when requests to others, such as WebSockets, are older than its leaving.
const longTail = 10 * time.Second

// apacheLeaving is where those that leave are looked for.
type apacheLeaving struct {
	mu sync.Mutex
	of map[*Leaver]*apacheLeaver
}

// An apacheLeaver is what is known about a member that gets no more requests.
type apacheLeaver struct {
	server string    // see identity: the counts of another know nothing of it
	since  time.Time // when it was seen to get none
	places []string
	// children are those that may have requests to it: all that were alive then. When they
	// are gone, so are these, whatever became of the counts.
	children []Process
}

// leave begins the leaving of members, and ends that of those that have come back.
func (a *Apache) leave(want Members, gone map[apacheMember]bool) {
	l := &a.live
	children := a.children()
	l.leaving.mu.Lock()
	defer l.leaving.mu.Unlock()
	if l.leaving.of == nil {
		l.leaving.of = map[*Leaver]*apacheLeaver{}
	}
	now := map[string]*Pool{}
	for _, p := range want.Pools {
		now[p.Name] = p
	}
	known := map[apacheMember]bool{}
	for leaver := range l.leaving.of {
		m, back := now[leaver.Pool].member(leaver.Address)
		switch {
		case leaver.Over():
			delete(l.leaving.of, leaver)
		case back && m.Weight > 0:
			delete(l.leaving.of, leaver)
			l.left.end(leaver)
		default:
			known[apacheMember{leaver.Pool, leaver.Address}] = true
		}
	}
	for g := range gone {
		if known[g] {
			continue
		}
		m, ok := now[g.pool].member(g.address)
		if !ok {
			m, ok = l.synced[g.pool].member(g.address)
		}
		if !ok {
			m.Name = g.address // from before this program
		}
		leaver := l.left.add(g.pool, m.Name, g.address)
		l.leaving.of[leaver] = &apacheLeaver{server: l.of, since: time.Now(), places: now[g.pool].Places, children: children}
	}
}

// member finds the one with the address.
func (p *Pool) member(address string) (Member, bool) {
	if p == nil {
		return Member{}, false
	}
	i := slices.IndexFunc(p.Members, func(m Member) bool { return m.Address == address })
	if i < 0 {
		return Member{}, false
	}
	return p.Members[i], true
}

// over gives those that have no request running any more.
func (a *Apache) over(ctx context.Context, list []*Leaver) (over []*Leaver) {
	l := &a.live.leaving
	l.mu.Lock()
	known := maps.Clone(l.of)
	l.mu.Unlock()
	managers := newApacheManagers(a.secret)
	defer managers.close()
	a.live.side.adding.RLock()
	defer a.live.side.adding.RUnlock()
	began, pages := time.Now(), map[apacheHost]apachePage{}
	requests, err := a.requests(ctx)
	if err != nil {
		return nil
	}
	var idle []*Leaver
	for _, leaver := range list {
		k := known[leaver]
		switch {
		case k == nil: // it begins just now
		case len(k.children) > 0 && !slices.ContainsFunc(k.children, Process.alive):
			over = append(over, leaver)
		case began.Sub(k.since) >= settling && k.idle(ctx, managers, pages, leaver.Address, requests, began):
			idle = append(idle, leaver)
		}
	}
	if len(idle) == 0 {
		return over
	}
	// Asked last: what was counted before is of this server, or of one before it.
	now, err := a.identity(ctx)
	for _, leaver := range idle {
		if err == nil && now == known[leaver].server {
			over = append(over, leaver)
		}
	}
	return over
}

// idle says that no request to the address is running, and none can begin.
//
// Apache counts a member's requests, but not exactly: two of its threads that count at the
// same time may count as one, up or down, for good. So it is not the count that proves it,
// but that no request is as old as the leaving. The count only serves where that cannot be
// seen, with HTTP/2, and where it would take too long, with WebSockets to others.
func (l *apacheLeaver) idle(ctx context.Context, managers *apacheManagers, pages map[apacheHost]apachePage, address string, requests apacheRequests, at time.Time) bool {
	counted, ok := l.counted(ctx, managers, pages, address)
	young := requests.since(at.Sub(l.since))
	switch {
	case !ok:
		return false
	case counted == 0:
		return young || at.Sub(l.since) > longTail
	default:
		return young && !requests.streams
	}
}

// counted gives how many requests to the address are running, as Apache counts them; ok is
// false while others may begin, or if it cannot be told now.
func (l *apacheLeaver) counted(ctx context.Context, managers *apacheManagers, pages map[apacheHost]apachePage, address string) (n int, ok bool) {
	for _, place := range l.places {
		host, balancer, err := parseApachePlace(place)
		if err != nil {
			return 0, false
		}
		if _, asked := pages[host]; !asked {
			pages[host], _ = managers.read(ctx, host) // without an answer it cannot be told now
		}
		found := pages[host].both(balancer)
		if len(found) == 0 {
			return 0, false
		}
		for _, b := range found {
			for _, w := range b.workers {
				if w.address() != address {
					continue
				}
				if !w.off() {
					return 0, false
				}
				n += int(min(w.busy, math.MaxInt32)) // one below zero is very many
			}
		}
	}
	return n, true
}
