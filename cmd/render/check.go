package main

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"rollcall/internal/cli"
	"rollcall/internal/discovery"
	"rollcall/internal/renderer"
)

// checkRoutes reads --route. Of two for one place the second would never be used.
func (o *options) checkRoutes(m *cli.Mistakes) {
	const hint = "for example www.example.com/shop=shop, or *=website"
	taken := map[renderer.Route]string{}
	for _, text := range o.routes {
		route, err := renderer.ParseRoute(text)
		if err != nil {
			m.Add("--route", hint, err)
			continue
		}
		place := renderer.Route{Host: route.Host, Path: route.Path}
		if other, ok := taken[place]; ok && other != route.Service {
			m.Addf("--route", "leave one of both out", "%q leads to where %s is already", text, other)
		}
		taken[place] = route.Service
		o.routing.Routes = append(o.routing.Routes, route)
	}
}

// checkListens looks at --listen. An address twice is refused by the server.
func (o *options) checkListens(m *cli.Mistakes) {
	const hint = "for example :80, 127.0.0.1:8080 or [::1]:80"
	if len(o.listen) == 0 {
		m.Addf("--listen", hint, "is empty")
	}
	var seen []string
	for _, text := range o.listen {
		address, err := checkListen(text)
		if err != nil {
			m.Add("--listen", hint, err)
			continue
		}
		if slices.Contains(seen, address) {
			m.Addf("--listen", "leave one of both out", "%q is given twice", text)
		}
		seen = append(seen, address)
	}
}

// checkListen accepts ":80", "127.0.0.1:80" and "[::1]:80", and gives each address
// in one form.
func checkListen(s string) (string, error) {
	if port, ok := strings.CutPrefix(s, ":"); ok {
		n, err := discovery.ParsePort(port)
		return discovery.JoinHostPort("0.0.0.0", n), err
	}
	host, port, err := discovery.SplitHostPort(s)
	if err != nil {
		return "", err
	}
	addr, err := netip.ParseAddr(host)
	if err != nil || addr.Zone() != "" {
		return "", fmt.Errorf("%q is not an IP address", host)
	}
	return discovery.JoinHostPort(addr.String(), port), nil
}

// hasIPv6 says whether the machine can listen on IPv6 at all.
func hasIPv6() bool {
	addrs, err := net.InterfaceAddrs()
	return err == nil && slices.ContainsFunc(addrs, func(a net.Addr) bool {
		p, err := netip.ParsePrefix(a.String())
		return err == nil && p.Addr().Is6()
	})
}
