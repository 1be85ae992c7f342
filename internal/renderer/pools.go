package renderer

import (
	"slices"
	"sync"

	"rollcall/internal/reload"
	"rollcall/internal/templates"
)

// pools are the upstreams as a running server takes them. The one of an upstream that is
// the same is the same pointer, which tells the server's driver that it need not look.
type pools struct {
	mu    sync.Mutex
	known map[string]pooled
}

type pooled struct {
	servers []templates.Server
	pool    *reload.Pool
}

// of gives the pools of a balancer, sorted by name, from where it keeps its members.
func (p *pools) of(b templates.Balancer, places map[string][]string) []*reload.Pool {
	p.mu.Lock()
	defer p.mu.Unlock()
	list, now := make([]*reload.Pool, 0, len(places)), make(map[string]pooled, len(places))
	for _, u := range b.Upstreams {
		at := places[u.Name]
		if len(at) == 0 {
			continue
		}
		k, ok := p.known[u.Name]
		if !ok || !same(k.servers, u.Servers) || !slices.Equal(k.pool.Places, at) {
			k = pooled{u.Servers, newPool(u, at)}
		}
		now[u.Name] = k
		list = append(list, k.pool)
	}
	p.known = now
	return list
}

// same says whether two lists are one in memory: those of a service that has not changed are.
func same(a, b []templates.Server) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

func newPool(u templates.Upstream, places []string) *reload.Pool {
	pool := &reload.Pool{Name: u.Name, Places: places, Members: make([]reload.Member, len(u.Servers))}
	for n, s := range u.Servers {
		pool.Members[n] = reload.Member{Name: s.Name, Address: s.Address, Weight: s.Weight}
	}
	return pool
}

// sameStructure says whether two balancers that are made from the same inputs differ in
// nothing but the members of their upstreams, as far as the built-in templates go. What
// other templates make of it shows in the structure of what they write.
func sameStructure(x, y templates.Balancer) bool {
	return slices.EqualFunc(x.Hosts, y.Hosts, sameHost) && sameHost(x.Default, y.Default) && slices.Equal(x.TCP, y.TCP) &&
		slices.EqualFunc(x.Upstreams, y.Upstreams, func(a, b templates.Upstream) bool { return a.Name == b.Name })
}

func sameHost(x, y templates.VirtualHost) bool {
	return x.Name == y.Name && slices.Equal(x.Routes, y.Routes)
}
