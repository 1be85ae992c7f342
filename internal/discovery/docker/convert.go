package docker

import (
	"cmp"
	"errors"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/go-connections/nat"
)

// convert takes from an engine's answer what matters here. Any part of it may be
// missing; addresses and ports that are none are left out.
func convert(in container.InspectResponse) (Container, error) {
	if in.ContainerJSONBase == nil || in.ID == "" {
		return Container{}, errors.New("the engine's answer describes no container")
	}
	c := Container{ID: in.ID, Name: strings.TrimPrefix(in.Name, "/")}
	if s := in.State; s != nil {
		c.State = s.Status
		if s.Health != nil && s.Health.Status != container.NoHealthcheck {
			c.Health = s.Health.Status
		}
		// The engine writes year 1 for "never", which is Go's zero time as well.
		if t, err := time.Parse(time.RFC3339Nano, s.StartedAt); err == nil {
			c.Started = t
		}
	}
	if in.HostConfig != nil {
		c.NetworkMode = string(in.HostConfig.NetworkMode)
	}
	var exposed nat.PortSet
	if cfg := in.Config; cfg != nil {
		c.Image, c.Labels, c.Env, exposed = cfg.Image, cfg.Labels, environment(cfg.Env), cfg.ExposedPorts
		// An image that was asked for by the beginning of its id has no name, as one by all of it.
		if strings.HasPrefix(in.Image, "sha256:"+c.Image) && len(c.Image) >= 12 {
			c.Image = "sha256:" + c.Image
		}
		c.HealthPeriod = healthPeriod(cfg.Healthcheck)
	}
	var published nat.PortMap
	// Podman shows the ports and addresses of the other at a container that uses its network;
	// Docker shows none.
	if in.NetworkSettings != nil && !strings.HasPrefix(c.NetworkMode, sharing) {
		published = in.NetworkSettings.Ports
		c.Networks = networks(in.NetworkSettings.Networks)
	}
	c.Ports = ports(exposed, published)
	return c, nil
}

// healthPeriod reads a HEALTHCHECK, which "NONE" disables and an empty test leaves to the image.
func healthPeriod(h *container.HealthConfig) time.Duration {
	if h == nil || len(h.Test) == 0 || h.Test[0] == "NONE" {
		return 0
	}
	const usual = 30 * time.Second // https://docs.docker.com/reference/dockerfile/#healthcheck
	period := time.Duration(0)
	for _, d := range []time.Duration{h.Interval, h.Timeout} {
		if d <= 0 {
			d = usual
		}
		period += d
	}
	return period
}

// environment splits "NAME=value". A name without a value is one that is to be unset.
func environment(list []string) map[string]string {
	env := make(map[string]string, len(list))
	for _, e := range list {
		if name, value, ok := strings.Cut(e, "="); ok && name != "" {
			env[name] = value
		}
	}
	return env
}

func ports(exposed nat.PortSet, published nat.PortMap) []Port {
	type key struct {
		number uint16
		proto  string
	}
	all := map[key][]Binding{}
	for p := range exposed {
		if number, proto, ok := parsePort(string(p)); ok {
			all[key{number, proto}] = nil
		}
	}
	for p, bs := range published {
		if number, proto, ok := parsePort(string(p)); ok {
			k := key{number, proto}
			all[k] = append(all[k], bindings(bs)...)
		}
	}
	list := make([]Port, 0, len(all))
	for k, bs := range all {
		slices.SortFunc(bs, func(a, b Binding) int { return cmp.Or(a.IP.Compare(b.IP), cmp.Compare(a.Port, b.Port)) })
		list = append(list, Port{Number: k.number, Proto: k.proto, Bindings: slices.Compact(bs)})
	}
	slices.SortFunc(list, func(a, b Port) int {
		return cmp.Or(cmp.Compare(a.Number, b.Number), cmp.Compare(a.Proto, b.Proto))
	})
	return list
}

// parsePort reads "80/tcp", or "80", which means the same.
func parsePort(s string) (number uint16, proto string, ok bool) {
	digits, proto, found := strings.Cut(s, "/")
	if !found {
		proto = "tcp"
	}
	n, err := strconv.ParseUint(digits, 10, 16)
	proto = strings.ToLower(proto)
	return uint16(n), proto, err == nil && n > 0 && proto != ""
}

func bindings(in []nat.PortBinding) []Binding {
	var out []Binding
	for _, b := range in {
		port, err := strconv.ParseUint(b.HostPort, 10, 16)
		if err != nil || port == 0 {
			continue
		}
		ip := netip.IPv4Unspecified() // what an engine means that writes no address
		if b.HostIP != "" {
			ip, err = netip.ParseAddr(b.HostIP)
		}
		if err == nil {
			out = append(out, Binding{IP: ip.Unmap(), Port: uint16(port)})
		}
	}
	return out
}

func networks(in map[string]*network.EndpointSettings) []Network {
	list := make([]Network, 0, len(in))
	for name, e := range in {
		n := Network{Name: name}
		if e != nil {
			n.IPv4, n.IPv6, n.Gateway = address(e.IPAddress), address(e.GlobalIPv6Address), address(e.Gateway)
			if !n.IPv4.Is4() {
				n.IPv4 = netip.Addr{}
			}
			if !n.IPv6.Is6() {
				n.IPv6 = netip.Addr{}
			}
		}
		list = append(list, n)
	}
	slices.SortFunc(list, func(a, b Network) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

// address gives an address that is not valid for anything that is none, such as "".
func address(s string) netip.Addr {
	ip, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Addr{}
	}
	return ip.Unmap()
}
