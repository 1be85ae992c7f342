package reload

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// sockets are inodes of sockets, as "socket:[123]".
type sockets map[string]bool

// A listener is a TCP socket that accepts connections.
type listener struct {
	address netip.AddrPort
	uid     int
	socket  string
}

// listeners lists those in the process's network namespace.
func listeners(pid int) []listener {
	var found []listener
	for _, name := range []string{"net/tcp", "net/tcp6"} {
		f, err := os.Open(procPath(pid, name))
		if err != nil {
			continue
		}
		lines := bufio.NewScanner(f)
		lines.Scan() // the heading
		for lines.Scan() {
			l, ok := parseListener(lines.Text())
			if !ok {
				// The kernel lists listeners first. Reading on would cost the time of
				// every open connection of the machine.
				break
			}
			found = append(found, l)
		}
		f.Close()
	}
	return found
}

// listening gives the sockets of all of them.
func listening(pid int) sockets { return socketsOf(listeners(pid)) }

func socketsOf(list []listener) sockets {
	s := sockets{}
	for _, l := range list {
		s[l.socket] = true
	}
	return s
}

// parseListener reads a line of /proc/net/tcp; ok is false when it is not a listener's.
func parseListener(line string) (l listener, ok bool) {
	fields := strings.Fields(line)
	const local, state, listen, user, inode = 1, 3, "0A", 7, 9
	if len(fields) <= inode || fields[state] != listen {
		return l, false
	}
	uid, err := strconv.Atoi(fields[user])
	address, ok := parseAddress(fields[local])
	return listener{address, uid, "socket:[" + fields[inode] + "]"}, ok && err == nil
}

// parseAddress reads an address as /proc/net/tcp has it: words of 32 bits in the
// machine's own order, and a port, in hexadecimal.
func parseAddress(text string) (a netip.AddrPort, ok bool) {
	host, port, _ := strings.Cut(text, ":")
	b, err := hex.DecodeString(host)
	n, errPort := strconv.ParseUint(port, 16, 16)
	if err != nil || errPort != nil {
		return a, false
	}
	for i := 0; i+4 <= len(b); i += 4 {
		binary.NativeEndian.PutUint32(b[i:], binary.BigEndian.Uint32(b[i:]))
	}
	addr, ok := netip.AddrFromSlice(b)
	return netip.AddrPortFrom(addr.Unmap(), uint16(n)), ok
}

// listensLocally says whether the process accepts connections on a unix socket.
func (p Process) listensLocally() bool {
	f, err := os.Open(procPath(p.Pid, "net/unix"))
	if err != nil {
		return false
	}
	defer f.Close()
	all := sockets{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		// Num RefCount Protocol Flags Type St Inode Path; the flag is __SO_ACCEPTCON.
		const flags, accepts, inode = 3, "00010000", 6
		if fields := strings.Fields(lines.Text()); len(fields) > inode && fields[flags] == accepts {
			all["socket:["+fields[inode]+"]"] = true
		}
	}
	held, err := p.open(all)
	return err == nil && len(held) > 0
}

// overlaps says that a server cannot listen on the address beside this listener.
func (l listener) overlaps(a netip.AddrPort) bool {
	mine := l.address.Addr()
	return l.address.Port() == a.Port() && (mine == a.Addr() || mine.IsUnspecified() || a.Addr().IsUnspecified())
}

// is says that the listener is what a server has that listens on the address. One
// for all of IPv6 may stand for all of IPv4 too.
func (l listener) is(a netip.AddrPort) bool {
	return l.address == a || l.overlaps(a) && l.address.Addr().IsUnspecified() && a.Addr().IsUnspecified()
}

// open gives those of the sockets that the process holds. An error says that this may
// not be known: the process belongs to another user, whose files root too may only list
// without CAP_SYS_PTRACE, which Docker does not give.
func (p Process) open(among sockets) (sockets, error) {
	dir := procPath(p.Pid, "fd")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	held := sockets{}
	for _, e := range entries {
		link, err := os.Readlink(filepath.Join(dir, e.Name()))
		if errors.Is(err, fs.ErrPermission) {
			return nil, err
		}
		if err == nil && among[link] {
			held[link] = true
		}
	}
	return held, nil
}
