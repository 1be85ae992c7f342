package renderer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"rollcall/internal/discovery"
)

const (
	resolveTimeout = 2 * time.Second
	resolveAgain   = 30 * time.Second // a name that resolved
	resolveRetry   = 5 * time.Second  // one that did not
	resolveForget  = time.Minute      // one that is in the catalog no more
	resolveAtOnce  = 8
)

// errPending says that a name's first look-up is not back yet.
var errPending = errors.New("name is being resolved")

// Lookup finds a name's addresses.
type Lookup func(ctx context.Context, network, host string) ([]netip.Addr, error)

// A resolver keeps the addresses of the host names in the catalog. The servers
// would resolve them too, but nginx refuses a whole configuration for one name
// that does not resolve, and none would notice a new address. Look-ups run beside
// the rendering: a slow name delays nobody but itself.
type resolver struct {
	lookup  Lookup
	logger  *slog.Logger
	changed chan struct{} // a token when some address changed
	wake    chan struct{} // a token when a new name is wanted

	mu     sync.Mutex
	names  map[string]*resolved
	wanted time.Time // since when the renderer has asked for every name it still wants
	news   int       // how often an address changed
}

type resolved struct {
	addr  netip.Addr
	err   error
	next  time.Time // when to look again; zero before the first time
	asked time.Time // when the renderer last wanted it
	busy  bool      // queued or being looked up
}

func newResolver(lookup Lookup, logger *slog.Logger) *resolver {
	return &resolver{lookup: lookup, logger: logger, changed: make(chan struct{}, 1), wake: make(chan struct{}, 1), names: map[string]*resolved{}}
}

// address gives an instance's address; false while its name is not known to resolve.
func (r *resolver) address(i *discovery.Instance) (string, bool) {
	if addr, ok := i.Addr(); ok {
		return addr.String(), true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.names[i.Host]
	if n == nil {
		n = &resolved{err: errPending}
		r.names[i.Host] = n
		token(r.wake)
	}
	n.asked = time.Now()
	return n.addr.String(), n.addr.IsValid()
}

// used tells that the renderer has asked, since began, for every name in the catalog.
func (r *resolver) used(began time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wanted = began
}

// unresolved lists the names in the catalog that do not resolve, with the reason.
func (r *resolver) unresolved() map[string]error {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := map[string]error{}
	for host, n := range r.names {
		if n.err != nil && !n.asked.Before(r.wanted) {
			out[host] = n.err
		}
	}
	return out
}

// run resolves until ctx is done, whose error it returns.
func (r *resolver) run(ctx context.Context) error {
	var queue []string
	running, finished := 0, make(chan struct{})
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for look := true; ; {
		if look {
			fresh, again := r.due(time.Now())
			queue = slices.Concat(fresh, queue, again)
		}
		for running < resolveAtOnce && len(queue) > 0 {
			host := queue[0]
			queue = queue[1:]
			running++
			go func() {
				r.resolve(ctx, host)
				finished <- struct{}{}
			}()
		}
		look = false
		select {
		case <-ctx.Done():
			for ; running > 0; running-- {
				<-finished
			}
			r.release(queue)
			return ctx.Err()
		case <-finished:
			running--
		case <-tick.C:
			look = true
		case <-r.wake:
			look = true
		}
	}
}

// due picks the names to look up: those that never were, which the renderer waits
// for, and those whose time has come. It forgets those that nobody wants any more.
func (r *resolver) due(now time.Time) (fresh, again []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for host, n := range r.names {
		switch {
		case n.busy:
		case n.asked.Before(r.wanted) && now.Sub(n.asked) > resolveForget:
			delete(r.names, host)
		case n.next.IsZero():
			n.busy = true
			fresh = append(fresh, host)
		case !now.Before(n.next):
			n.busy = true
			again = append(again, host)
		}
	}
	slices.Sort(fresh)
	slices.Sort(again)
	return fresh, again
}

// release gives names back that were due and not looked up.
func (r *resolver) release(hosts []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, host := range hosts {
		r.names[host].busy = false
	}
}

func (r *resolver) resolve(ctx context.Context, host string) {
	limited, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	found, err := r.lookup(limited, "ip", host)
	addrs := usable(found)
	if err == nil && len(addrs) == 0 {
		err = errors.New("no address that could be sent to")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.names[host]
	n.busy = false
	if ctx.Err() != nil {
		return // says nothing about the name
	}
	if err != nil {
		// An address that was good stays while the name server is away.
		news := n.err == nil || errors.Is(n.err, errPending)
		n.err = fmt.Errorf("host %s does not resolve: %w", host, err)
		n.next = time.Now().Add(resolveRetry)
		if news {
			r.logger.Warn("host name does not resolve", "host", host, "err", err)
			r.tell()
		}
		return
	}
	n.next = time.Now().Add(resolveAgain)
	n.err = nil
	if !slices.Contains(addrs, n.addr) {
		n.addr = addrs[0]
		r.tell()
	}
}

// tell says that an address changed. To be called with the mutex held.
func (r *resolver) tell() {
	r.news++
	token(r.changed)
}

// version tells two states of the addresses apart.
func (r *resolver) version() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.news
}

// usable gives the addresses that a record might hold as well, in their order.
func usable(found []netip.Addr) []netip.Addr {
	var addrs []netip.Addr
	for _, a := range found {
		a = a.Unmap().WithZone("")
		if _, err := discovery.CanonicalHost(a.String()); err == nil {
			addrs = append(addrs, a)
		}
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	return addrs
}

// token leaves a mark in a channel of one; two marks are one.
func token(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
