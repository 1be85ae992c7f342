package announcer

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

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
	everywhere := false
	for _, b := range p.Bindings {
		at := netip.AddrPortFrom(b.IP, b.Port)
		family := r.Address.IsValid() && b.IP.Is4() == r.Address.Is4()
		switch err := UsableAddress(b.IP); {
		case b.IP.IsUnspecified() && family:
			return netip.AddrPortFrom(r.Address, b.Port), nil
		case b.IP == r.Address:
			return at, nil
		case b.IP.IsUnspecified():
			everywhere = true
			rejected = append(rejected, fmt.Sprintf("%s, which is of another address family than %s", at, r.Address))
		case err != nil:
			rejected = append(rejected, fmt.Sprintf("%s, which %v", at, err))
		case !other.IsValid(), family && other.Addr().Is4() != r.Address.Is4():
			other = at
		}
	}
	switch {
	case other.IsValid():
		return other, nil
	case everywhere && !r.Address.IsValid():
		return r.onMachine(p.Number)
	}
	return netip.AddrPort{}, fmt.Errorf("port %d is published only on %s", p.Number, strings.Join(rejected, "; "))
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
	case name != "" && len(names) > 0:
		return netip.AddrPort{}, fmt.Errorf("container has no address on network %.80q; it is on: %s", name, strings.Join(names, ", "))
	case name != "":
		return netip.AddrPort{}, fmt.Errorf("container has no address on network %.80q, nor on any other", name)
	default:
		return netip.AddrPort{}, errors.New("container has no address of its own")
	}
}

// lookupTimeout bounds the question for etcd's address by its name.
const lookupTimeout = 2 * time.Second

// MachineAddress finds the address under which other machines reach this one:
// COREOS_PRIVATE_IPV4 or COREOS_PUBLIC_IPV4 where the environment has them, else
// the source address of the route towards etcd, else of the default route. It
// sends nothing, except to ask for etcd's address where a name is given.
func MachineAddress(endpoints []string, getenv func(string) string) (netip.Addr, error) {
	for _, name := range []string{"COREOS_PRIVATE_IPV4", "COREOS_PUBLIC_IPV4"} {
		if v := getenv(name); v != "" {
			addr, err := netip.ParseAddr(v)
			if err != nil {
				return netip.Addr{}, fmt.Errorf("%s: %.80q is not an IP address", name, v)
			}
			if err := UsableAddress(addr); err != nil {
				return netip.Addr{}, fmt.Errorf("%s: %s %w", name, addr, err)
			}
			return addr.Unmap(), nil
		}
	}
	// The last two are addresses for documentation: any route that leads away will do.
	dialer := net.Dialer{Timeout: lookupTimeout}
	for _, target := range slices.Concat(endpoints, []string{"192.0.2.1:9", "[2001:db8::1]:9"}) {
		if _, after, ok := strings.Cut(target, "://"); ok {
			target = strings.TrimRight(after, "/")
		}
		conn, err := dialer.Dial("udp", target)
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
	zone := addr.Zone() // Unmap forgets it
	addr = addr.Unmap()
	switch {
	case addr.IsUnspecified(), addr.IsMulticast(), addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return errors.New("is not the address of one machine")
	case addr.IsLoopback():
		return errors.New("is loopback: no other machine can reach it")
	case addr.IsLinkLocalUnicast():
		return errors.New("is link-local: only this network segment can reach it")
	case zone != "":
		return errors.New("has a zone, which means something on this machine only")
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
		if !isBridge(in.Name) {
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

// isBridge knows the names that Docker and Podman give the bridges they make: Docker's
// end in the first twelve digits of the network's id. "br-lan" is somebody else's.
func isBridge(name string) bool {
	id, ok := strings.CutPrefix(name, "br-")
	return name == "docker0" || strings.HasPrefix(name, "podman") || strings.HasPrefix(name, "cni-podman") ||
		ok && len(id) == 12 && strings.Trim(id, "0123456789abcdef") == ""
}
