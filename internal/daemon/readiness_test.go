package daemon

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A fault is a condition that tests switch on and off.
type fault struct{ err atomic.Pointer[error] }

func (f *fault) set(err error) { f.err.Store(&err) }

func (f *fault) check() error {
	if p := f.err.Load(); p != nil {
		return *p
	}
	return nil
}

func TestReadinessReasons(t *testing.T) {
	r := NewReadiness((&journal{}).logger())
	if got := r.Reasons(); len(got) > 0 {
		t.Errorf("without conditions: got %q, want none", got)
	}
	var etcd, docker fault
	r.Add("etcd", etcd.check)
	r.Add("docker", docker.check)
	docker.set(errDown)
	if diff := cmp.Diff([]string{"docker: connection refused"}, r.Reasons()); diff != "" {
		t.Errorf("reasons (-want +got):\n%s", diff)
	}
	etcd.set(errors.New("no leader"))
	if diff := cmp.Diff([]string{"etcd: no leader", "docker: connection refused"}, r.Reasons()); diff != "" {
		t.Errorf("reasons (-want +got):\n%s", diff)
	}
}

func TestReadinessRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		var etcd, docker fault
		etcd.set(errDown)
		r := NewReadiness(j.logger())
		r.Add("etcd", etcd.check)
		r.Add("docker", docker.check)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		logged := 0 // lines that a step was judged by
		go func() { done <- r.Run(ctx, func(reasons []string) { _ = j.send(strings.Join(reasons, "; ")) }) }()

		// Each step: what changes, how soon it must have been seen, what is told and logged.
		for _, step := range []struct {
			name   string
			change func()
			within time.Duration
			told   []string
			lines  []string
		}{
			{
				"start", func() {}, 0,
				[]string{"etcd: connection refused"},
				[]string{`level=INFO msg="not ready yet" reasons="etcd: connection refused"`},
			},
			{"same for a minute", func() {}, time.Minute, nil, nil},
			{
				"other words, same condition", func() { etcd.set(errors.New("no leader")) }, lookStarting,
				[]string{"etcd: no leader"},
				nil,
			},
			{
				"ready", func() { etcd.set(nil) }, lookStarting,
				[]string{""},
				[]string{`level=INFO msg=ready`},
			},
			{"still ready", func() {}, time.Minute, nil, nil},
			{
				"lost", func() { docker.set(errDown) }, lookRunning,
				[]string{"docker: connection refused"},
				[]string{`level=WARN msg="not ready" reasons="docker: connection refused"`},
			},
			{
				"both lost", func() { etcd.set(errDown) }, lookRunning,
				[]string{"etcd: connection refused; docker: connection refused"},
				[]string{`level=WARN msg="not ready" reasons="etcd: connection refused; docker: connection refused"`},
			},
			{
				"ready again", func() { etcd.set(nil); docker.set(nil) }, lookRunning,
				[]string{""},
				[]string{`level=INFO msg=ready`},
			},
		} {
			step.change()
			time.Sleep(step.within) // the bubble's clock
			synctest.Wait()
			if diff := cmp.Diff(step.told, j.messages()); diff != "" {
				t.Errorf("%s: told (-want +got):\n%s", step.name, diff)
			}
			lines := j.lines()
			if diff := cmp.Diff(step.lines, append([]string(nil), lines[logged:]...)); diff != "" {
				t.Errorf("%s: log (-want +got):\n%s", step.name, diff)
			}
			logged = len(lines)
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}
