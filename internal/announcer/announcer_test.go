package announcer

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"rollcall/internal/discovery/docker"
)

func TestNothingIsToldBeforeAllIsKnown(t *testing.T) {
	steps := map[string]func(*fixture){
		"list":   func(f *fixture) { f.observe(listed(web("a", "web1", "1", 0))) },
		"drains": func(f *fixture) { f.know(map[string]bool{}) },
	}
	for first, step := range steps {
		t.Run(first+" first", func(t *testing.T) {
			f := newFixture(t, rules())
			f.observe(changed(web("b", "web2", "2", 0))) // an event is no list
			if err := f.Ready(); err == nil || err.Error() != "docker has not listed its containers yet" {
				t.Errorf("ready: %v", err)
			}
			step(f)
			if len(f.registry.told) > 0 {
				t.Errorf("told %v with the %s alone", f.registry.told, first)
			}
			if f.Ready() == nil {
				t.Errorf("ready with the %s alone", first)
			}
			for other, step := range steps {
				if other != first {
					step(f)
				}
			}
			f.want(t, "in the end", map[string]string{web1: "10.0.0.5:1"})
			if err := f.Ready(); err != nil {
				t.Errorf("ready: %v", err)
			}
		})
	}
}

func TestReadyNamesTheDrains(t *testing.T) {
	f := newFixture(t, rules())
	f.observe(listed())
	if err := f.Ready(); err == nil || err.Error() != "etcd has not told which instances are drained yet" {
		t.Errorf("ready: %v", err)
	}
}

func TestChanges(t *testing.T) {
	f := newFixture(t, rules())
	f.know(nil)
	one, two := web("a", "web1", "1", 0), web("b", "web2", "2", 0)
	both := map[string]string{web1: "10.0.0.5:1", web2: "10.0.0.5:2"}
	f.observe(listed(one, two))
	f.want(t, "list", both)
	f.observe(docker.Change{Listed: true, Containers: []docker.Container{one}, Unknown: []string{"b"}})
	f.want(t, "list with one that cannot be inspected", both)
	f.observe(docker.Change{Listed: true, Unknown: []string{"c"}, Containers: []docker.Container{two}})
	f.want(t, "list without one", map[string]string{web2: "10.0.0.5:2"})
	f.observe(changed(one))
	f.want(t, "one more", both)
	f.observe(changed(web("a", "web1", "9", 5)))
	f.want(t, "restarted with another port", map[string]string{web1: "10.0.0.5:9", web2: "10.0.0.5:2"})
	paused := two
	paused.State = "paused"
	f.observe(changed(paused))
	f.want(t, "paused", map[string]string{web1: "10.0.0.5:9"})
	f.observe(gone("a", "never-seen"))
	f.want(t, "gone", map[string]string{})
	f.observe(listed())
	if n := testutil.ToFloat64(f.containers); n != 0 {
		t.Errorf("%v containers, want 0", n)
	}
}

func TestReplacedUnderOneName(t *testing.T) {
	f := newFixture(t, rules())
	f.know(nil)
	f.observe(listed(web("old", "web1", "1", 0)))
	f.observe(changed(web("new", "web1", "2", 9)))
	f.want(t, "both are there", map[string]string{web1: "10.0.0.5:2"})
	f.observe(gone("old"))
	f.want(t, "the old one's end comes late", map[string]string{web1: "10.0.0.5:2"})
	f.observe(docker.Change{Gone: []string{"new"}, Containers: []docker.Container{web("newer", "web1", "3", 12)}})
	f.want(t, "replaced in one change", map[string]string{web1: "10.0.0.5:3"})
}

func TestTwoClaimants(t *testing.T) {
	claims := func(id, name, port string, started int) docker.Container {
		c := web(id, name, port, started)
		c.Labels = map[string]string{"rollcall.instance": "i"}
		return c
	}
	older, newer := claims("z", "older", "1", 0), claims("a", "newer", "2", 1)
	for _, order := range [][]docker.Container{{older, newer}, {newer, older}} {
		f := newFixture(t, rules())
		f.know(nil)
		f.observe(listed(order...))
		f.want(t, "two claimants", map[string]string{"nginx/i": "10.0.0.5:2"})
		want := `level=WARN msg="not announced" container="older 80/tcp" reason="a container that started later has the same instance, nginx/i" by=newer` + "\n"
		if diff := cmp.Diff(want, f.log.String()); diff != "" {
			t.Errorf("log (-want +got):\n%s", diff)
		}
		if n := testutil.ToFloat64(f.rejected); n != 1 {
			t.Errorf("%v rejected, want 1", n)
		}
		f.observe(gone("a"))
		f.want(t, "one is gone", map[string]string{"nginx/i": "10.0.0.5:1"})
		if n := testutil.ToFloat64(f.rejected); n != 0 {
			t.Errorf("%v rejected, want 0", n)
		}
	}
}

