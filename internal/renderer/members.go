package renderer

import (
	"rollcall/internal/discovery"
	"rollcall/internal/templates"
)

// address gives an instance's address, or false when its name does not resolve.
type address func(*discovery.Instance) (string, bool)

// members are a service's instances as servers.
type members struct {
	of      *discovery.Service
	servers []templates.Server
	routed  *discovery.Service // with the instances that are servers; nil if none is
	skipped []string           // as "service/instance", like those below
	why     map[string]string  // they are skipped
	held    []string
	names   bool // some hosts are names, so that all of this may change with an address
}

// after gives the members of a service; m are those of the version before, nil if there is
// none. Catalogs share what is the same, and in most changes that is all services but one,
// and of that one all instances but one.
func (m *members) after(s *discovery.Service, address address) *members {
	if m != nil && !m.names {
		if m.of == s {
			return m
		}
		if next := m.changed(s); next != nil {
			return next
		}
	}
	return newMembers(s, address)
}

// changed gives what newMembers would, from a comparison of pointers with the version before:
// as long as every instance is a server, two can only clash where one of them is new. It
// gives nil where that is not enough: where something is not a server, or by a host name.
func (m *members) changed(s *discovery.Service) *members {
	if m.routed != m.of {
		return nil
	}
	next := &members{of: s, routed: s, servers: make([]templates.Server, 0, len(s.Instances))}
	fresh := map[string]bool{} // the addresses of what is new
	before, at := m.of.Instances, 0
	for _, i := range s.Instances {
		if i.Held {
			next.held = append(next.held, i.ID())
		}
		for at < len(before) && before[at] != i && before[at].Name < i.Name {
			at++
		}
		if at < len(before) && before[at] == i {
			next.servers = append(next.servers, m.servers[at])
			at++
			continue
		}
		addr, ok := i.Addr()
		if !ok || i.Proto != "tcp" {
			return nil
		}
		endpoint := discovery.JoinHostPort(addr.String(), i.Port)
		fresh[endpoint] = true
		next.servers = append(next.servers, server(i, endpoint))
	}
	users := 0
	for n := range next.servers {
		if fresh[next.servers[n].Address] {
			users++
		}
	}
	if users > len(fresh) {
		return nil // two have one address
	}
	return next
}

func server(i *discovery.Instance, endpoint string) templates.Server {
	return templates.Server{
		Name: i.Name, Host: i.Host, Port: i.Port, Address: endpoint,
		Weight: i.Weight, Version: i.Version, Node: i.Node,
	}
}

// newMembers lists a service's members by name, and those that cannot be one: what is
// not spoken to by TCP, what does not resolve, and of two records with one endpoint
// the older, which is what a lost machine left behind.
func newMembers(s *discovery.Service, address address) *members {
	m := &members{of: s, servers: make([]templates.Server, 0, len(s.Instances))}
	endpoints := make([]string, len(s.Instances))
	newest := make(map[string]*discovery.Instance, len(s.Instances))
	for n, i := range s.Instances {
		if i.Proto != "tcp" {
			continue
		}
		if _, ok := i.Addr(); !ok {
			m.names = true
		}
		host, ok := address(i)
		if !ok {
			continue
		}
		endpoints[n] = discovery.JoinHostPort(host, i.Port)
		if other := newest[endpoints[n]]; other == nil || other.Revision < i.Revision {
			newest[endpoints[n]] = i
		}
	}
	var routed []*discovery.Instance
	for n, i := range s.Instances {
		if i.Held { // even while nothing leads to it: that may change before it is let go
			m.held = append(m.held, i.ID())
		}
		if newest[endpoints[n]] != i {
			m.skip(i, newest[endpoints[n]])
			continue
		}
		routed = append(routed, i)
		m.servers = append(m.servers, server(i, endpoints[n]))
	}
	switch {
	case len(routed) == len(s.Instances):
		m.routed = s
	case len(routed) > 0:
		m.routed = &discovery.Service{Name: s.Name, Instances: routed}
	}
	return m
}

// skip notes that an instance cannot be a server, perhaps because another one is.
func (m *members) skip(i, other *discovery.Instance) {
	reason := "its host does not resolve"
	switch {
	case i.Proto != "tcp":
		reason = "it is not spoken to by tcp"
	case other != nil:
		reason = "it has the same address as " + other.ID()
	}
	if m.why == nil {
		m.why = map[string]string{}
	}
	m.skipped = append(m.skipped, i.ID())
	m.why[i.ID()] = reason
}

func ids(s *discovery.Service) []string {
	all := make([]string, len(s.Instances))
	for n, i := range s.Instances {
		all[n] = i.ID()
	}
	return all
}
