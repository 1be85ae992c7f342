package reload

import (
	"context"
	"errors"
	"io"
	"os/exec"
	"sync/atomic"
	"testing"
	"time"
)

// A master is told to reload when the workers of its start are there to be seen.
func TestReloadWaitsForTheWorkersOfTheStart(t *testing.T) {
	s, start := newStarter(t)
	start()
	if err := s.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(s.old) != 1 {
		t.Errorf("%d workers are known to be older than the reload, want 1", len(s.old))
	}
}

// A reload that was not confirmed in time may come with the next: the workers of it are older
// than those of that.
func TestReloadWaitsForTheOneThatIsLate(t *testing.T) {
	s, start := newStarter(t)
	var generation atomic.Value
	generation.Store("g1")
	s.control = newServer(t, nil, &generation, 0).control
	if err := s.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Confirm(within(t, 100*time.Millisecond), "g2"); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("confirmed what has not happened: %v", err)
	}
	start()
	if err := s.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(s.old) != 1 {
		t.Errorf("%d workers are known to be older than the second reload, want 1", len(s.old))
	}
}

// newStarter gives the server of a master that starts its worker when it is told to.
func newStarter(t *testing.T) (s *server, start func()) {
	t.Helper()
	cmd := exec.Command("sh", "-c", "read x; sleep 1000 & wait")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	st, err := readStat(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	s = &server{master: &fakeMaster{process: func() (Process, bool) { return st.Process, true }}, isWorker: func(Process) bool { return true }, refused: func(string) bool { return false }}
	t.Cleanup(func() {
		for _, w := range s.workersOf(st.Process) {
			_ = w.signal(9)
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return s, func() { go func() { _, _ = io.WriteString(in, "\n") }() }
}
