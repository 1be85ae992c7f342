package reload

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A Process is one run of a program: a process id alone may be given to another.
type Process struct {
	Pid   int
	Start uint64 // field 22 of /proc/PID/stat: clock ticks after boot, proc(5)
}

// stat is what /proc/PID/stat says about a process.
type stat struct {
	Process
	comm  string
	state byte
	ppid  int
	pgid  int
	tasks int // its threads
}

// gone says that nothing of the process runs any more; a zombie only waits for its parent.
func (s stat) gone() bool { return s.state == 'Z' || s.state == 'X' }

func readStat(pid int) (stat, error) {
	b, err := os.ReadFile(procPath(pid, "stat"))
	if err != nil {
		return stat{}, err
	}
	return parseStat(string(b))
}

// parseStat reads the first 22 fields. The second, the name, stands in
// parentheses and may itself hold blanks and parentheses.
func parseStat(text string) (stat, error) {
	var s stat
	open, end := strings.IndexByte(text, '('), strings.LastIndexByte(text, ')')
	if open < 1 || end < open {
		return s, fmt.Errorf("process status %q has no name", text)
	}
	fields := strings.Fields(text[end+1:])
	if len(fields) < 20 || len(fields[0]) != 1 {
		return s, fmt.Errorf("process status %q is too short", text)
	}
	s.comm, s.state = text[open+1:end], fields[0][0]
	var err [5]error
	s.Pid, err[0] = strconv.Atoi(strings.TrimSpace(text[:open]))
	s.ppid, err[1] = strconv.Atoi(fields[1])
	s.pgid, err[2] = strconv.Atoi(fields[2])
	s.tasks, err[3] = strconv.Atoi(fields[17])
	s.Start, err[4] = strconv.ParseUint(fields[19], 10, 64)
	return s, errors.Join(err[:]...)
}

// findProcess gives the process that has the id now; ok is false when none has.
func findProcess(pid int) (p Process, ok bool) {
	s, err := readStat(pid)
	return s.Process, err == nil && !s.gone()
}

func (p Process) alive() bool {
	s, err := readStat(p.Pid)
	return err == nil && s.Start == p.Start && !s.gone()
}

// processes lists all processes that match.
func processes(match func(stat) bool) []Process {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var found []Process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if s, err := readStat(pid); err == nil && !s.gone() && match(s) {
			found = append(found, s.Process)
		}
	}
	return found
}

// wait returns when the process is gone, or with the context's error.
func (p Process) wait(ctx context.Context) error {
	fd, err := unix.PidfdOpen(p.Pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return p.watch(ctx) // gone, or a kernel or a sandbox without pidfds
	}
	f := os.NewFile(uintptr(fd), "pidfd")
	defer f.Close()
	if !p.alive() { // the id may have been given to another before the pidfd was opened
		return nil
	}
	conn, err := f.SyscallConn()
	if err != nil {
		return p.watch(ctx)
	}
	stop := context.AfterFunc(ctx, func() { _ = f.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	err = conn.Read(func(fd uintptr) bool {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		return n > 0 || err != nil && err != unix.EINTR
	})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return p.watch(ctx)
	}
	return nil
}

// watch is wait where there are no pidfds.
func (p Process) watch(ctx context.Context) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for p.alive() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// signal sends a signal to the process, and to no other that has its id by now.
func (p Process) signal(sig unix.Signal) error {
	fd, err := unix.PidfdOpen(p.Pid, 0)
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) {
		if !p.alive() {
			return os.ErrProcessDone
		}
		return unix.Kill(p.Pid, sig)
	}
	if err != nil {
		return os.ErrProcessDone
	}
	defer unix.Close(fd)
	if !p.alive() {
		return os.ErrProcessDone
	}
	return unix.PidfdSendSignal(fd, sig, nil, 0)
}

// signalReady sends a signal once the process catches it. A server that is still
// starting, or in the middle of a restart, would be killed by it, or not hear it.
func (p Process) signalReady(ctx context.Context, sig unix.Signal) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !p.catches(sig) {
		if !p.alive() {
			return os.ErrProcessDone
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("process %d does not listen to %s yet: %w", p.Pid, unix.SignalName(sig), ctx.Err())
		}
	}
	return p.signal(sig)
}

// catches says whether the process has a handler for the signal: the mask SigCgt, proc(5).
func (p Process) catches(sig unix.Signal) bool {
	b, err := os.ReadFile(procPath(p.Pid, "status"))
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(b)) {
		if mask, ok := strings.CutPrefix(line, "SigCgt:"); ok {
			bits, err := strconv.ParseUint(strings.TrimSpace(mask), 16, 64)
			return err == nil && bits&(1<<(uint(sig)-1)) != 0
		}
	}
	return false
}

// title gives the command line; nginx writes there what a process does.
func (p Process) title() string {
	b, err := os.ReadFile(procPath(p.Pid, "cmdline"))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(strings.ReplaceAll(string(b), "\x00", " "))
}

// program gives the path of the process's program; after an upgrade of the
// package the running one is marked as deleted. "" when it may not be read.
func (p Process) program() string {
	exe, err := os.Readlink(procPath(p.Pid, "exe"))
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(exe, " (deleted)")
}

// is says whether the process runs one of the named programs.
func (p Process) is(names ...string) bool {
	name := filepath.Base(p.program())
	if name == "." {
		s, err := readStat(p.Pid)
		if err != nil {
			return false
		}
		name = s.comm
	}
	for _, n := range names {
		if n == name {
			return true
		}
	}
	return false
}

// childrenOf lists a process's children by the kernel's own list, which spares a look at
// every process of the machine. The list may leave one out while another is ending,
// proc(5); the one that ends is in it, or was: so two equal lists have left out none.
func childrenOf(m Process) []Process {
	list, ok := childList(m.Pid)
	if again, _ := childList(m.Pid); !ok || list != again {
		return processes(func(c stat) bool { return c.ppid == m.Pid })
	}
	var found []Process
	for field := range strings.FieldsSeq(list) {
		pid, err := strconv.Atoi(field)
		if err != nil {
			continue
		}
		if s, err := readStat(pid); err == nil && !s.gone() && s.ppid == m.Pid {
			found = append(found, s.Process)
		}
	}
	return found
}

// childList gives the process ids of the children of all threads.
func childList(pid int) (list string, ok bool) {
	threads, err := os.ReadDir(procPath(pid, "task"))
	if err != nil {
		return "", false
	}
	for _, t := range threads {
		b, err := os.ReadFile(procPath(pid, "task/"+t.Name()+"/children"))
		if err != nil {
			return "", false // a kernel without such lists, or the thread has ended
		}
		list += string(b)
	}
	return list, true
}

func procPath(pid int, name string) string {
	return "/proc/" + strconv.Itoa(pid) + "/" + name
}
