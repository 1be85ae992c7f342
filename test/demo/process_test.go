package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestStop(t *testing.T) {
	for _, tt := range []struct {
		name, script string
		limit        time.Duration
		hurry        bool
		want         string // part of the error; "" for none
	}{
		{"obeys", "trap 'exit 0' TERM; echo up; while :; do sleep 0.01; done", 10 * time.Second, false, ""},
		{"fails", "trap 'echo sorry; exit 3' TERM; echo up; while :; do sleep 0.01; done", 10 * time.Second, false, "exit status 3\n    up\n    sorry"},
		{"does not obey", "trap '' TERM; echo up; while :; do sleep 0.01; done", 100 * time.Millisecond, false, "killed, because context deadline exceeded\n    up"},
		{"does not obey, hurry", "trap '' TERM; echo up; while :; do sleep 0.01; done", 10 * time.Second, true, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, err := start(t.TempDir(), "thing", "/bin/sh", "-c", tt.script)
			if err != nil {
				t.Fatal(err)
			}
			waitUntilSaid(t, p, "up")
			ctx, cancel := context.WithTimeout(t.Context(), tt.limit)
			defer cancel()
			hurry := make(chan struct{})
			if tt.hurry {
				close(hurry)
			}
			err = p.stop(ctx, hurry)
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("got %v, want no error", err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("got %v, want %s", err, tt.want)
			}
			if alive(p.cmd.Process.Pid) {
				t.Error("still running")
			}
			if err := p.stop(t.Context(), nil); err != nil {
				t.Errorf("stopped again: %v", err)
			}
		})
	}
}

func TestOutput(t *testing.T) {
	p, err := start(t.TempDir(), "thing", "/bin/sh", "-c", `echo 'time=1 level=INFO msg=a'; echo 'time=2 level=WARN msg=b'; echo 'time=3 level=ERROR msg=c' >&2`)
	if err != nil {
		t.Fatal(err)
	}
	<-p.done
	for _, tt := range []struct{ what, got, want string }{
		{"tail", p.tail(2), "    time=2 level=WARN msg=b\n    time=3 level=ERROR msg=c"},
		{"all", p.tail(9), "    time=1 level=INFO msg=a\n    time=2 level=WARN msg=b\n    time=3 level=ERROR msg=c"},
		{"warnings", p.warnings(9), "    time=2 level=WARN msg=b\n    time=3 level=ERROR msg=c"},
	} {
		if tt.got != tt.want {
			t.Errorf("%s is %q, want %q", tt.what, tt.got, tt.want)
		}
	}
}

func TestCost(t *testing.T) {
	p, err := start(t.TempDir(), "thing", "/bin/sh", "-c", "mkfifo $0; echo up; read x <$0", filepath.Join(t.TempDir(), "never-written"))
	if err != nil {
		t.Fatal(err)
	}
	waitUntilSaid(t, p, "up")
	kb, _, err := p.cost()
	if err != nil || kb < 100 || kb > 100_000 {
		t.Errorf("peak is %d kB, %v, want a shell's", kb, err)
	}
	_ = p.cmd.Process.Kill()
	<-p.done
	if _, _, err := p.cost(); err == nil {
		t.Error("a dead process has a cost")
	}
}

func TestCPUTicks(t *testing.T) {
	if got, err := cpuTicks("42 (a) b (c)) S 1 42 42 0 -1 4194560 100 0 0 0 17 25 0 0 20 0 1 0 100 0 0"); err != nil || got != 42 {
		t.Errorf("got %d, %v, want 17 + 25", got, err)
	}
	if _, err := cpuTicks("42 (sh) S"); err == nil {
		t.Error("a short line is read")
	}
}

// A process whose parent was killed is found and ended all the same.
func TestKillOrphans(t *testing.T) {
	if err := adopt(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // other tests' orphans are not to be waited for
		if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0); err != nil {
			t.Error(err)
		}
	})
	pidfile := filepath.Join(t.TempDir(), "pid")
	p, err := start(t.TempDir(), "parent", "/bin/sh", "-c", "setsid sleep 600 & echo $! >"+pidfile+"; echo up; wait")
	if err != nil {
		t.Fatal(err)
	}
	waitUntilSaid(t, p, "up")
	_ = p.cmd.Process.Kill()
	<-p.done
	b, err := os.ReadFile(pidfile)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || !alive(pid) {
		t.Fatalf("the orphan does not run: %v", err)
	}
	want := fmt.Sprintf("killed processes that were left over: %d", pid)
	if err := killOrphans(); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if alive(pid) {
		t.Error("the orphan still runs")
	}
	if err := killOrphans(); err != nil {
		t.Errorf("nothing was left, got %v", err)
	}
}

func waitUntilSaid(t *testing.T, p *process, word string) {
	t.Helper()
	err := poll(t.Context(), 5*time.Second, p.name+" says "+word, func(context.Context) (bool, error) {
		return strings.Contains(p.tail(9), word), nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
