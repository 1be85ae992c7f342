package reload

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// checkPorts looks whether the addresses on which the server is going to listen are
// free, or its own. No server's check looks: nginx keeps the old configuration then,
// HAProxy's worker fails, and Apache dies.
func (w *work) checkPorts() error {
	var errs []error
	for _, listen := range w.candidate.Listen {
		if slices.Contains(w.listens, listen) {
			continue // to look again through all of the server's files takes longer than to check a configuration
		}
		addresses, err := parseListen(listen)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for _, a := range addresses {
			err := tryBind(a)
			if err == nil || a != addresses[0] && noSuchAddress(err) { // without IPv6 ":80" is 0.0.0.0:80 alone
				continue
			}
			if !w.proxy.Holds(a) {
				errs = append(errs, portError(listen, a, err))
				break
			}
		}
	}
	return errors.Join(errs...)
}

func noSuchAddress(err error) bool {
	return errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.EAFNOSUPPORT)
}

// parseListen gives what a server listens on for ":80", "127.0.0.1:80" or "[::1]:80".
func parseListen(listen string) ([]netip.AddrPort, error) {
	if port, ok := strings.CutPrefix(listen, ":"); ok {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			return nil, fmt.Errorf("listen on %s: %w", listen, err)
		}
		return []netip.AddrPort{
			netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(n)), netip.AddrPortFrom(netip.IPv6Unspecified(), uint16(n)),
		}, nil
	}
	a, err := netip.ParseAddrPort(listen)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", listen, err)
	}
	return []netip.AddrPort{a}, nil
}

// tryBind binds a socket as servers do, and closes it. It never listens: of two
// sockets with SO_REUSEADDR none keeps the other from its address before one of
// them listens, so a server that is starting at the same moment is not disturbed.
func tryBind(a netip.AddrPort) error {
	family := unix.AF_INET
	if a.Addr().Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return bindTo(fd, a)
}

func bindTo(fd int, a netip.AddrPort) error {
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return err
	}
	if a.Addr().Is4() {
		return unix.Bind(fd, &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()})
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1); err != nil {
		return err
	}
	return unix.Bind(fd, &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()})
}

// portError says why an address cannot be listened on, and what to do about it.
func portError(listen string, a netip.AddrPort, err error) error {
	hint := ""
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		hint = holder(a)
	case errors.Is(err, unix.EACCES):
		hint = fmt.Sprintf("user %d needs CAP_NET_BIND_SERVICE, in a systemd unit by AmbientCapabilities=; "+
			"or listen on a port that the sysctl net.ipv4.ip_unprivileged_port_start allows", os.Geteuid())
	case errors.Is(err, unix.EADDRNOTAVAIL):
		hint = "no interface has this address, see `ip address`; one that comes later needs the sysctl net.ipv4.ip_nonlocal_bind"
	default:
		return fmt.Errorf("listen on %s: %w", listen, err)
	}
	return fmt.Errorf("listen on %s: %w (hint: %s)", listen, err, hint)
}

// holder says who listens on an address, or on one that includes it, and what can be done.
func holder(a netip.AddrPort) string {
	found := slices.DeleteFunc(listeners(os.Getpid()), func(l listener) bool { return !l.overlaps(a) })
	if len(found) == 0 {
		return "it is bound by a process that does not accept connections on it, see `ss -tan`"
	}
	l := found[0]
	who := fmt.Sprintf("a process of user %d", l.uid)
	for _, p := range processes(func(stat) bool { return true }) {
		if held, err := p.open(sockets{l.socket: true}); err == nil && len(held) > 0 {
			s, _ := readStat(p.Pid)
			who = fmt.Sprintf("%s, pid %d,", s.comm, p.Pid)
			break
		}
	}
	hint := fmt.Sprintf("%s listens on %s: stop it, or choose another address", who, l.address)
	if !l.is(a) {
		hint += "; if it is the balancer itself, restart it, since it cannot change between one address and all of them while it runs"
	}
	return hint
}

// checkListening looks whether the server that serves the candidate is where clients
// are to find it. Apache serves what its virtual hosts say, and only where another
// file of its configuration has it listen.
func (w *work) checkListening() error {
	p, ok := w.proxy.(interface{ Listens(a netip.AddrPort) bool })
	if !ok {
		return nil
	}
	var errs []error
	for _, listen := range w.candidate.Listen {
		if slices.Contains(w.listens, listen) {
			continue
		}
		addresses, err := parseListen(listen)
		if err == nil && !slices.ContainsFunc(addresses, p.Listens) {
			err = fmt.Errorf("%s serves it, but does not listen on %s (hint: its own configuration has to, with \"Listen %s\")", w.proxy.Name(), listen, strings.TrimPrefix(listen, ":"))
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Listens says whether the server accepts connections on an address, or on one that
// includes it; it says so, too, where that cannot be known.
func (s *server) Listens(a netip.AddrPort) bool {
	return s.holds(func(l listener) bool { return l.overlaps(a) })
}

// Holds implements Proxy.
func (s *server) Holds(a netip.AddrPort) bool {
	return s.holds(func(l listener) bool { return l.is(a) })
}

// Holds implements Proxy. HAProxy's new workers listen beside the old ones, so one
// address may become all of them.
func (h *HAProxy) Holds(a netip.AddrPort) bool {
	return h.holds(func(l listener) bool { return l.overlaps(a) })
}

// holds says whether the server has such a listener. What cannot be known is left to
// the server: who runs in another network, or for another user, or not at all,
// although nobody here starts it.
func (s *server) holds(match func(listener) bool) bool {
	m, runs := s.master.Process()
	if !runs {
		if _, starts := s.master.(*Supervisor); !starts {
			return true
		}
	}
	serving := s.children()
	if runs {
		serving = append([]Process{m}, serving...)
	}
	among := socketsOf(slices.DeleteFunc(listeners(os.Getpid()), func(l listener) bool { return !match(l) }))
	for _, p := range serving {
		if !p.nearby() {
			return true
		}
		held, err := p.open(among)
		if len(held) > 0 || err != nil && p.alive() {
			return true
		}
	}
	return false
}

// nearby says that the process has the same network as this one.
func (p Process) nearby() bool {
	own, errA := os.Readlink("/proc/self/ns/net")
	its, errB := os.Readlink(procPath(p.Pid, "ns/net"))
	return errA != nil || errB != nil || own == its
}

// Holds implements Proxy.
func (c *commands) Holds(a netip.AddrPort) bool { return c.driver == nil || c.driver.Holds(a) }
