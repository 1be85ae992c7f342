package check

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// A rig runs a Checker on a fake network, in a synctest bubble.
type rig struct {
	*Checker
	t        *testing.T
	registry *prometheus.Registry
	log      logbook

	mu      sync.Mutex
	answer  func(context.Context, Target) error // nil for one that is up
	changed func()                              // what Changed does beside counting
	changes int
	asked   map[Target][]time.Time // when probes began
	running map[Target]int
	most    int // probes at once
}

// running runs body in a bubble while the Checker works.
func running(t *testing.T, body func(*testing.T, *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- r.Run(ctx) }()
		body(t, r)
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run gives %v, want context.Canceled", err)
		}
		r.quiet()
	})
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, registry: prometheus.NewRegistry(), asked: map[Target][]time.Time{}, running: map[Target]int{}}
	plain := &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}
	r.Checker = New(Config{
		Probe: r.probe, Changed: r.count, Logger: slog.New(slog.NewTextHandler(&r.log, plain)), Registerer: r.registry,
	})
	return r
}

// Set makes these and no others the targets.
func (r *rig) Set(targets map[string]Target) {
	var gone []string
	r.Checker.mu.Lock()
	for id := range r.checks {
		if _, ok := targets[id]; !ok {
			gone = append(gone, id)
		}
	}
	r.Checker.mu.Unlock()
	r.Change(targets, gone)
}

func (r *rig) probe(ctx context.Context, t Target) error {
	r.mu.Lock()
	answer := r.answer
	r.asked[t] = append(r.asked[t], time.Now())
	r.running[t]++
	if r.running[t] > 1 {
		r.t.Errorf("%s: %d probes at once", t.Addr, r.running[t])
	}
	all := 0
	for _, n := range r.running {
		all += n
	}
	r.most = max(r.most, all)
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.running[t]--
	}()
	if answer == nil {
		return nil
	}
	return answer(ctx, t)
}

func (r *rig) count(string) {
	r.mu.Lock()
	r.changes++
	changed := r.changed
	r.mu.Unlock()
	if changed != nil {
		changed()
	}
}

// answers says what becomes of probes from now on.
func (r *rig) answers(answer func(context.Context, Target) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = answer
}

func (r *rig) fails(err error) { r.answers(func(context.Context, Target) error { return err }) }

// probesOf gives when a target was asked.
func (r *rig) probesOf(t Target) []time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.asked[t]
}

// quiet fails the test when a probe runs.
func (r *rig) quiet() {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for t, n := range r.running {
		if n > 0 {
			r.t.Errorf("%s is being asked", t.Addr)
		}
	}
}

// want checks the state of a target, in words: "up", "down: connection refused".
func (r *rig) want(id, want string) {
	r.t.Helper()
	state, err := r.State(id)
	got := state.String()
	if err != nil {
		got += ": " + err.Error()
	}
	if got != want {
		r.t.Errorf("%s is %s, want %s", id, got, want)
	}
}

func (r *rig) wantChanges(want int) {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.changes != want {
		r.t.Errorf("Changed was called %d times, want %d", r.changes, want)
	}
}

// wantTargets checks the gauge: unknown, up and down.
func (r *rig) wantTargets(unknown, up, down int) {
	r.t.Helper()
	want := fmt.Sprintf(`# HELP rollcall_check_targets Endpoints that are checked, by state.
# TYPE rollcall_check_targets gauge
rollcall_check_targets{state="down"} %d
rollcall_check_targets{state="unknown"} %d
rollcall_check_targets{state="up"} %d
`, down, unknown, up)
	if err := testutil.GatherAndCompare(r.registry, strings.NewReader(want), "rollcall_check_targets"); err != nil {
		r.t.Error(err)
	}
}

// after lets time go by in a bubble.
func after(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

var web = Target{spec(), endpoint(0)}
