package renderer

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"rollcall/internal/discovery"
)

// rememberFor is how long a service that lost its last instance still answers 503
// with Retry-After before its host names are unknown again.
const rememberFor = time.Hour

// A claim is where a service wants to be reached.
type claim struct {
	service   string
	instances *discovery.Service // nil if there are none
	routes    []Route
	gone      time.Time // since when it has no instances; zero if it has, or never had
	reached   bool      // it got one of its routes, or connections
	members   *members  // of the instances, or of those before until they are compared; nil if there are none
}

// claim gives each service's own idea of where it is reached, sorted by name: what the
// operator said of it, else what its records say, else everything if it was selected
// alone, else the host of its name.
func (r *router) claim(c *discovery.Catalog, past []claim) []claim {
	selected, alone := r.Covers(), r.alone()
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
		case r.tcp(name):
			return nil // its instances need not speak HTTP
		case name == alone:
			return []Route{{Service: name}}
		case strings.Contains(name, ".."):
			return nil // no name of a host: nginx would refuse the whole configuration
		}
		return []Route{{Host: name, Service: name}}
	}

	claims := make([]claim, 0, max(len(c.Services), len(past)))
	known := map[string]bool{} // without instances
	for _, s := range c.Services {
		for len(past) > 0 && past[0].instances != s && past[0].service < s.Name {
			claims = r.remember(claims, past[0], known)
			past = past[1:]
		}
		was := claim{}
		if len(past) > 0 && (past[0].instances == s || past[0].service == s.Name) {
			was, past = past[0], past[1:]
		}
		switch {
		case was.instances == s: // as most are, when something changes
			claims = append(claims, was)
			continue
		case selected != nil:
			if _, ok := slices.BinarySearch(selected, s.Name); !ok {
				continue
			}
		}
		claims = append(claims, claim{service: s.Name, instances: s, routes: routes(s.Name, s), members: was.members})
	}
	for _, was := range past {
		claims = r.remember(claims, was, known)
	}
	for _, name := range r.declared() {
		if _, ok := c.Service(name); !ok && !known[name] {
			claims = append(claims, claim{service: name, routes: routes(name, nil)})
		}
	}
	slices.SortFunc(claims, func(x, y claim) int { return cmp.Compare(x.service, y.service) })
	for n := range claims {
		claims[n].reached = r.tcp(claims[n].service)
	}
	return claims
}

// remember adds the claim of a service that has become empty, for a while.
func (r *router) remember(claims []claim, was claim, known map[string]bool) []claim {
	if was.instances != nil {
		was.instances, was.members, was.gone = nil, nil, r.now()
	}
	if was.gone.IsZero() || r.now().Sub(was.gone) > rememberFor {
		return claims
	}
	known[was.service] = true
	return append(claims, was)
}

// forgets gives the time at which the first of the empty services is forgotten.
func forgets(claims []claim) (first time.Time) {
	for _, c := range claims {
		if end := c.gone.Add(rememberFor); !c.gone.IsZero() && (first.IsZero() || end.Before(first)) {
			first = end
		}
	}
	return first
}

// recordRoutes gathers what a service's instances say about where it is reached.
func recordRoutes(s *discovery.Service) []Route {
	routes := map[Route]bool{}
	for n, i := range s.Instances {
		if n > 0 && i.Path == s.Instances[n-1].Path && slices.Equal(i.Hosts, s.Instances[n-1].Hosts) {
			continue // as nearly all do
		}
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
func (r Routing) granted(route Route) (service string, ok bool) {
	longest := -1
	for _, o := range r.Routes {
		below := route.Path == o.Path || strings.HasPrefix(route.Path, o.Path+"/")
		if o.Host == route.Host && below && len(o.Path) > longest {
			service, longest = o.Service, len(o.Path)
		}
	}
	return service, longest >= 0
}

// assign settles who gets each host and path, and marks the claims that got one: the
// operator's routes first, then services with instances in the order of their names,
// then those without: one that was renamed must not keep its host from its successor.
func (r Routing) assign(claims []claim) (taken []Route, lost map[Route]string) {
	type place struct{ host, path string }
	owners := make(map[place]string, len(claims))
	taken, lost = make([]Route, 0, len(claims)), map[Route]string{}
	take := func(route Route) (owner string) {
		at := place{route.Host, route.Path}
		if by, ok := r.granted(route); ok && by != route.Service {
			return by
		}
		if owner, ok := owners[at]; ok {
			return owner
		}
		owners[at] = route.Service
		taken = append(taken, route)
		return route.Service
	}
	for _, route := range r.Routes {
		take(route)
	}
	for _, live := range []bool{true, false} {
		for n := range claims {
			c := &claims[n]
			if (c.instances != nil) != live {
				continue
			}
			for _, route := range c.routes {
				if owner := take(route); owner == c.service {
					c.reached = true
				} else if live {
					lost[route] = owner
				}
			}
		}
	}
	return taken, lost
}
