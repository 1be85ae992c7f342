package renderer

import (
	"cmp"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"rollcall/internal/discovery"
	"rollcall/internal/templates"
)

// rememberFor is how long a service that lost its last instance still answers 503
// with Retry-After before its host names are unknown again.
const rememberFor = time.Hour

// A router works out the upstreams and virtual hosts of a catalog. It remembers
// the services it has seen, so that one that becomes empty is not forgotten at once.
type router struct {
	Routing
	logger *slog.Logger
	now    func() time.Time
	seen   map[string]memory
	said   map[Route]string // claims that lost, and to whom, as last said
}

type memory struct {
	routes []Route
	gone   time.Time // zero while the service has instances
}

func newRouter(r Routing, logger *slog.Logger, now func() time.Time) *router {
	return &router{Routing: r, logger: logger, now: now, seen: map[string]memory{}, said: map[Route]string{}}
}

// A claim is where a service wants to be reached.
type claim struct {
	routes []Route
	live   bool // it has instances
}

// route fills in what a balancer is made from, and lists the instances that cannot
// be part of it, as "service/instance". address gives an instance's address, or
// false when its name does not resolve.
func (r *router) route(c *discovery.Catalog, base templates.Balancer, address func(*discovery.Instance) (string, bool)) (b templates.Balancer, skipped []string) {
	b = base
	b.Revision = c.Revision
	claims := r.claims(c)
	hosts := r.assign(claims)
	reached := map[string]bool{}
	for _, paths := range hosts {
		for _, service := range paths {
			reached[service] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(claims)) {
		u := templates.Upstream{Name: name}
		if s, ok := c.Service(name); ok {
			var out []string
			u.Servers, out = servers(s, address)
			if !reached[name] {
				out = ids(s) // no request leads to any of them
			}
			skipped = append(skipped, out...)
		}
		b.Upstreams = append(b.Upstreams, u)
	}
	for _, host := range slices.Sorted(maps.Keys(hosts)) {
		v := templates.VirtualHost{Name: host}
		for path, service := range hosts[host] {
			v.Routes = append(v.Routes, templates.Route{Path: path, Upstream: service})
		}
		slices.SortFunc(v.Routes, func(x, y templates.Route) int {
			return cmp.Or(-cmp.Compare(len(x.Path), len(y.Path)), cmp.Compare(x.Path, y.Path))
		})
		if host == "" {
			b.Default = v
		} else {
			b.Hosts = append(b.Hosts, v)
		}
	}
	return b, skipped
}

// claims gives each service's own idea of where it is reached: what the operator
// said of it, else what its records say, else everything if it was selected alone,
// else the host of its name.
func (r *router) claims(c *discovery.Catalog) map[string]claim {
	selected := r.Covers()
	alone := r.alone()
	operators := map[string][]Route{}
	for _, route := range r.Routes {
		operators[route.Service] = append(operators[route.Service], route)
	}
	routes := func(name string, s *discovery.Service) []Route {
		if routes, ok := operators[name]; ok {
			return routes
		}
		if s != nil {
			if routes := recordRoutes(s); len(routes) > 0 {
				return routes
			}
		}
		switch {
		case name == alone:
			return []Route{{Service: name}}
		case strings.Contains(name, ".."):
			return nil // no name of a host: nginx would refuse the whole configuration
		}
		return []Route{{Host: name, Service: name}}
	}
	claims := map[string]claim{}
	for name := range operators {
		claims[name] = claim{routes: routes(name, nil)}
	}
	for _, name := range selected {
		claims[name] = claim{routes: routes(name, nil)}
	}
	for _, s := range c.Services {
		if selected != nil {
			if _, ok := slices.BinarySearch(selected, s.Name); !ok {
				continue
			}
		}
		claims[s.Name] = claim{routes: routes(s.Name, s), live: true}
		r.seen[s.Name] = memory{routes: claims[s.Name].routes}
	}
	for name, m := range r.seen {
		if _, ok := c.Service(name); ok {
			continue
		}
		switch {
		case m.gone.IsZero():
			m.gone = r.now()
			r.seen[name] = m
		case r.now().Sub(m.gone) > rememberFor:
			delete(r.seen, name)
			continue
		}
		claims[name] = claim{routes: m.routes}
	}
	return claims
}

// recordRoutes gathers what a service's instances say about where it is reached.
func recordRoutes(s *discovery.Service) []Route {
	routes := map[Route]bool{}
	for _, i := range s.Instances {
		for _, h := range i.Hosts {
			routes[Route{Host: h, Path: i.Path, Service: s.Name}] = true
		}
		if len(i.Hosts) == 0 && i.Path != "" {
			routes[Route{Path: i.Path, Service: s.Name}] = true
		}
	}
	return slices.SortedFunc(maps.Keys(routes), compareRoutes)
}

// granted gives the service to which the operator has led a host and path. What is
// below a path goes with it: a record must not take the log-in page out of a site.
func (r *router) granted(route Route) (service string, ok bool) {
	longest := -1
	for _, o := range r.Routes {
		below := route.Path == o.Path || strings.HasPrefix(route.Path, o.Path+"/")
		if o.Host == route.Host && below && len(o.Path) > longest {
			service, longest = o.Service, len(o.Path)
		}
	}
	return service, longest >= 0
}

// assign settles who gets each host and path: the operator's routes first, then
// services with instances in the order of their names, then those without: one that
// was renamed must not keep its host from its successor.
func (r *router) assign(claims map[string]claim) map[string]map[string]string {
	hosts := map[string]map[string]string{}
	lost := map[Route]string{}
	take := func(route Route, live bool) {
		paths := hosts[route.Host]
		if paths == nil {
			paths = map[string]string{}
			hosts[route.Host] = paths
		}
		owner, taken := paths[route.Path]
		if by, ok := r.granted(route); ok && by != route.Service {
			owner, taken = by, true
		}
		switch {
		case !taken:
			paths[route.Path] = route.Service
		case owner != route.Service && live:
			lost[route] = owner
		}
	}
	for _, route := range r.Routes {
		take(route, true)
	}
	names := slices.Sorted(maps.Keys(claims))
	for _, live := range []bool{true, false} {
		for _, name := range names {
			for _, route := range claims[name].routes {
				if claims[name].live == live {
					take(route, live)
				}
			}
		}
	}
	for _, route := range slices.SortedFunc(maps.Keys(lost), compareRoutes) {
		if r.said[route] != lost[route] {
			r.logger.Warn("route refused: another service has it", "route", route.String(), "owner", lost[route])
		}
	}
	r.said = lost
	return hosts
}

func ids(s *discovery.Service) []string {
	var all []string
	for _, i := range s.Instances {
		all = append(all, i.ID())
	}
	return all
}

// servers lists a service's members by name, and those that cannot be one: what is
// not spoken to by TCP, what does not resolve, and of two records with one endpoint
// the older, which is what a lost machine left behind.
func servers(s *discovery.Service, address func(*discovery.Instance) (string, bool)) (list []templates.Server, skipped []string) {
	endpoints := make([]string, len(s.Instances))
	newest := map[string]*discovery.Instance{}
	for n, i := range s.Instances {
		host, ok := "", i.Proto == "tcp"
		if ok {
			host, ok = address(i)
		}
		if !ok {
			continue
		}
		endpoints[n] = discovery.JoinHostPort(host, i.Port)
		if other := newest[endpoints[n]]; other == nil || other.Revision < i.Revision {
			newest[endpoints[n]] = i
		}
	}
	for n, i := range s.Instances {
		if newest[endpoints[n]] != i {
			skipped = append(skipped, i.ID())
			continue
		}
		list = append(list, templates.Server{
			Name: i.Name, Host: i.Host, Port: i.Port, Address: endpoints[n],
			Weight: i.Weight, Version: i.Version, Node: i.Node,
		})
	}
	return list, skipped
}
