package renderer

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"rollcall/internal/discovery"
	"rollcall/internal/templates"
)

// A router works out the upstreams and virtual hosts of a catalog. What it finds out
// about a service stays in the claims that it gives, for the next picture.
type router struct {
	Routing
	now  func() time.Time
	last assignment
}

func newRouter(r Routing, now func() time.Time) *router { return &router{Routing: r, now: now} }

// An assignment says what came of claims.
type assignment struct {
	claims []claim
	hosts  []templates.VirtualHost
	others templates.VirtualHost // for every other host
	lost   map[Route]string
}

// A picture is what a balancer is made from, and what has to be told about it.
type picture struct {
	templates.Balancer
	skipped []string          // in the catalog but not routed to, as "service/instance"
	why     map[string]string // they are skipped
	held    []string          // routed to although their records are gone
	claims  []claim           // the past of the next picture
	lost    map[Route]string  // claims that lost, and to whom
}

// route gives the picture of a catalog. past are the claims of the picture that was
// served last: a service that has become empty since is not forgotten at once. address
// gives an instance's address, or false when its name does not resolve.
func (r *router) route(c *discovery.Catalog, past []claim, base templates.Balancer, address address) picture {
	p := picture{Balancer: base, why: map[string]string{}}
	p.Revision = c.Revision
	p.claims = r.claim(c, past)
	r.settle(p.claims)
	p.Hosts, p.Default, p.lost = r.last.hosts, r.last.others, r.last.lost
	for _, t := range r.TCP {
		p.TCP = append(p.TCP, templates.TCPListener{Listen: t.Listen, Upstream: t.Service})
	}
	slices.SortFunc(p.TCP, func(x, y templates.TCPListener) int { return cmp.Compare(x.Listen, y.Listen) })

	p.Upstreams = make([]templates.Upstream, 0, len(p.claims))
	for n := range p.claims {
		cl := &p.claims[n]
		u := templates.Upstream{Name: cl.service}
		if cl.instances != nil {
			m := cl.members.after(cl.instances, address)
			cl.members, u.Servers = m, m.servers
			p.held = append(p.held, m.held...)
			if cl.reached || base.Proxy == "file" { // whoever reads that file decides who is reached
				p.skipped = append(p.skipped, m.skipped...)
				maps.Copy(p.why, m.why)
				if m.routed != nil {
					p.Services = append(p.Services, m.routed)
				}
			} else {
				for _, id := range ids(cl.instances) {
					p.skipped = append(p.skipped, id)
					p.why[id] = "no route leads there"
				}
			}
		}
		p.Upstreams = append(p.Upstreams, u)
	}
	return p
}

// settle works out who is reached where, and marks the claims. Where services have only got
// other members, all of that is as it was.
func (r *router) settle(claims []claim) {
	if slices.EqualFunc(r.last.claims, claims, sameClaim) {
		for n := range claims {
			claims[n].reached = r.last.claims[n].reached
		}
		r.last.claims = claims // and nobody keeps the instances of before
		return
	}
	taken, lost := r.assign(claims)
	hosts, others := virtualHosts(taken)
	r.last = assignment{claims, hosts, others, lost}
}

// sameClaim says whether two claims are worth the same.
func sameClaim(x, y claim) bool {
	return x.service == y.service && (x.instances == nil) == (y.instances == nil) && slices.Equal(x.routes, y.routes)
}

// virtualHosts sorts out which services are reached at each host.
func virtualHosts(routed []Route) (hosts []templates.VirtualHost, others templates.VirtualHost) {
	slices.SortFunc(routed, func(x, y Route) int {
		if x.Host != y.Host {
			return cmp.Compare(x.Host, y.Host)
		}
		return cmp.Or(-cmp.Compare(len(x.Path), len(y.Path)), cmp.Compare(x.Path, y.Path))
	})
	routes := make([]templates.Route, len(routed))
	for n, begin := 0, 0; n < len(routed); n++ {
		routes[n] = templates.Route{Path: routed[n].Path, Upstream: routed[n].Service}
		if n+1 < len(routed) && routed[n+1].Host == routed[n].Host {
			continue
		}
		v := templates.VirtualHost{Name: routed[n].Host, Routes: routes[begin : n+1 : n+1]}
		if begin = n + 1; v.Name == "" {
			others = v
		} else {
			hosts = append(hosts, v)
		}
	}
	return hosts, others
}