func TestTwoPortsWithOneInstance(t *testing.T) {
	f := newFixture(t, rules())
	f.know(nil)
	c := container(ports(published(80, "tcp", "0.0.0.0:1"), published(81, "tcp", "0.0.0.0:2")),
		label("rollcall.80.service", "s", "rollcall.81.service", "s", "rollcall.80.instance", "i", "rollcall.81.instance", "i"))
	f.observe(listed(c))
	if len(f.last(t)) != 1 || !strings.Contains(f.log.String(), `container="web1 81/tcp" reason="port 80/tcp has the same instance, s/i"`) {
		t.Errorf("told %v, log %s", f.last(t), f.log)
	}
}

func TestDrains(t *testing.T) {
	f := newFixture(t, rules())
	f.know(map[string]bool{web2: true, "other/x": true})
	f.observe(listed(web("a", "web1", "1", 0), web("b", "web2", "2", 0)))
	f.want(t, "drained before", map[string]string{web1: "10.0.0.5:1"})
	f.know(map[string]bool{web1: true})
	f.want(t, "one resumed, one drained", map[string]string{web2: "10.0.0.5:2"})
	f.observe(changed(web("a", "web1", "3", 9)))
	f.want(t, "restarted while drained", map[string]string{web2: "10.0.0.5:2"})
	f.know(map[string]bool{})
	f.want(t, "all resumed", map[string]string{web1: "10.0.0.5:3", web2: "10.0.0.5:2"})
	if f.log.Len() > 0 {
		t.Errorf("log: %s", f.log)
	}
}

func TestReasonsAreSaidOncePerChange(t *testing.T) {
	f := newFixture(t, rules())
	f.know(nil)
	said := func(what string, want ...string) {
		t.Helper()
		var got []string
		for line := range strings.Lines(f.log.String()) {
			_, reason, _ := strings.Cut(strings.TrimSpace(line), "reason=")
			got = append(got, strings.Trim(reason, `"`))
		}
		f.log.Reset()
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	bad := func(network string) docker.Container { return container(label("rollcall.network", network)) }
	const a, b = `container has no address on network \"a\"; it is on: bridge`, `container has no address on network \"b\"; it is on: bridge`
	f.observe(listed(bad("a")))
	said("at first", a)
	f.observe(listed(bad("a"), web("x", "web2", "2", 0)))
	f.observe(changed(bad("a")))
	f.know(map[string]bool{web2: true})
	said("again")
	f.observe(changed(bad("b")))
	said("another reason", b)
	f.observe(changed(container()))
	said("put right")
	f.observe(changed(bad("b")))
	said("wrong again", b)
	silent := container(ports())
	f.observe(changed(silent))
	said("nothing that anybody asked for")
}

// Whoever reads the log learns why a record went.
func TestTheEndIsExplained(t *testing.T) {
	for want, end := range map[string]docker.Change{
		"container is gone":   gone("4f0c"),
		"health is unhealthy": changed(container(func(c *docker.Container) { c.Health = "unhealthy" })),
		"container is paused": changed(container(func(c *docker.Container) { c.State = "paused" })),
	} {
		f := newFixture(t, rules())
		f.know(nil)
		f.observe(listed(container()))
		f.observe(changed(container()))
		if f.log.Len() > 0 {
			t.Errorf("while nothing ends: %s", f.log)
		}
		f.observe(end)
		if got := f.log.String(); got != `level=INFO msg="no longer announced" container=web1 port=80/tcp reason="`+want+"\"\n" {
			t.Errorf("%s: %s", want, got)
		}
	}
}

func TestDecisionsAreSorted(t *testing.T) {
	f := newFixture(t, rules())
	two := web("b", "b", "2", 0)
	two.Ports = []docker.Port{published(90, "tcp", "0.0.0.0:2"), published(80, "tcp", "0.0.0.0:1")}
	f.observe(listed(two, web("z", "a", "3", 0)))
	var got []string
	for _, d := range f.Decisions() {
		got = append(got, d.Container+" "+d.Port)
	}
	if want := []string{"a 80/tcp", "b 80/tcp", "b 90/tcp"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestRunFollowsBoth(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	f := newFixture(t, rules())
	done := make(chan struct{}, 2)
	f.cfg.Containers = fakeContainers{func(ctx context.Context, handle func(docker.Change)) error {
		handle(listed(web("a", "web1", "1", 0)))
		done <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	}}
	f.cfg.Drains = fakeDrains{func(ctx context.Context, handle func(map[string]bool)) error {
		handle(map[string]bool{})
		done <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	}}
	result := make(chan error, 1)
	go func() { result <- f.Run(ctx) }()
	<-done
	<-done
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Errorf("run: %v", err)
	}
	f.want(t, "while it ran", map[string]string{web1: "10.0.0.5:1"})
	if got := slices.Collect(maps.Keys(f.last(t))); len(got) != 1 {
		t.Errorf("an end of Run withdrew records: %v", got)
	}
}
