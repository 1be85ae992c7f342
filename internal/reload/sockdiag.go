package reload

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// A connection is what tells two apart: a socket's number that is never given again.
type connection uint64

// established lists the TCP connections to one of the ports in this network that are open
// on both sides. The kernel is asked by sock_diag(7): it sorts out itself what is wanted, where
// /proc/net/tcp costs the time of every connection that has ended in the last minute, too.
func established(ports []uint16) (map[connection]bool, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil, fmt.Errorf("list connections: %w", os.NewSyscallError("socket", err))
	}
	defer unix.Close(fd)
	// The kernel answers at once, unless it does not answer at all.
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 1}); err != nil {
		return nil, fmt.Errorf("list connections: %w", os.NewSyscallError("setsockopt", err))
	}
	found := map[connection]bool{}
	for _, port := range ports {
		for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
			if err := dump(fd, family, port, found); err != nil {
				return nil, fmt.Errorf("list connections: %w", err)
			}
		}
	}
	return found, nil
}

// dump adds those of one family to one port. The layouts are those of struct
// inet_diag_req_v2 and struct inet_diag_msg in linux/inet_diag.h.
func dump(fd int, family uint8, port uint16, found map[connection]bool) error {
	const (
		request     = 56
		states      = 4 // where the mask of states is in it
		sourcePort  = 8
		answer      = 72
		cookie      = 44 // where the socket's number is in it
		established = 1
	)
	b := make([]byte, unix.SizeofNlMsghdr+request)
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	binary.NativeEndian.PutUint16(b[4:], unix.SOCK_DIAG_BY_FAMILY)
	binary.NativeEndian.PutUint16(b[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	body := b[unix.SizeofNlMsghdr:]
	body[0], body[1] = family, unix.IPPROTO_TCP
	binary.NativeEndian.PutUint32(body[states:], 1<<established)
	binary.BigEndian.PutUint16(body[sourcePort:], port)
	if err := unix.Sendto(fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return os.NewSyscallError("sendto", err)
	}
	buffer := make([]byte, 64<<10)
	for {
		n, _, err := unix.Recvfrom(fd, buffer, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return os.NewSyscallError("recvfrom", err)
		}
		messages, err := syscall.ParseNetlinkMessage(buffer[:n])
		if err != nil {
			return err
		}
		for _, m := range messages {
			switch {
			case m.Header.Type == unix.NLMSG_DONE:
				return nil
			case m.Header.Type == unix.NLMSG_ERROR && len(m.Data) >= 4:
				return os.NewSyscallError("sock_diag", unix.Errno(-int32(binary.NativeEndian.Uint32(m.Data))))
			case m.Header.Type == unix.SOCK_DIAG_BY_FAMILY && len(m.Data) >= answer:
				found[connection(binary.NativeEndian.Uint64(m.Data[cookie:]))] = true
			}
		}
	}
}
