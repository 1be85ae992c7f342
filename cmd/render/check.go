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

// checkTCP reads --tcp.
func (o *options) checkTCP(m *cli.Mistakes) {
	if len(o.tcp) > 0 && !o.streams {
		m.Addf("--tcp", "use HAProxy, or nginx with --supervise", "Apache has no TCP services")
		return
	}
	for _, text := range o.tcp {
		address, service, ok := strings.Cut(text, "=")
		err := fmt.Errorf("%q is not ADDRESS=SERVICE", text)
		if ok {
			_, err = checkListen(address)
		}
		if err == nil {
			err = discovery.ValidateName(service)
		}
		if err != nil {
			m.Add("--tcp", "for example :5432=db or 127.0.0.1:6379=redis", err)
			continue
		}
		o.routing.TCP = append(o.routing.TCP, renderer.TCPRoute{Listen: address, Service: service})
	}
}

// checkListens looks at all that is listened on. An address twice is refused by the server.
func (o *options) checkListens(m *cli.Mistakes) {
	if !o.server() {
		return
	}
	const hint = "for example :80, 127.0.0.1:8080 or [::1]:80"
	if len(o.listen) == 0 {
		m.Addf("--listen", hint, "is empty")
	}
	if o.certs == "" {
		o.listenTLS = nil
	}
	var tcp []string
	for _, t := range o.routing.TCP {
		tcp = append(tcp, t.Listen)
	}
	taken := map[string]string{}
	for _, list := range []struct {
		flag      string
		addresses []string
	}{{"--listen", o.listen}, {"--listen-tls", o.listenTLS}, {"--tcp", tcp}} {
		for _, text := range list.addresses {
			address, err := checkListen(text)
			if err != nil {
				m.Add(list.flag, hint, err)
				continue
			}
			switch other, ok := taken[address]; {
			case ok && other == list.flag:
				m.Addf(list.flag, "leave one of both out", "%q is given twice", text)
			case ok:
				m.Addf(list.flag, "choose another port", "%q is what %s listens on already", text, other)
			}
			taken[address] = list.flag
		}
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
