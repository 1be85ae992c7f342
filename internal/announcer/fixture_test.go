package announcer

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"maps"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"rollcall/internal/check"
	"rollcall/internal/discovery"
	"rollcall/internal/discovery/docker"
)

// fakeRegistry remembers what it was told, as "service/instance" → endpoint.
type fakeRegistry struct {
	told  []map[string]string
	leave func(discovery.Record) bool
	gone  []string // of every Change
	sets  int
}

func (r *fakeRegistry) Set(records map[string]discovery.Record, leave func(discovery.Record) bool) {
	r.leave = leave
	r.sets++
	r.told = append(r.told, map[string]string{})
	r.put(records)
}

func (r *fakeRegistry) Change(put map[string]discovery.Record, gone []string) {
	r.told = append(r.told, maps.Clone(r.told[len(r.told)-1]))
	r.gone = append(r.gone, gone...)
	for _, id := range gone {
		delete(r.told[len(r.told)-1], id)
	}
	r.put(put)
}

func (r *fakeRegistry) put(records map[string]discovery.Record) {
	told := r.told[len(r.told)-1]
	for id, record := range records {
		for key, value := range record.Values {
			i, err := discovery.DecodeRecord(record.Service, record.Instance, []byte(value))
			if err != nil || key != "/services/"+id {
				told[id] = key + " is not a record"
				continue
			}
			told[id] = i.Endpoint()
		}
	}
}

// fakeChecks knows what the test says.
type fakeChecks struct {
	states  map[string]check.State
	targets map[string]check.Target
	changes int
	changed func(id string)
}

func (c *fakeChecks) Change(put map[string]check.Target, gone []string) {
	c.changes++
	for _, id := range gone {
		delete(c.targets, id)
	}
	maps.Copy(c.targets, put)
}

func (c *fakeChecks) State(id string) (check.State, error) {
	if c.states[id] == check.Down {
		return check.Down, errors.New("answered 503 Service Unavailable")
	}
	return c.states[id], nil
}

func (*fakeChecks) Run(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }

// come brings a check into another state.
func (c *fakeChecks) come(id string, state check.State) {
	c.states[id] = state
	c.changed(id)
}

type fakeContainers struct {
	run func(context.Context, func(docker.Change)) error
}

func (f fakeContainers) Run(ctx context.Context, handle func(docker.Change)) error {
	return f.run(ctx, handle)
}

type fakeDrains struct {
	run func(context.Context, func(map[string]bool)) error
}

func (f fakeDrains) Run(ctx context.Context, handle func(map[string]bool)) error {
	return f.run(ctx, handle)
}

// fixture is an announcer that is told things by the test itself.
type fixture struct {
	*Announcer
	registry *fakeRegistry
	checks   *fakeChecks
	log      *bytes.Buffer
}

func newFixture(t *testing.T, r Rules) *fixture {
	t.Helper()
	f := &fixture{registry: &fakeRegistry{}, checks: &fakeChecks{states: map[string]check.State{}, targets: map[string]check.Target{}}, log: &bytes.Buffer{}}
	f.Announcer = New(Config{
		Rules: r, Registry: f.registry, Registerer: prometheus.NewRegistry(),
		Checks: func(changed func(string)) Checks {
			f.checks.changed = changed
			return f.checks
		},
		Logger: slog.New(slog.NewTextHandler(f.log, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}})),
	})
	return f
}

// know tells the announcer which instances are drained.
func (f *fixture) know(drained map[string]bool) { f.drain(drained) }

// last gives what the registry was told last.
func (f *fixture) last(t *testing.T) map[string]string {
	t.Helper()
	f.mu.Lock() // the registry is told under it
	defer f.mu.Unlock()
	if len(f.registry.told) == 0 {
		t.Fatal("the registry was told nothing")
	}
	return f.registry.told[len(f.registry.told)-1]
}

func (f *fixture) want(t *testing.T, what string, want map[string]string) {
	t.Helper()
	if diff := cmp.Diff(want, f.last(t)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// web is a container with its id, name, port and start, seconds after noon.
func web(id, name, port string, started int) docker.Container {
	return container(ports(published(80, "tcp", "0.0.0.0:"+port)), func(c *docker.Container) {
		c.ID, c.Name, c.Started = id, name, noon.Add(time.Duration(started)*time.Second)
	})
}

func listed(c ...docker.Container) docker.Change  { return docker.Change{Listed: true, Containers: c} }
func changed(c ...docker.Container) docker.Change { return docker.Change{Containers: c} }
func gone(ids ...string) docker.Change            { return docker.Change{Gone: ids} }

const (
	web1 = "nginx/core-01-web1"
	web2 = "nginx/core-01-web2"
)
