package reload

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// HAProxy's files are named on its command line; none includes another. Other
// files, such as maps, are named by one of them.

// startTicks is how long, in the unit of Process.Start, a HAProxy may take until it
// listens to signals: five seconds.
const startTicks = 500

// haproxyArgs is what a command line says about the configuration.
type haproxyArgs struct {
	files  []string // absolute; files and directories, in their order
	dir    string   // at which relative paths in them start; "" where that is not known
	master int      // whose they are; 0 when none runs
}

// configured gives what the running master was given; when none runs, the main file alone.
func (h *HAProxy) configured() (haproxyArgs, error) {
	alone := haproxyArgs{files: []string{h.main}}
	m, ok := h.master.Process()
	if !ok {
		return alone, nil
	}
	cmdline, err := os.ReadFile(procPath(m.Pid, "cmdline"))
	if err != nil || len(cmdline) == 0 { // it has just ended
		return alone, nil //nolint:nilerr // the check is the same as before the first start
	}
	args := haproxyArgs{master: m.Pid}
	args.dir, err = os.Readlink(procPath(m.Pid, "cwd"))
	if err != nil { // it is another user's; the services of systemd start in /
		args.dir = ""
	}
	argv := strings.Split(strings.TrimSuffix(string(cmdline), "\x00"), "\x00")
	// One without a master has no use for the signal, and would be waited for in vain.
	if !haproxyMaster(argv) && !m.catches(unix.SIGUSR2) && m.Start+startTicks < bootTicks() {
		return alone, fmt.Errorf("haproxy %d runs without a master, which alone can reload it (hint: start it with -W, or -Ws under systemd)", m.Pid)
	}
	args.files = haproxyFiles(argv, args.dir)
	if len(args.files) == 0 {
		return alone, fmt.Errorf("haproxy %d names no configuration on its command line (hint: start it with -f %s)", m.Pid, h.main)
	}
	return args, nil
}

// haproxyMaster says that a command line is one of a master. While it reads its files, for
// seconds if they are large, it listens to no signal, and after a reload it is as old as
// before. One whose configuration makes it a master is known once it has reloaded.
func haproxyMaster(argv []string) bool {
	for i, arg := range argv {
		if arg == "-W" || arg == "-Ws" || arg == "-x" && i+1 < len(argv) && strings.HasPrefix(argv[i+1], "sockpair@") {
			return true
		}
	}
	return false
}

// haproxyFiles gives the files and directories that a command line names. After a
// reload it begins with what the master hands to itself: "-sf 12 13 -x sockpair@3".
func haproxyFiles(argv []string, dir string) []string {
	var named []string
	for i := 1; i < len(argv); i++ {
		switch arg := argv[i]; {
		case arg == "--":
			named = append(named, argv[i+1:]...)
			i = len(argv)
		case arg == "-f" && i+1 < len(argv):
			i++
			named = append(named, argv[i])
		case slices.Contains([]string{"-C", "-p", "-S", "-x", "-L", "-n", "-N", "-m"}, arg):
			i++
		}
	}
	for i, f := range named {
		if !filepath.IsAbs(f) {
			named[i] = filepath.Join("/", dir, f)
		}
	}
	return named
}

// substituted gives the files to check: those of the command line, and the staged
// files in the place of those that they will replace.
func (w *whole) substituted(args haproxyArgs) ([]string, error) {
	var files []string
	for _, path := range args.files {
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			files = append(files, w.matches(filepath.Join(path, "*.cfg"))...)
		} else {
			files = append(files, path)
		}
	}
	for i, path := range files {
		if f, own := w.stagedFor(path); own {
			w.found[f.Path] = true
			files[i] = f.Staged
		}
		content, err := readIfThere(files[i]) // the server says what it misses
		if err != nil {
			return nil, err
		}
		renamed := w.renamed(content)
		if bytes.Equal(content, renamed) {
			continue
		}
		if files[i], err = w.copy(path, renamed); err != nil {
			return nil, err
		}
	}
	for _, f := range w.staged.Files {
		switch {
		case w.found[f.Path]:
		case args.master == 0:
			files = append(files, f.Staged)
		default:
			return nil, fmt.Errorf("haproxy %[1]d was started without -f %[2]s (hint: make that an empty file; on Debian put "+
				"EXTRAOPTS=\"-f %[2]s\" into /etc/default/haproxy; and restart haproxy once)", args.master, f.Path)
		}
	}
	return files, nil
}

// renamed has a file name the staged files instead of those that they will replace.
func (w *whole) renamed(content []byte) []byte {
	for _, f := range w.staged.Files {
		for from := 0; ; {
			at := bytes.Index(content[from:], []byte(f.Path))
			if at < 0 {
				break
			}
			start, end := from+at, from+at+len(f.Path)
			from = end
			if commented(content, start) || partOfName(string(content[end:])) || start > 0 && partOfName(string(content[start-1:start])) {
				continue
			}
			w.found[f.Path] = true
			content = slices.Concat(content[:start], []byte(f.Staged), content[end:])
			from = start + len(f.Staged)
		}
	}
	return content
}
