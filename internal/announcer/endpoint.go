package announcer

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"rollcall/internal/discovery/docker"
)

// endpoint works out where a port is reached: on the container's own address, or
// on this machine's where Docker publishes it.
func (r *Rules) endpoint(c *docker.Container, s settings, p docker.Port) (netip.AddrPort, error) {
	internal, err := r.internal(s, p)
	if err != nil {
		return netip.AddrPort{}, err
	}
	switch {
	case c.NetworkMode == "host":
		return r.onMachine(p.Number)
	case internal:
		return r.onNetwork(c, s, p)
	case len(p.Bindings) == 0:
		return netip.AddrPort{}, fmt.Errorf("port %d is not published: publish it (docker run -p), or use --internal", p.Number)
	default:
		return r.published(p)
	}
}

func (r *Rules) onMachine(port uint16) (netip.AddrPort, error) {
	if !r.Address.IsValid() {
		return netip.AddrPort{}, errors.New("this machine's address is not known: say it with --address")
	}
	return netip.AddrPortFrom(r.Address, port), nil
}

// published chooses the binding that other machines can reach: one on this
// machine's address, or on every address of the same family.
func (r *Rules) published(p docker.Port) (netip.AddrPort, error) {
	var rejected []string
	var other netip.AddrPort
	for _, b := range p.Bindings {
		switch {
		case b.IP.IsUnspecified() && r.Address.IsValid() && b.IP.Is4() == r.Address.Is4():
			return netip.AddrPortFrom(r.Address, b.Port), nil
		case b.IP == r.Address:
			return netip.AddrPortFrom(b.IP, b.Port), nil
		case b.IP.IsUnspecified():
			rejected = append(rejected, fmt.Sprintf("%s:%d (another address family than %s)", b.IP, b.Port, r.Address))
		case b.IP.IsLoopback():
			rejected = append(rejected, fmt.Sprintf("%s:%d (loopback: no other machine can reach it)", b.IP, b.Port))
		case !other.IsValid():
			other = netip.AddrPortFrom(b.IP, b.Port)
		}
	}
	if other.IsValid() {
		return other, nil
	}
	if !r.Address.IsValid() {
		return r.onMachine(p.Number)
	}
	return netip.AddrPort{}, fmt.Errorf("port %d is published only on %s", p.Number, strings.Join(rejected, ", "))
}

// onNetwork gives the container's own address; where it has several networks, one must be named.
func (r *Rules) onNetwork(c *docker.Container, s settings, p docker.Port) (netip.AddrPort, error) {
	name := r.Network
	if name == "" {
		name, _ = s.get("network", p.Number)
	}
	var names []string
	var addrs []netip.Addr
	for _, n := range c.Networks {
		names = append(names, n.Name)
		if name != "" && n.Name != name {
			continue
		}
		switch {
		case n.IPv4.IsValid() && (!r.Address.IsValid() || r.Address.Is4() || !n.IPv6.IsValid()):
			addrs = append(addrs, n.IPv4)
		case n.IPv6.IsValid():
			addrs = append(addrs, n.IPv6)
		}
	}
	switch {
	case len(addrs) == 1:
		return netip.AddrPortFrom(addrs[0], p.Number), nil
	case len(addrs) > 1:
		return netip.AddrPort{}, fmt.Errorf("container is on several networks (%s): choose one with --network or the label rollcall.network", strings.Join(names, ", "))
	case name != "":
		return netip.AddrPort{}, fmt.Errorf("container has no address on network %q; it is on: %s", name, strings.Join(names, ", "))
	default:
		return netip.AddrPort{}, errors.New("container has no address of its own")
	}
}

// MachineAddress finds the address under which other machines reach this one:
// COREOS_PRIVATE_IPV4 or COREOS_PUBLIC_IPV4 where the environment has them, else
// the source address of the route towards etcd, else of the default route. It
// sends nothing.
func MachineAddress(endpoints []string, getenv func(string) string) (netip.Addr, error) {
	for _, name := range []string{"COREOS_PRIVATE_IPV4", "COREOS_PUBLIC_IPV4"} {
		if v := getenv(name); v != "" {
			addr, err := netip.ParseAddr(v)
			if err == nil {
				err = UsableAddress(addr)
			}
			if err != nil {
				return netip.Addr{}, fmt.Errorf("%s=%s: %w", name, v, err)
			}
			return addr, nil
		}
	}
	// The last two are addresses for documentation: any route that leads away will do.
	for _, target := range append(endpoints, "192.0.2.1:9", "[2001:db8::1]:9") {
		if _, after, ok := strings.Cut(target, "://"); ok {
			target = after
		}
		conn, err := net.Dial("udp", target)
		if err != nil {
			continue
		}
		addr := conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
		_ = conn.Close()
		if UsableAddress(addr) == nil && !onBridge(addr) {
			return addr, nil
		}
	}
	return netip.Addr{}, errors.New("no route to etcd or anywhere else tells this machine's address")
}

// UsableAddress refuses what no other machine could reach.
func UsableAddress(addr netip.Addr) error {
	switch {
	case addr.IsUnspecified(), addr.IsMulticast():
		return errors.New("is not the address of one machine")
	case addr.IsLoopback():
		return errors.New("is loopback: no other machine can reach it")
	case addr.IsLinkLocalUnicast():
		return errors.New("is link-local: only this network segment can reach it")
	}
	return nil
}

// onBridge says whether the address is a Docker bridge's own.
func onBridge(addr netip.Addr) bool {
	interfaces, err := net.Interfaces()
	if err != nil {
		return false
	}
	for _, in := range interfaces {
		if in.Name != "docker0" && !strings.HasPrefix(in.Name, "br-") && !strings.HasPrefix(in.Name, "podman") {
			continue
		}
		addrs, err := in.Addrs()
		if err != nil {
			continue
		}
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr() == addr {
				return true
			}
		}
	}
	return false
}
