package renderer

import (
	"cmp"
	"fmt"
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

// A Route leads requests for a host and a path to a service.
type Route struct {
	Host    string // "" for every host that has no route of its own
	Path    string // "" for everything, "/shop" for it and all below
	Service string
}

func (r Route) String() string {
	return fmt.Sprintf("%s%s=%s", cmp.Or(r.Host, "*"), cmp.Or(r.Path, "/"), r.Service)
}

// ParseRoute reads "HOST/PATH=SERVICE". Host "*" or none is every host.
func ParseRoute(s string) (Route, error) {
	where, service, ok := strings.Cut(s, "=")
	if !ok {
		return Route{}, fmt.Errorf("%q is not HOST/PATH=SERVICE", s)
	}
	if err := discovery.ValidateName(service); err != nil {
		return Route{}, fmt.Errorf("service %w", err)
	}
	host, path := where, ""
	if slash := strings.IndexByte(where, '/'); slash >= 0 {
		host, path = where[:slash], where[slash:]
	}
	var err error
	if host == "*" {
		host = ""
	}
	if host != "" {
		if host, err = discovery.CanonicalHostName(host); err != nil {
			return Route{}, err
		}
	}
	if path, err = discovery.CanonicalPath(path); err != nil {
		return Route{}, err
	}
	return Route{Host: host, Path: path, Service: service}, nil
}

// Routing says which services are routed to, and how.
type Routing struct {
	Services []string // selected; empty for all
	Routes   []Route  // the operator's, which beat what records say
}

// Covers lists the services that are routed to; nil means all.
func (r Routing) Covers() []string {
	if len(r.Services) == 0 {
		return nil
	}
	all := slices.Clone(r.Services)
	for _, route := range r.Routes {
		all = append(all, route.Service)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

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

// route fills in what a balancer is made from. address gives an instance's
// address, or false when its name does not resolve.
func (r *router) route(c *discovery.Catalog, base templates.Balancer, address func(*discovery.Instance) (string, bool)) templates.Balancer {
	b := base
	b.Revision = c.Revision
	routes := r.claims(c)
	for _, name := range slices.Sorted(maps.Keys(routes)) {
		u := templates.Upstream{Name: name}
		if s, ok := c.Service(name); ok {
			u.Servers = servers(s, address)
		}
		b.Upstreams = append(b.Upstreams, u)
	}
	hosts := r.assign(routes)
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
	return b
}

// claims gives each service's own idea of where it is reached: what the operator
// said of it, else what its records say, else everything if it was selected alone,
// else the host of its name.
func (r *router) claims(c *discovery.Catalog) map[string][]Route {
	selected := r.Covers()
	operators := map[string][]Route{}
	for _, route := range r.Routes {
		operators[route.Service] = append(operators[route.Service], route)
	}
	claim := func(name string, s *discovery.Service) []Route {
		if routes, ok := operators[name]; ok {
			return routes
		}
		if s != nil {
			if routes := recordRoutes(s); len(routes) > 0 {
				return routes
			}
		}
		if len(selected) == 1 {
			return []Route{{Service: name}}
		}
		return []Route{{Host: name, Service: name}}
	}
	claims := map[string][]Route{}
	for name := range operators {
		claims[name] = claim(name, nil)
	}
	for _, name := range selected {
		claims[name] = claim(name, nil)
	}
	for _, s := range c.Services {
		if selected != nil && !slices.Contains(selected, s.Name) {
			continue
		}
		claims[s.Name] = claim(s.Name, s)
		r.seen[s.Name] = memory{routes: claims[s.Name]}
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
		claims[name] = m.routes
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

// assign settles who gets each host and path: the operator's routes first, then
// the services in the order of their names.
func (r *router) assign(claims map[string][]Route) map[string]map[string]string {
	hosts := map[string]map[string]string{}
	lost := map[Route]string{}
	take := func(route Route) {
		paths := hosts[route.Host]
		if paths == nil {
			paths = map[string]string{}
			hosts[route.Host] = paths
		}
		if owner, taken := paths[route.Path]; taken && owner != route.Service {
			lost[route] = owner
			return
		}
		paths[route.Path] = route.Service
	}
	for _, route := range r.Routes {
		take(route)
	}
	for _, name := range slices.Sorted(maps.Keys(claims)) {
		for _, route := range claims[name] {
			take(route)
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

func compareRoutes(x, y Route) int {
	return cmp.Or(cmp.Compare(x.Host, y.Host), cmp.Compare(x.Path, y.Path), cmp.Compare(x.Service, y.Service))
}

// servers lists a service's members by name. Of two records with one endpoint the
// newer counts: the other is what a lost machine left behind.
func servers(s *discovery.Service, address func(*discovery.Instance) (string, bool)) []templates.Server {
	newest := map[string]*discovery.Instance{}
	addresses := map[*discovery.Instance]string{}
	for _, i := range s.Instances {
		if i.Proto != "tcp" {
			continue
		}
		host, ok := address(i)
		if !ok {
			continue
		}
		endpoint := discovery.JoinHostPort(host, i.Port)
		addresses[i] = host
		if n := newest[endpoint]; n == nil || n.Revision < i.Revision {
			newest[endpoint] = i
		}
	}
	var list []templates.Server
	for _, i := range s.Instances {
		host, ok := addresses[i]
		if !ok || newest[discovery.JoinHostPort(host, i.Port)] != i {
			continue
		}
		list = append(list, templates.Server{
			Name: i.Name, Host: i.Host, Port: i.Port, Address: discovery.JoinHostPort(host, i.Port),
			Weight: i.Weight, Version: i.Version, Node: i.Node,
		})
	}
	return list
}
