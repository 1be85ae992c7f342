package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A process is one of the two programs, running as a child.
type process struct {
	name string
	log  string // file with all that it wrote
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	err  error         // why; valid once done is closed
}

// start runs a program whose output goes to dir/name.log. It gets a process group
// of its own: Ctrl-C is for the demo, which decides what follows from it.
func start(dir, name, program string, args ...string) (*process, error) {
	p := &process{name: name, log: filepath.Join(dir, name+".log"), done: make(chan struct{})}
	log, err := os.Create(p.log)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	defer log.Close()
	p.cmd = exec.Command(program, args...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	// Should the demo be killed, its children are told to stop.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		defer close(p.done)
		p.err = p.cmd.Wait()
	}()
	return p, nil
}

// stop asks the process to end. It is killed when ctx ends first, which is an
// error, or when somebody is in a hurry, which is none.
func (p *process) stop(ctx context.Context, hurry <-chan struct{}) error {
	select {
	case <-p.done:
		return nil // its early end has been told already
	default:
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	var late error
	select {
	case <-p.done:
		if p.err != nil {
			return fmt.Errorf("%w\n%s", p.err, p.tail(10))
		}
		return nil
	case <-hurry:
	case <-ctx.Done():
		late = fmt.Errorf("killed, because %w\n%s", context.Cause(ctx), p.tail(10))
	}
	_ = p.cmd.Process.Kill() // it may have ended just now
	<-p.done
	return late
}

// tail gives the last lines that the process wrote.
func (p *process) tail(lines int) string {
	return p.lines(lines, func(string) bool { return true })
}

// warnings gives the last lines in which it complained.
func (p *process) warnings(lines int) string {
	return p.lines(lines, func(line string) bool {
		return strings.Contains(line, " level=WARN ") || strings.Contains(line, " level=ERROR ")
	})
}

func (p *process) lines(n int, want func(string) bool) string {
	b, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	var found []string
	for line := range strings.Lines(string(b)) {
		if want(line) {
			found = append(found, "    "+strings.TrimRight(line, "\n"))
		}
	}
	return strings.Join(found[max(0, len(found)-n):], "\n")
}

// cost tells what the process has used so far, as the kernel counts it.
func (p *process) cost() (peakKB int64, cpu time.Duration, err error) {
	dir := filepath.Join("/proc", strconv.Itoa(p.cmd.Process.Pid))
	status, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(status)) {
		if kb, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			peakKB, err = strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(kb), " kB"), 10, 64)
		}
	}
	if err != nil {
		return 0, 0, err
	}
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return 0, 0, err
	}
	ticks, err := cpuTicks(string(stat))
	return peakKB, time.Duration(ticks) * (time.Second / 100), err
}

// cpuTicks adds user and system time, the 14th and 15th field of /proc/PID/stat, in
// hundredths of a second.
func cpuTicks(stat string) (int64, error) {
	fields := statFields(stat)
	if len(fields) < 13 {
		return 0, fmt.Errorf("unexpected /proc/PID/stat: %q", stat)
	}
	user, err1 := strconv.ParseInt(fields[11], 10, 64)
	system, err2 := strconv.ParseInt(fields[12], 10, 64)
	return user + system, errors.Join(err1, err2)
}

// adopt makes the demo the parent of every orphan among its descendants: a server
// whose render was killed is then still found, and ended, by its id.
func adopt() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become the parent of orphans: %w", err)
	}
	return nil
}

// killOrphans ends what is left below the demo when every process it waited for is
// gone. A killed parent's children come to light one generation at a time.
func killOrphans() error {
	var killed []string
	for {
		pids, err := children(os.Getpid())
		if err != nil {
			return fmt.Errorf("look for orphans: %w", err)
		}
		if len(pids) == 0 {
			break
		}
		for _, pid := range pids {
			_ = unix.Kill(pid, unix.SIGKILL) // the id is our own child's until it is waited for
			var status unix.WaitStatus
			if _, err := unix.Wait4(pid, &status, 0, nil); err == nil && status.Signaled() {
				killed = append(killed, strconv.Itoa(pid))
			}
		}
	}
	if len(killed) > 0 {
		return fmt.Errorf("killed processes that were left over: %s", strings.Join(killed, " "))
	}
	return nil
}

// children lists the processes whose parent is pid.
func children(pid int) ([]int, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	var found []int
	for _, path := range stats {
		stat, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended meanwhile
		}
		fields := statFields(string(stat))
		child, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err == nil && len(fields) > 1 && fields[1] == strconv.Itoa(pid) {
			found = append(found, child)
		}
	}
	return found, nil
}

// statFields gives the fields of /proc/PID/stat from the third, the state, on. The
// second, a name in brackets, may hold blanks and brackets.
func statFields(stat string) []string {
	return strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
}
