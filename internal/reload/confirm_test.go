package reload

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A fakeMaster is this process, whose children are the workers.
type fakeMaster struct {
	process func() (Process, bool)
	reload  func() error
	words   func() string
}

var _ Master = (*fakeMaster)(nil)

func (m *fakeMaster) Process() (Process, bool) {
	if m.process != nil {
		return m.process()
	}
	return findProcess(os.Getpid())
}

func (m *fakeMaster) Reload(context.Context) error {
	if m.reload != nil {
		return m.reload()
	}
	return nil
}

func (m *fakeMaster) Orphans() []Process { return nil }

func (m *fakeMaster) Words() string {
	if m.words != nil {
		return m.words()
	}
	return ""
}

// newServer is a server whose generation endpoint answers what it is told, and
// whose only worker is the given process.
func newServer(t *testing.T, m *fakeMaster, generation *atomic.Value, worker int) *server {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != GenerationPath {
			http.NotFound(w, r)
			return
		}
		fmt.Fprintf(w, "%s %d\n", generation.Load(), os.Getpid())
	}))
	t.Cleanup(srv.Close)
	return &server{
		name:     "fake",
		master:   m,
		control:  endpoint{"tcp", srv.Listener.Addr().String()},
		isWorker: func(p Process) bool { return p.Pid == worker },
		refused:  func(words string) bool { return strings.Contains(words, "never") },
	}
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// Two configurations with a slow request each: two are old, of however many workers.
func TestOldConfigurationsAreCounted(t *testing.T) {
	forEachKind(t, func(t *testing.T, f *fixture) {
		tx, _ := f.transaction()
		f.apply(tx, "g1")
		first := f.slow()
		f.apply(tx, "g2")
		second := f.slow()
		out := f.apply(tx, "g3")
		if got := out.Old.Configurations(); got != 2 || out.Old.Len() < 2 {
			t.Errorf("%d old configurations with %d workers, want 2", got, out.Old.Len())
		}
		f.backend.release <- struct{}{}
		f.backend.release <- struct{}{}
		<-first
		<-second
		if err := out.Old.Wait(within(t, 10*time.Second)); err != nil || out.Old.Configurations() != 0 {
			t.Errorf("%d old configurations when their requests are answered: %v", out.Old.Configurations(), err)
		}
	})
}

func TestConfirmWaitsUntilOldWorkersHaveClosedTheirListeners(t *testing.T) {
	h := startHelper(t, "listen")
	h.line()
	var generation atomic.Value
	generation.Store("g1")
	s := newServer(t, &fakeMaster{}, &generation, h.cmd.Process.Pid)
	if old, err := s.Confirm(within(t, time.Second), "g1"); err != nil || old.Len() != 0 {
		t.Fatalf("met a server that serves g1: %v, %v", old, err)
	}
	generation.Store("g2")
	if err := s.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Confirm(within(t, 200*time.Millisecond), "g2"); err == nil || !strings.Contains(err.Error(), "1 workers with an older configuration still accept") {
		t.Errorf("confirmed while an old worker accepts: %v", err)
	}
	if err := h.cmd.Process.Signal(unix.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	old, err := s.Confirm(within(t, 5*time.Second), "g2")
	if err != nil {
		t.Fatal(err)
	}
	if err := old.Wait(within(t, 50*time.Millisecond)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("drained while an old worker lives: %v", err)
	}
	if err := h.cmd.Process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := old.Wait(within(t, 5*time.Second)); err != nil {
		t.Errorf("not drained: %v", err)
	}
}

func TestMeetingAServerWithAWorkerThatFinishes(t *testing.T) {
	h := startHelper(t, "listen")
	h.line()
	if err := h.cmd.Process.Signal(unix.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	h.line()
	var generation atomic.Value
	generation.Store("g1")
	s := newServer(t, &fakeMaster{}, &generation, h.cmd.Process.Pid)
	old, err := s.Confirm(within(t, time.Second), "g1")
	if err != nil || len(old.(finishing)) != 1 {
		t.Errorf("got %v, %v; want the worker that accepts nothing", old, err)
	}
}

func TestTitleOfAnNginxWorkerTells(t *testing.T) {
	for title, want := range map[string]bool{
		"nginx: worker process":                  true,
		"nginx: worker process is shutting down": false,
	} {
		cmd := &exec.Cmd{Path: "/bin/sleep", Args: []string{title, "60"}}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		p, ok := findProcess(cmd.Process.Pid)
		if !ok {
			t.Fatal("not found")
		}
		eventually(t, "it has its title", func() bool { return strings.HasPrefix(p.title(), title) })
		w := &worker{Process: p, titled: true}
		if got := w.accepting(); got != want {
			t.Errorf("%s: accepting %t", title, got)
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		if w.accepting() {
			t.Errorf("%s: accepting though dead", title)
		}
	}
}

func TestConfirmGivesUp(t *testing.T) {
	self, _ := findProcess(os.Getpid())
	var calls atomic.Int32
	tests := []struct {
		name   string
		master *fakeMaster
		want   string
		output string
	}{
		{
			name:   "another generation",
			master: &fakeMaster{},
			want:   `it serves generation "g1", not "g2": context deadline exceeded`,
		},
		{
			name:   "the master died",
			master: &fakeMaster{words: func() string { return "alas" }, process: func() (Process, bool) { return Process{self.Pid, uint64(calls.Add(1))}, true }},
			want:   "server died while it read its files", output: "alas",
		},
		{
			name:   "the master has refused",
			master: &fakeMaster{words: func() string { return "never" }},
			want:   `it serves generation "g1", not "g2"`, output: "never",
		},
		{
			name:   "there is none",
			master: &fakeMaster{process: func() (Process, bool) { return Process{}, false }},
			want:   "server is not running",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var generation atomic.Value
			generation.Store("g1")
			s := newServer(t, tt.master, &generation, 0)
			if err := s.Reload(t.Context()); err != nil {
				t.Fatal(err)
			}
			timeout := 10 * time.Second
			if strings.Contains(tt.want, "deadline") {
				timeout = 100 * time.Millisecond
			}
			_, err := s.Confirm(within(t, timeout), "g2")
			if err == nil || !strings.HasSuffix(err.Error(), tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
			if said, ok := errors.AsType[*ServerError](err); tt.output != "" && (!ok || said.Output != tt.output) {
				t.Errorf("output: got %+v, want %q", said, tt.output)
			}
		})
	}
}

func TestGenerationEndpoint(t *testing.T) {
	tests := []struct {
		name, body string
		status     int
		want       Serving
	}{
		{"generation alone", "g1", 200, Serving{"g1", ""}},
		{"with the structure", "g1 s1\n", 200, Serving{"g1", "s1"}},
		{"with a process id", "g1 s1 42\n", 200, Serving{"g1", "s1"}},
		{"empty", "", 200, Serving{}},
		{"not found", "g1", 404, Serving{}},
		{"endless", strings.Repeat("x", 1<<20), 200, Serving{strings.Repeat("x", 4096), ""}},
	}
	for _, tt := range tests {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(tt.status)
			fmt.Fprint(w, tt.body)
		}))
		got, err := endpoint{"tcp", srv.Listener.Addr().String()}.generation(t.Context())
		srv.Close()
		if got != tt.want || (err == nil) != (tt.want != Serving{}) {
			t.Errorf("%s: got %d bytes, structure %q, %v", tt.name, len(got.Generation), got.Structure, err)
		}
	}
	if _, err := (endpoint{"unix", t.TempDir() + "/none"}).generation(t.Context()); err == nil {
		t.Error("an answer from nobody")
	}
}
