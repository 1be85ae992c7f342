package renderer

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"rollcall/internal/discovery"
)

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
	TCP      []TCPRoute
}

// A TCPRoute leads all connections to an address to a service, whatever they carry.
type TCPRoute struct {
	Listen  string // ":5432", "127.0.0.1:5432" or "[::1]:5432"
	Service string
}

// Covers lists the services that are routed to; nil means all.
func (r Routing) Covers() []string {
	if len(r.Services) == 0 {
		return nil
	}
	return r.declared()
}

// declared lists the services that the operator has named, sorted.
func (r Routing) declared() []string {
	all := slices.Clone(r.Services)
	for _, route := range r.Routes {
		all = append(all, route.Service)
	}
	for _, route := range r.TCP {
		all = append(all, route.Service)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// alone gives the service that was selected and no other, "" if there is none.
func (r Routing) alone() string {
	for _, s := range r.Services {
		if s != r.Services[0] {
			return ""
		}
	}
	if len(r.Services) == 0 {
		return ""
	}
	return r.Services[0]
}

// tcp says whether connections, and not requests, are led to the service.
func (r Routing) tcp(service string) bool {
	return slices.ContainsFunc(r.TCP, func(t TCPRoute) bool { return t.Service == service })
}

func compareRoutes(x, y Route) int {
	return cmp.Or(cmp.Compare(x.Host, y.Host), cmp.Compare(x.Path, y.Path), cmp.Compare(x.Service, y.Service))
}
