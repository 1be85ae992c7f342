package reload

import (
	"bufio"
	"os"
	"path/filepath"
	"strings"
)

// sockets are inodes of sockets, as "socket:[123]".
type sockets map[string]bool

// listening gives the TCP sockets on which somebody in the process's network
// namespace accepts connections.
func listening(pid int) sockets {
	s := sockets{}
	for _, name := range []string{"net/tcp", "net/tcp6"} {
		f, err := os.Open(procPath(pid, name))
		if err != nil {
			continue
		}
		lines := bufio.NewScanner(f)
		lines.Scan() // the heading
		for lines.Scan() {
			inode, ok := parseListener(lines.Text())
			if !ok {
				// The kernel lists listeners first. Reading on would cost the time of
				// every open connection of the machine.
				break
			}
			s["socket:["+inode+"]"] = true
		}
		f.Close()
	}
	return s
}

// parseListener reads a line of /proc/net/tcp; ok is false when it is not a listener's.
func parseListener(line string) (inode string, ok bool) {
	fields := strings.Fields(line)
	const state, listen, ino = 3, "0A", 9
	if len(fields) <= ino || fields[state] != listen {
		return "", false
	}
	return fields[ino], true
}

// open gives those of the sockets that the process holds. An error says that
// this may not be known: the process belongs to another user.
func (p Process) open(among sockets) (sockets, error) {
	dir := procPath(p.Pid, "fd")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	held := sockets{}
	for _, e := range entries {
		link, err := os.Readlink(filepath.Join(dir, e.Name()))
		if err == nil && among[link] {
			held[link] = true
		}
	}
	return held, nil
}
