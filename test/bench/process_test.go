package bench

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait: far above what anything takes.
const patience = 60 * time.Second

// A process is a program that was started.
type process struct {
	tb   testing.TB
	cmd  *exec.Cmd
	log  string
	done chan struct{}
}

// launch runs a program, which somebody has to stop.
func launch(tb testing.TB, env []string, program string, args ...string) *process {
	tb.Helper()
	log, err := os.CreateTemp(tb.TempDir(), filepath.Base(program))
	if err != nil {
		tb.Fatal(err)
	}
	defer log.Close()
	p := &process{tb: tb, cmd: exec.Command(program, args...), log: log.Name(), done: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	if err := p.cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait() // how it ended is nobody's concern here
	}()
	return p
}

// stop ends the process in good order, and shows what it said last if something failed.
func (p *process) stop() {
	p.end(syscall.SIGTERM)
	if p.tb.Failed() {
		said, _ := os.ReadFile(p.log)
		p.tb.Logf("%s said last:\n%s", p.cmd.Path, said[max(0, len(said)-4000):])
	}
}

// end sends a signal and waits; who does not obey is killed.
func (p *process) end(sig syscall.Signal) {
	p.tb.Helper()
	select {
	case <-p.done:
		return
	default:
	}
	p.signal(sig)
	_ = p.cmd.Process.Signal(syscall.SIGCONT) // one that is held would not hear; it may have ended just now
	select {
	case <-p.done:
	case <-time.After(patience):
		p.tb.Errorf("%s does not end on %s", p.cmd.Path, sig)
		p.signal(syscall.SIGKILL)
		<-p.done
	}
}

func (p *process) signal(sig syscall.Signal) {
	p.tb.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		p.tb.Error(err)
	}
}

// hold stops the process until release. It returns when no thread of it runs any more.
func (p *process) hold() {
	p.tb.Helper()
	p.signal(syscall.SIGSTOP)
	poll(p.tb, p.cmd.Path+" stops", time.Millisecond/10, func() error {
		threads, err := filepath.Glob(p.proc("task/*/stat"))
		if err != nil {
			return err
		}
		for _, t := range threads {
			stat, err := os.ReadFile(t)
			if err != nil {
				return err // the thread has just ended
			}
			if state := statFields(string(stat))[0]; state != "T" {
				return fmt.Errorf("thread %s is in state %s", t, state)
			}
		}
		return nil
	})
}

func (p *process) release() {
	p.tb.Helper()
	p.signal(syscall.SIGCONT)
}

// cpu is the time the process has spent so far, in steps of 10 ms.
func (p *process) cpu() time.Duration {
	p.tb.Helper()
	return p.ticks(11)
}

// children is the time that the processes have spent which it has started and seen end.
func (p *process) children() time.Duration {
	p.tb.Helper()
	return p.ticks(13)
}

// ticks adds the times of user and system, whose fields follow each other.
func (p *process) ticks(field int) time.Duration {
	p.tb.Helper()
	fields := statFields(p.read("stat"))
	return time.Duration(p.number(fields[field])+p.number(fields[field+1])) * (time.Second / 100)
}

// statFields gives the fields of a stat file from the third, the state, on: the name in
// brackets before it may hold anything.
func statFields(stat string) []string {
	return strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
}

// rss is the memory the process occupies, in MB.
func (p *process) rss() float64 {
	p.tb.Helper()
	return p.memory("VmRSS")
}

// memory gives one of the figures that the kernel has of the process's memory, in MB.
func (p *process) memory(name string) float64 {
	p.tb.Helper()
	_, after, ok := strings.Cut(p.read("status"), name+":")
	if !ok {
		p.tb.Fatalf("%s has ended", p.cmd.Path)
	}
	return float64(p.number(strings.Fields(after)[0])) / 1024
}

// catches says whether the process has a handler for a signal: the mask SigCgt of
// proc_pid_status(5).
func (p *process) catches(sig syscall.Signal) bool {
	p.tb.Helper()
	_, after, _ := strings.Cut(p.read("status"), "SigCgt:")
	mask, err := strconv.ParseUint(strings.TrimSpace(after[:strings.IndexByte(after, '\n')]), 16, 64)
	if err != nil {
		p.tb.Fatal(err)
	}
	return mask&(1<<(uint(sig)-1)) != 0
}

func (p *process) proc(file string) string {
	return fmt.Sprintf("/proc/%d/%s", p.cmd.Process.Pid, file)
}

func (p *process) read(file string) string {
	p.tb.Helper()
	b, err := os.ReadFile(p.proc(file))
	if err != nil {
		p.tb.Fatal(err)
	}
	return string(b)
}

func (p *process) number(s string) int {
	p.tb.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		p.tb.Fatal(err)
	}
	return n
}

// poll asks until check gives nil.
func poll(tb testing.TB, what string, every time.Duration, check func() error) {
	tb.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(every) {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			tb.Fatalf("%s: %v", what, err)
		}
	}
}
