package announcer

import (
	"net/netip"
	"testing"
	"time"

	"go.uber.org/goleak"

	"rollcall/internal/discovery"
	"rollcall/internal/discovery/docker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var noon = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

// rules are those of a machine's announcer without any flag.
func rules(change ...func(*Rules)) Rules {
	r := Rules{
		Node: "Core-01", Machine: "m1", Address: netip.MustParseAddr("10.0.0.5"),
		Flags: map[string]string{}, Prefix: discovery.DefaultPrefix, Layout: discovery.LayoutJSON,
	}
	for _, c := range change {
		c(&r)
	}
	return r
}

// flag says something as the operator does.
func flag(setting, value string) func(*Rules) {
	return func(r *Rules) { r.Flags[setting] = value }
}

// container is a running one that publishes port 80 on every address.
func container(change ...func(*docker.Container)) docker.Container {
	c := docker.Container{
		ID: "4f0c", Name: "web1", Image: "nginx", State: "running", Started: noon, NetworkMode: "bridge",
		Labels: map[string]string{}, Env: map[string]string{},
		Ports:    []docker.Port{published(80, "tcp", "0.0.0.0:32768")},
		Networks: []docker.Network{{Name: "bridge", IPv4: netip.MustParseAddr("172.17.0.2"), Gateway: netip.MustParseAddr("172.17.0.1")}},
	}
	for _, f := range change {
		f(&c)
	}
	return c
}

func published(number uint16, proto string, on ...string) docker.Port {
	p := docker.Port{Number: number, Proto: proto}
	for _, s := range on {
		at := netip.MustParseAddrPort(s)
		p.Bindings = append(p.Bindings, docker.Binding{IP: at.Addr(), Port: at.Port()})
	}
	return p
}

func ports(p ...docker.Port) func(*docker.Container) {
	return func(c *docker.Container) { c.Ports = p }
}

// label and env take names and values in turn.
func label(kv ...string) func(*docker.Container) {
	return func(c *docker.Container) { fill(c.Labels, kv) }
}

func env(kv ...string) func(*docker.Container) {
	return func(c *docker.Container) { fill(c.Env, kv) }
}

func fill(m map[string]string, kv []string) {
	for i := 0; i < len(kv); i += 2 {
		m[kv[i]] = kv[i+1]
	}
}

func image(name string) func(*docker.Container) {
	return func(c *docker.Container) { c.Image = name }
}

func called(name string) func(*docker.Container) {
	return func(c *docker.Container) { c.Name = name }
}

func network(mode string, networks ...docker.Network) func(*docker.Container) {
	return func(c *docker.Container) { c.NetworkMode, c.Networks = mode, networks }
}

func on(name, ipv4, ipv6 string) docker.Network {
	n := docker.Network{Name: name}
	if ipv4 != "" {
		n.IPv4 = netip.MustParseAddr(ipv4)
	}
	if ipv6 != "" {
		n.IPv6 = netip.MustParseAddr(ipv6)
	}
	return n
}
