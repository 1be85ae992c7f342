package renderer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"rollcall/internal/discovery"
)

const (
	resolveTimeout = 2 * time.Second
	resolveAgain   = 30 * time.Second // a name that resolved
	resolveRetry   = 5 * time.Second  // one that did not
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

	mu    sync.Mutex
	names map[string]*resolved
}

type resolved struct {
	addr    netip.Addr
	err     error
	next    time.Time // when to look again
	asked   time.Time // when the renderer last wanted it
	running bool
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

// unresolved lists the names that do not resolve, with the reason.
func (r *resolver) unresolved() map[string]error {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := map[string]error{}
	for host, n := range r.names {
		if n.err != nil {
			out[host] = n.err
		}
	}
	return out
}

// run resolves until ctx is done, whose error it returns.
func (r *resolver) run(ctx context.Context) error {
	var g errgroup.Group
	g.SetLimit(resolveAtOnce)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		for _, host := range r.due(time.Now()) {
			g.Go(func() error {
				r.resolve(ctx, host)
				return nil
			})
		}
		select {
		case <-ctx.Done():
			_ = g.Wait()
			return ctx.Err()
		case <-tick.C:
		case <-r.wake:
		}
	}
}

// due picks the names to look up, and forgets those that nobody wants any more.
func (r *resolver) due(now time.Time) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var hosts []string
	for _, host := range slices.Sorted(maps.Keys(r.names)) {
		n := r.names[host]
		switch {
		case n.running:
		case now.Sub(n.asked) > 2*resolveAgain:
			delete(r.names, host)
		case !now.Before(n.next):
			n.running = true
			hosts = append(hosts, host)
		}
	}
	return hosts
}

func (r *resolver) resolve(ctx context.Context, host string) {
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	addrs, err := r.lookup(ctx, "ip", host)
	if err == nil && len(addrs) == 0 {
		err = errors.New("no address")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.names[host]
	if n == nil {
		return
	}
	n.running = false
	before, hadErr := n.addr, n.err
	if err != nil {
		n.err = fmt.Errorf("host %s does not resolve: %w", host, err)
		n.next = time.Now().Add(resolveRetry)
		// An address that was good stays while the name server is away.
		if hadErr == nil || errors.Is(hadErr, errPending) {
			r.logger.Warn("host name does not resolve", "host", host, "err", err)
			token(r.changed)
		}
		return
	}
	n.next = time.Now().Add(resolveAgain)
	for k := range addrs {
		addrs[k] = addrs[k].Unmap().WithZone("")
	}
	slices.SortFunc(addrs, func(x, y netip.Addr) int { return x.Compare(y) })
	n.err = nil
	if !slices.Contains(addrs, before) {
		n.addr = addrs[0]
		token(r.changed)
	}
}

// token leaves a mark in a channel of one; two marks are one.
func token(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
