package reload

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Some things can only be seen from another process: what a killed render leaves,
// and what the first process of a container does. The test binary is that process
// when this variable says so.
const helperMode = "RELOAD_TEST_HELPER"

func helper() int {
	mode, arg, _ := strings.Cut(os.Getenv(helperMode), " ")
	switch mode {
	case "supervise":
		return helpSupervise(strings.Fields(arg))
	case "die":
		return helpDie(strings.Fields(arg))
	case "init":
		if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
			return 99
		}
		// Replaced, not added: of two values the first would count, and this process
		// would start itself for ever.
		if err := os.Setenv(helperMode, "initchild"); err != nil {
			return 96
		}
		code, err := RunAsInit(os.Args, os.Environ())
		if err != nil {
			fmt.Println(err)
		}
		return code
	case "known":
		return helpKnown(arg)
	case "listen":
		return helpListen()
	case "initchild":
		return helpInitChild()
	}
	return 98
}

// helpSupervise runs a server until it is killed.
func helpSupervise(arg []string) int {
	c := childOf(arg[0], arg[1], arg[2], arg[3], arg[4])
	c.Logger = slog.New(slog.DiscardHandler)
	if err := NewSupervisor(c).Run(context.Background()); err != nil {
		return 1
	}
	return 0
}

// helpInitChild leaves an orphan behind, and ends with code 7 when it is told to.
func helpInitChild() int {
	term := make(chan os.Signal, 1)
	signal.Notify(term, unix.SIGTERM)
	out, err := exec.Command("sh", "-c", "sleep 0.2 >/dev/null 2>&1 & echo $!").Output()
	if err != nil {
		return 97
	}
	fmt.Printf("orphan %s\n", strings.TrimSpace(string(out)))
	<-term
	return 7
}

// helpListen is a worker: it accepts connections until SIGUSR1, and ends at SIGTERM.
func helpListen() int {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGUSR1, unix.SIGTERM)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 95
	}
	fmt.Println(l.Addr())
	for s := range signals {
		l.Close()
		if s == unix.SIGTERM {
			return 0
		}
		fmt.Println("closed")
	}
	return 0
}

// A helperProcess is the test binary in another role.
type helperProcess struct {
	t   *testing.T
	cmd *exec.Cmd
	out *bufio.Reader
}

func startHelper(t *testing.T, mode string) *helperProcess {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), helperMode+"="+mode)
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	h := &helperProcess{t: t, cmd: cmd, out: bufio.NewReader(pipe)}
	t.Cleanup(func() { _ = h.cmd.Process.Kill(); _, _ = io.Copy(io.Discard, h.out); _ = h.cmd.Wait() })
	return h
}

func (h *helperProcess) line() string {
	h.t.Helper()
	text, err := h.out.ReadString('\n')
	if err != nil {
		h.t.Fatal(err)
	}
	return strings.TrimSpace(text)
}

func TestFirstProcessReapsAndForwards(t *testing.T) {
	h := startHelper(t, "init")
	var orphan int
	if _, err := fmt.Sscanf(h.line(), "orphan %d", &orphan); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the orphan is reaped", func() bool { _, err := readStat(orphan); return err != nil })
	if err := h.cmd.Process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = h.cmd.Wait()
	if got := h.cmd.ProcessState.ExitCode(); got != 7 {
		t.Errorf("exit code: got %d, want the child's 7", got)
	}
}

func TestKilledRenderLeavesItsServerToTheNext(t *testing.T) {
	forEachKind(t, func(t *testing.T, f *fixture) {
		write(t, f.main, string(f.config("g1")))
		h := startHelper(t, strings.Join([]string{"supervise", f.kind, f.program, f.main, f.pidFile, f.control}, " "))
		eventually(t, "it serves", func() bool { got, _ := get(t.Context(), "http://"+f.listen+"/"); return got == "g1" })
		if err := h.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = h.cmd.Wait()
		before, ok := f.byPidFile().Process()
		if !ok {
			t.Fatal("the server did not outlive the one that started it")
		}

		tx, s := f.transaction()
		out := f.apply(tx, "g1")
		if out.Changed || out.Reloaded {
			// Nothing is known to be kept yet, but it is what is wanted.
			t.Errorf("taken over: %+v, want nothing to do", out)
		}
		eventually(t, "it is taken over", func() bool { p, _ := s.Process(); return p == before })
		f.apply(tx, "g2")
		f.serves("g2")
		if now, _ := s.Process(); now != before {
			t.Errorf("another server was started: %v, before %v", now, before)
		}

		if said := map[string]string{"apache": "graceful restart", "haproxy": "Loading success"}[f.kind]; said != "" { // nginx says nothing about a reload
			eventually(t, "it is heard", func() bool { return strings.Contains(s.Words(), said) })
		}

		if err := before.signal(unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		eventually(t, "a new one is started", func() bool { p, ok := s.Process(); return ok && p != before })
		eventually(t, "it serves", func() bool { got, _ := get(t.Context(), "http://"+f.listen+"/"); return got == "g2" })
	})
}

func TestRenderAndMasterKilledTogetherLeaveNobodyOnThePorts(t *testing.T) {
	forEachKind(t, func(t *testing.T, f *fixture) {
		write(t, f.main, string(f.config("g1")))
		h := startHelper(t, strings.Join([]string{"supervise", f.kind, f.program, f.main, f.pidFile, f.control}, " "))
		eventually(t, "it serves", func() bool { got, _ := get(t.Context(), "http://"+f.listen+"/"); return got == "g1" })
		master, ok := f.byPidFile().Process()
		if !ok {
			t.Fatal("no master")
		}
		left := processes(func(p stat) bool { return p.ppid == master.Pid })
		slow := f.slow()
		if err := errors.Join(h.cmd.Process.Kill(), master.signal(unix.SIGKILL)); err != nil {
			t.Fatal(err)
		}
		_ = h.cmd.Wait()

		tx, _ := f.transaction()
		f.apply(tx, "g2")
		f.serves("g2")
		stillListening(t, left)
		if f.kind == "haproxy" { // its workers do not outlive their master
			return
		}
		f.backend.release <- struct{}{}
		if got := <-slow; got != "slow" {
			t.Errorf("slow request: got %q", got)
		}
	})
}

func TestProcessThatIsGone(t *testing.T) {
	cmd := exec.Command("sleep", "0.1")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p, ok := findProcess(cmd.Process.Pid)
	if !ok {
		t.Fatal("not found")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	if err := p.wait(ctx); err == nil {
		t.Error("wait returned while it ran")
	}
	cancel()
	// Nobody has waited for it yet: it stays as a zombie, which is gone for us.
	if err := p.wait(t.Context()); err != nil {
		t.Error(err)
	}
	if p.alive() {
		t.Error("a zombie is alive")
	}
	other := Process{Pid: os.Getpid(), Start: 1}
	if other.alive() || !errors.Is(other.signal(unix.SIGTERM), os.ErrProcessDone) {
		t.Error("a process with the id of another is taken for it")
	}
	if err := other.wait(t.Context()); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait()
}
