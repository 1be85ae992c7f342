package announcer

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

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
			if bridgeAddresses()[addr.Unmap()] {
				return netip.Addr{}, fmt.Errorf("%s: %s is a container bridge's own: no other machine can reach it", name, addr)
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
		if UsableAddress(addr) == nil && !bridgeAddresses()[addr] {
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

// bridgesFor is how long the addresses of this machine's bridges are taken for known: to
// read them takes milliseconds where there are many interfaces.
const bridgesFor = 10 * time.Second

// Bridges gives a function that says whether an address is a container bridge's own on
// this machine. It may be called from anywhere.
func Bridges() func(netip.Addr) bool {
	var mu sync.Mutex
	var known map[netip.Addr]bool
	var read time.Time
	return func(addr netip.Addr) bool {
		mu.Lock()
		defer mu.Unlock()
		if known == nil || time.Since(read) > bridgesFor {
			known, read = bridgeAddresses(), time.Now()
		}
		return known[addr]
	}
}

// bridgeAddresses reads the addresses of this machine's container bridges.
func bridgeAddresses() map[netip.Addr]bool {
	found := map[netip.Addr]bool{}
	interfaces, err := net.Interfaces()
	if err != nil {
		return found
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
			if p, err := netip.ParsePrefix(a.String()); err == nil {
				found[p.Addr()] = true
			}
		}
	}
	return found
}

// isBridge knows the names that Docker and Podman give the bridges they make: Docker's
// end in the first twelve digits of the network's id. "br-lan" is somebody else's.
func isBridge(name string) bool {
	id, ok := strings.CutPrefix(name, "br-")
	return name == "docker0" || strings.HasPrefix(name, "podman") || strings.HasPrefix(name, "cni-podman") ||
		ok && len(id) == 12 && strings.Trim(id, "0123456789abcdef") == ""
}
