package renderer

import (
	"context"
	"net"
	"slices"
	"strings"
	"time"

	"rollcall/internal/discovery"
	"rollcall/internal/reload"
	"rollcall/internal/templates"
)

const (
	// maxProbes bounds how many of the members that are gone are asked whether they live.
	maxProbes = 32
	// probeTime bounds how long that may take, for all of them together.
	probeTime = 100 * time.Millisecond
)

// A dialer opens connections as net.Dialer does.
type dialer func(ctx context.Context, network, address string) (net.Conn, error)

// planned says whether a change may wait until the clients' connections have ended. Nearly
// all may: whoever leaves in an orderly way goes on serving until it is told that nobody
// needs it any more, and whatever comes or changes hurts nobody by coming a second later.
// But a member that is gone and does not answer any more costs requests for as long as it
// stays, more than a reload that waits for nobody.
//
// The upstreams are sorted by name, each by the servers' names.
func planned(ctx context.Context, before, after []templates.Upstream, dial dialer) bool {
	return !dead(ctx, departed(before, after), dial)
}

// departed lists the addresses that got new requests and are no members of their upstream any more.
func departed(before, after []templates.Upstream) []string {
	var addresses []string
	for _, was := range before {
		n, found := slices.BinarySearchFunc(after, was.Name, func(u templates.Upstream, name string) int { return strings.Compare(u.Name, name) })
		var is []templates.Server
		if found {
			is = after[n].Servers
		}
		if same(is, was.Servers) {
			continue // renderings share what has not changed
		}
		stay := make(map[string]bool, len(is))
		for _, s := range is {
			stay[s.Address] = true
		}
		for _, s := range was.Servers {
			if s.Weight > 0 && !stay[s.Address] {
				addresses = append(addresses, s.Address)
			}
		}
	}
	return addresses
}

// dead says whether one of the addresses, or of as many as are asked, accepts no
// connection, or not in time.
func dead(ctx context.Context, addresses []string, dial dialer) bool {
	addresses = addresses[:min(len(addresses), maxProbes)]
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	failed := make(chan bool)
	for _, a := range addresses {
		go func() {
			conn, err := dial(ctx, "tcp", a)
			if err == nil {
				_ = conn.Close() // nothing was said
			}
			failed <- err != nil
		}()
	}
	found := false
	for range addresses {
		if <-failed && !found {
			found = true
			cancel() // one is enough
		}
	}
	return found
}

// hurry gives what says, while a configuration of a catalog waits for clients' connections
// to end, that there is a newer catalog which has lost a member that is dead: the wait only
// keeps that one in service. It is called every few milliseconds, and looks at each catalog once.
func hurry(from *discovery.Catalog, newest func() *discovery.Catalog, address address, dial dialer) func() bool {
	seen := from
	return func() bool {
		c := newest()
		if c == seen || c == nil {
			return false
		}
		seen = c
		var lost []string
		pairs(from, c, func(_ string, was, is *discovery.Service) {
			if was == is {
				return
			}
			eachInstance(was, is, func(was, is *discovery.Instance) {
				if was == nil || is != nil || was.Proto != "tcp" || was.Weight == 0 {
					return
				}
				if host, ok := address(was); ok {
					lost = append(lost, discovery.JoinHostPort(host, was.Port))
				}
			})
		})
		return dead(context.Background(), lost, dial)
	}
}

// eased gives the candidate of a rendering with what it needs to wait for its clients, if
// there has to be a reload.
func (r *Renderer) eased(ctx context.Context, a *rendering) reload.Candidate {
	c := a.candidate
	if a.Gate != "" {
		c.Gentle = r.good == nil || planned(ctx, r.good.Upstreams, a.Upstreams, r.cfg.Dial)
		c.Hurry = hurry(a.newest, r.newer, r.resolver.address, r.cfg.Dial)
	}
	return c
}
