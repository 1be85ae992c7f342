package reload

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// script runs a supervisor on a shell script as the server.
func script(t *testing.T, text string) (s *Supervisor, config string, stop func() error) {
	t.Helper()
	config = filepath.Join(t.TempDir(), "server.conf")
	s = NewSupervisor(SupervisorConfig{
		Name:         "script",
		Argv:         func() []string { return []string{"/bin/sh", "-c", text} },
		Config:       config,
		ReloadSignal: unix.SIGHUP,
		StopSignal:   unix.SIGQUIT,
		StopTimeout:  300 * time.Millisecond,
		Logger:       discard(t),
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stopped := false
	stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		return <-done
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	return s, config, stop
}

const obedient = `trap 'exit 0' QUIT; trap 'echo reloaded' HUP; echo started; while :; do sleep 0.02; done`

func TestServerRunsWhileItHasAConfiguration(t *testing.T) {
	s, config, _ := script(t, obedient)
	if err := s.Reload(t.Context()); err != nil {
		t.Errorf("nothing to start: %v", err)
	}
	if p, ok := s.Process(); ok {
		t.Errorf("started without a configuration: %v", p)
	}
	write(t, config, "")
	if err := s.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	first, ok := s.Process()
	if !ok {
		t.Fatal("not started")
	}
	if err := s.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "its words are heard", func() bool { return strings.HasSuffix(s.Words(), "reloaded") })
	if now, _ := s.Process(); now != first {
		t.Errorf("a reload replaced it: %v, then %v", first, now)
	}
	if err := os.Remove(config); err != nil {
		t.Fatal(err)
	}
	if err := s.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if p, ok := s.Process(); ok {
		t.Errorf("still runs without a configuration: %v", p)
	}
}

func TestSignalWaitsForAServerThatIsNotReadyForIt(t *testing.T) {
	s, config, _ := script(t, `echo young; sleep 0.2; `+obedient)
	write(t, config, "")
	if err := s.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	young, _ := s.Process()
	// The signal would kill a process that has no handler for it yet.
	if err := s.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it has heard the signal", func() bool { return strings.Contains(s.Words(), "reloaded") })
	if now, _ := s.Process(); now != young {
		t.Errorf("it was killed and replaced: %v, then %v", young, now)
	}
}

func TestServerThatDiesYoungIsStartedMoreAndMoreSlowly(t *testing.T) {
	dir := t.TempDir()
	starts := filepath.Join(dir, "starts")
	s, config, _ := script(t, "echo x >>"+starts+"; echo no good >&2; exit 3")
	write(t, config, "")
	count := func() int { b, _ := os.ReadFile(starts); return len(b) / 2 }
	began := time.Now()
	if err := s.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "seven starts", func() bool { return count() >= 7 })
	// Twice at once, perhaps twice more if it was started before it was told to, then
	// after 100, 200 and 400 ms, each give or take a half.
	if took := time.Since(began); took < 350*time.Millisecond {
		t.Errorf("seven starts in %s", took)
	}
	before := count()
	if err := s.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a reload starts it at once", func() bool { return count() > before })
	eventually(t, "its words are heard", func() bool { return strings.Contains(s.Words(), "no good") })
}

