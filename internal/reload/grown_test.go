package reload

import (
	"io"
	"os/exec"
	"testing"
)

// A master is told to reload when the workers of its start are there to be seen.
func TestReloadWaitsForTheWorkersOfTheStart(t *testing.T) {
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
	s := &server{master: &fakeMaster{process: func() (Process, bool) { return st.Process, true }}, isWorker: func(Process) bool { return true }}
	t.Cleanup(func() {
		for _, w := range s.workersOf(st.Process) {
			_ = w.signal(9)
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	go func() { _, _ = io.WriteString(in, "\n") }()
	if err := s.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(s.old) != 1 {
		t.Errorf("%d workers are known to be older than the reload, want 1", len(s.old))
	}
}
