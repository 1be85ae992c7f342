package templates

import (
	"slices"
	"strings"
)

// A Site is a set of host names that are answered alike. One without names answers
// for every other host.
type Site struct {
	Names       []string // "*.example.com" is one label before the others
	Routes      []Route
	Upstreams   []Upstream // that the routes lead to, sorted by name
	Plain       bool       // reached without TLS
	Certificate string     // the file, for a site that is reached with TLS
	Redirect    bool       // sends its clients to TLS, and does nothing else
}

// Sites gives the site of every other host first, those with a "*" last: Apache takes
// the first that matches. Hosts that are answered alike are one site, because Apache
// keeps the members of a balancer once for each of its virtual hosts. A name with an
// empty label is left out: both servers refuse a request for it, and nginx the whole
// configuration.
//
// A certificate is also for names that no service has asked for: what answers every
// other host answers them, with that certificate.
//
// A site holds all that its section of a configuration is made from, see sections. A
// route to an upstream that is not declared is an error.
func (b Balancer) Sites() ([]Site, error) {
	sites := b.sites()
	for i := range sites {
		for _, name := range upstreamNames(sites[i].Routes) {
			u, err := b.Upstream(name)
			if err != nil {
				return nil, err
			}
			sites[i].Upstreams = append(sites[i].Upstreams, u)
		}
	}
	return sites, nil
}

func (b Balancer) sites() []Site {
	redirect := b.Settings.Redirect && b.TLS()
	var away Site // hosts that are only reached with TLS
	sites, seen := []Site{}, map[string]int{}
	add := func(s Site, name string) {
		if redirect && s.Certificate != "" {
			away.Plain, away.Redirect = true, true
			away.Names = append(away.Names, name)
			s.Plain = false
		}
		if name == "" {
			sites = append(sites, s)
			return
		}
		key := s.key()
		i, ok := seen[key]
		if !ok {
			i = len(sites)
			seen[key] = i
			sites = append(sites, s)
		}
		sites[i].Names = append(sites[i].Names, name)
	}

	add(Site{Routes: b.Default.Routes, Plain: true, Certificate: b.Certificate("")}, "")
	for _, h := range b.Hosts {
		if !strings.Contains(h.Name, "..") {
			add(Site{Routes: h.Routes, Plain: true, Certificate: b.Certificate(h.Name)}, h.Name)
		}
	}
	for _, wild := range []bool{false, true} {
		for _, c := range b.Certificates {
			if b.TLS() && c.Name != "" && strings.HasPrefix(c.Name, "*.") == wild && !b.names(c.Name) {
				add(Site{Routes: b.Default.Routes, Certificate: c.File}, c.Name)
			}
		}
	}
	switch {
	case !away.Redirect:
		return sites
	case slices.Contains(away.Names, ""): // then every name has a certificate
		away.Names = nil
		return slices.Insert(sites, 1, away)
	default:
		return append(sites, away)
	}
}

// key is the same for sites that differ in nothing but their names.
func (s Site) key() string {
	var key strings.Builder
	for _, r := range s.Routes {
		key.WriteString(r.Path + " " + r.Upstream + "\n") // neither holds a blank
	}
	key.WriteString(s.Certificate)
	if s.Plain {
		key.WriteString(" plain")
	}
	return key.String()
}

// names says whether one of the named hosts is called so.
func (b Balancer) names(host string) bool {
	_, ok := slices.BinarySearchFunc(b.Hosts, host, func(h VirtualHost, name string) int { return strings.Compare(h.Name, name) })
	return ok
}

// TLS says whether anything is served with TLS.
func (b Balancer) TLS() bool { return len(b.ListenTLS) > 0 && len(b.Certificates) > 0 }

// Certificate gives the file that a host name is proven with: that of the name itself,
// of a "*" in place of its first label, or of every other name; "" if there is none.
func (b Balancer) Certificate(host string) string {
	if !b.TLS() {
		return ""
	}
	wild := ""
	if _, parent, ok := strings.Cut(host, "."); ok {
		wild = "*." + parent
	}
	for _, name := range []string{host, wild, ""} {
		i, ok := slices.BinarySearchFunc(b.Certificates, name, func(c Certificate, name string) int { return strings.Compare(c.Name, name) })
		if ok {
			return b.Certificates[i].File
		}
	}
	return ""
}

// Sockets gives addresses in the way of a server that has to be told each family: for
// ":80" these are "80" and, where the machine has IPv6, "[::]:80".
func (b Balancer) Sockets(addresses []string) []string {
	sockets := make([]string, 0, 2*len(addresses))
	for _, a := range addresses {
		port, every := strings.CutPrefix(a, ":")
		sockets = append(sockets, port)
		if every && b.IPv6 {
			sockets = append(sockets, "[::]"+a)
		}
	}
	return sockets
}

// PortTLS is what follows the host name in an address with TLS: ":8443", or "" where
// it is the port that goes without saying.
func (b Balancer) PortTLS() string {
	ports := make([]string, 0, len(b.ListenTLS))
	for _, l := range b.ListenTLS {
		ports = append(ports, l[strings.LastIndexByte(l, ':'):])
	}
	if len(ports) == 0 || slices.Contains(ports, ":443") {
		return ""
	}
	return ports[0]
}

// Upstream gives the one of the site's upstreams that a route names.
func (s Site) Upstream(name string) (Upstream, error) {
	return Balancer{Upstreams: s.Upstreams}.Upstream(name)
}

func upstreamNames(routes []Route) []string {
	names := make([]string, 0, len(routes))
	for _, r := range routes {
		names = append(names, r.Upstream)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Rooted says whether a route takes every path that no other one takes.
func (s Site) Rooted() bool {
	return slices.ContainsFunc(s.Routes, func(r Route) bool { return r.Path == "" })
}