func TestServerThatCannotBeStarted(t *testing.T) {
	config := filepath.Join(t.TempDir(), "server.conf")
	write(t, config, "")
	s := NewSupervisor(SupervisorConfig{Name: "none", Argv: func() []string { return []string{"/nonexistent/server"} }, Config: config, Logger: discard(t)})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	if err := s.Reload(t.Context()); err == nil || !strings.Contains(err.Error(), "/nonexistent/server") {
		t.Errorf("got %v, want the program's name", err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestServerThatDoesNotFinishIsKilled(t *testing.T) {
	s, config, stop := script(t, `trap '' QUIT TERM; trap : HUP; echo deaf; while :; do sleep 0.02; done`)
	write(t, config, "")
	if err := s.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it ignores signals", func() bool { return s.Words() == "deaf" })
	p, _ := s.Process()
	if err := stop(); err != nil {
		t.Error(err)
	}
	if p.alive() {
		t.Error("it outlived the supervisor")
	}
}

func TestReloadOfASupervisorThatDoesNotRun(t *testing.T) {
	config := filepath.Join(t.TempDir(), "server.conf")
	write(t, config, "")
	s := NewSupervisor(SupervisorConfig{Name: "idle", Argv: func() []string { return nil }, Config: config, Logger: discard(t)})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := s.Reload(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestPidFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pid")
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	told := make(chan os.Signal, 1)
	signal.Notify(told, unix.SIGUSR2)
	defer signal.Stop(told)
	self := PidFile{Path: path, Names: []string{filepath.Base(exe)}, ReloadSignal: unix.SIGUSR2}
	tests := []struct {
		name    string
		content string
		file    PidFile
		want    bool
	}{
		{"right", fmt.Sprintf("%d\n", os.Getpid()), self, true},
		{"another program", fmt.Sprint(os.Getpid()), NginxPidFile(path), false},
		{"empty, as nginx -t makes it", "", self, false},
		{"not a number", "x", self, false},
		{"nobody", "4194305", self, false},
		{"everybody", "-1", self, false},
		{"group", "0", self, false},
	}
	for _, tt := range tests {
		write(t, path, tt.content)
		p, ok := tt.file.Process()
		if ok != tt.want || ok && p.Pid != os.Getpid() {
			t.Errorf("%s: got %v, %t", tt.name, p, ok)
		}
		err := tt.file.Reload(t.Context())
		if !tt.want && !errors.Is(err, ErrNotRunning) || tt.want && err != nil {
			t.Errorf("%s: reload: %v", tt.name, err)
		}
		if tt.want {
			<-told
		}
	}
	if _, ok := (PidFile{Path: path + "none", Names: self.Names}).Process(); ok {
		t.Error("a process without a file")
	}
}

func TestWordsAreBounded(t *testing.T) {
	l := &lines{log: discard(t)}
	long := strings.Repeat("x", 10*maxOutput)
	l.read(strings.NewReader(long + "\nlast\n\n"))
	if got := l.String(); len(got) > 2*maxOutput || !strings.HasSuffix(got, "\nlast") && got != "last" {
		t.Errorf("kept %d bytes, ending %q", len(got), got[max(0, len(got)-10):])
	}
	for range 10000 {
		l.add("one more line")
	}
	if got := len(l.String()); got > maxOutput {
		t.Errorf("kept %d bytes", got)
	}
	l.forget()
	if got := l.String(); got != "" {
		t.Errorf("after forget: %q", got)
	}
}

func TestTroublingLines(t *testing.T) {
	for line, want := range map[string]bool{
		"2026/11/21 05:03:18 [emerg] 15547#15547: bind() failed":       true,
		"[Sat Nov 21 05:03:22 2026] [mpm_event:alert] [pid 1] no":      true,
		"[Sat Nov 21 05:03:22 2026] [:emerg] [pid 1] AH00019":          true,
		"[Sat Nov 21 05:03:22 2026] [mpm_event:notice] [pid 1] AH0048": false,
		"127.0.0.1 - - GET /error":                                     false,
	} {
		if got := troubling(line); got != want {
			t.Errorf("%s: got %t", line, got)
		}
	}
}

func TestCommandThatHangsIsKilledWithItsChildren(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pid")
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	out, err := Run(ctx, "/bin/sh", "-c", "echo said; sleep 60 & echo $! >"+file+"; wait")
	if !errors.Is(err, context.DeadlineExceeded) || out != "said" {
		t.Errorf("got %q, %v", out, err)
	}
	b, _ := os.ReadFile(file)
	var pid int
	if _, err := fmt.Sscan(string(b), &pid); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the child is gone", func() bool { _, ok := findProcess(pid); return !ok })
}

func TestCommandOutputIsBounded(t *testing.T) {
	out, err := Run(t.Context(), "/bin/sh", "-c", "head -c 100000 /dev/zero | tr '\\0' x; echo end; exit 1")
	if err == nil || len(out) > maxOutput || !strings.HasSuffix(out, "end") {
		t.Errorf("got %d bytes, %v", len(out), err)
	}
}
