package templates

import (
	"slices"
	"strings"
)

// HTTPUpstreams gives the upstreams that a host's routes lead to, sorted by name.
func (b Balancer) HTTPUpstreams() []Upstream {
	named := map[string]bool{}
	for _, r := range b.Default.Routes {
		named[r.Upstream] = true
	}
	for _, h := range b.Hosts {
		for _, r := range h.Routes {
			named[r.Upstream] = true
		}
	}
	return b.upstreams(named)
}

// TCPUpstreams gives the upstreams that TCP listeners pass connections to, sorted by name.
func (b Balancer) TCPUpstreams() []Upstream {
	named := map[string]bool{}
	for _, l := range b.TCP {
		named[l.Upstream] = true
	}
	return b.upstreams(named)
}

func (b Balancer) upstreams(named map[string]bool) []Upstream {
	return slices.DeleteFunc(slices.Clone(b.Upstreams), func(u Upstream) bool { return !named[u.Name] })
}

// SummaryTCP is Summary of a service that has no status code to answer with.
func (u Upstream) SummaryTCP() string {
	return strings.Replace(u.Summary(), "503", "connections are closed", 1)
}
