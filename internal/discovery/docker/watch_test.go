package docker

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docker/docker/client"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// patience is how long a test waits for what must come.
const patience = time.Minute

// A view is what a consumer of changes holds: the containers as it was told of them.
type view struct {
	containers map[string]Container // by id
	unknown    []string
	lists      int
}

func (v *view) names() []string {
	var names []string
	for _, c := range v.containers {
		names = append(names, c.Name)
	}
	slices.Sort(names)
	return names
}

// A running watcher, and everything it handed over.
type running struct {
	*Watcher
	changes chan Change
	view    view
	log     *logBook
}

// watch runs a watcher until the test ends.
func watch(t *testing.T, cfg Config, where client.Opt, adjust ...func(*Watcher)) *running {
	t.Helper()
	r := &running{changes: make(chan Change, 10000), log: &logBook{}, view: view{containers: map[string]Container{}}}
	cfg.Logger = slog.New(slog.NewTextHandler(r.log, nil))
	cfg.Registerer = prometheus.NewRegistry()
	w, err := open(cfg, where)
	if err != nil {
		t.Fatal(err)
	}
	r.Watcher = w
	for _, f := range adjust {
		f(w)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx, func(c Change) { r.changes <- c }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run: %v, want it to return the context's error", err)
		}
		if err := w.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return r
}

// next applies the next change to the view.
func (r *running) next(t *testing.T) Change {
	t.Helper()
	select {
	case c := <-r.changes:
		if c.Listed {
			clear(r.view.containers)
			r.view.unknown = c.Unknown
			r.view.lists++
		}
		for _, x := range c.Containers {
			r.view.containers[x.ID] = x
		}
		for _, id := range c.Gone {
			delete(r.view.containers, id)
		}
		return c
	case <-time.After(patience):
		t.Fatalf("no change handed over; the watcher logged:\n%s", r.log)
		return Change{}
	}
}

// until applies changes until the view is as wanted.
func (r *running) until(t *testing.T, what string, wanted func(*view) bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !wanted(&r.view) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not seen; view: %+v; the watcher logged:\n%s", what, r.view, r.log)
		}
		r.next(t)
	}
}

// read waits until so many events have been read.
func (r *running) read(t *testing.T, n int) {
	t.Helper()
	eventually(t, "events are read", func() bool { return testutil.ToFloat64(r.metrics.events) >= float64(n) })
}

// eventually polls for a condition that no change announces.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s: did not happen", what)
		}
	}
}

// A logBook keeps what is logged.
type logBook struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logBook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
