package templates

// Places gives, by the upstreams' names, where a server keeps their members, in the
// terms of its driver in package reload. An upstream whose members only a reload changes
// has none. They depend on nothing but the structure.
func (b Balancer) Places() map[string][]string {
	if b.Members == "" {
		return nil
	}
	places := map[string][]string{}
	switch b.Proxy {
	case "apache":
		return b.ApachePlaces()
	case "haproxy": // backends
		for _, u := range b.HTTPUpstreams() {
			places[u.Name] = append(places[u.Name], "rollcall_"+u.Name)
		}
		for _, u := range b.TCPUpstreams() {
			places[u.Name] = append(places[u.Name], "rollcall-tcp_"+u.Name)
		}
	case "nginx":
		for _, u := range b.HTTPUpstreams() {
			places[u.Name] = []string{u.Name}
		}
	}
	return places
}
