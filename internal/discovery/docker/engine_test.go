package docker

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/client"
	"github.com/docker/go-connections/nat"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// only gives the one container of a view, or nil.
func only(v *view) *Container {
	for _, c := range v.containers {
		if len(v.containers) == 1 {
			return &c
		}
	}
	return nil
}

func TestEngineDescribesAContainer(t *testing.T) {
	t.Parallel()
	e := realEngine(t)
	name := run + "-described"
	before := time.Now().Add(-time.Second) // the engine of the tests is this machine's
	id := e.create(name, container.Config{
		Env:          []string{"GREETING=a=b", "BOTH=container"},
		Labels:       map[string]string{"rollcall.service": "hello", "both": "container"},
		ExposedPorts: nat.PortSet{"8080/tcp": {}},
	}, container.HostConfig{PortBindings: nat.PortMap{
		"80/tcp": {{HostIP: "127.0.0.1"}},
		"53/udp": {{HostIP: "127.0.0.1"}, {HostIP: "127.0.0.2"}},
	}})
	e.start(id)
	r := watch(t, Config{Name: name}, client.FromEnv)
	r.until(t, "the container", func(v *view) bool { return only(v) != nil })
	got := *only(&r.view)

	want := Container{
		ID: id, Name: name, Image: sleeper.ref(), State: "running",
		Labels: map[string]string{"rollcall.test": run, "rollcall.service": "hello", "from": "image", "both": "container"},
		Env:    map[string]string{"GREETING": "a=b", "FROM": "image", "BOTH": "container"},
		Ports: []Port{
			{Number: 53, Proto: "udp", Bindings: []Binding{{IP: addr("127.0.0.1")}, {IP: addr("127.0.0.2")}}},
			{Number: 80, Proto: "tcp", Bindings: []Binding{{IP: addr("127.0.0.1")}}},
			{Number: 8080, Proto: "tcp"},
		},
		Networks: []Network{{Name: "bridge"}},
	}
	delete(got.Env, "PATH") // the engine's own
	opts := []cmp.Option{
		cmpopts.EquateEmpty(), cmpopts.EquateComparable(addr("::")), cmpopts.IgnoreFields(Binding{}, "Port"),
		cmpopts.IgnoreFields(Network{}, "IPv4", "IPv6", "Gateway"), cmpopts.IgnoreFields(Container{}, "Started", "NetworkMode"),
	}
	if diff := cmp.Diff(want, got, opts...); diff != "" {
		t.Errorf("container (-want +got):\n%s", diff)
	}
	for _, p := range got.Ports {
		for _, b := range p.Bindings {
			if b.Port == 0 {
				t.Errorf("port %d/%s: no port of the machine", p.Number, p.Proto)
			}
		}
	}
	if n := got.Networks[0]; !n.IPv4.Is4() || !n.Gateway.Is4() || n.IPv4 == n.Gateway {
		t.Errorf("network %+v: want an IPv4 address and a gateway", n)
	}
	if got.Started.Before(before) || got.Started.After(time.Now().Add(time.Second)) {
		t.Errorf("started %v, want a moment ago", got.Started)
	}
	if got.NetworkMode != "default" && got.NetworkMode != "bridge" {
		t.Errorf("network mode %q", got.NetworkMode)
	}
	inspected, err := r.Inspect(t.Context(), name)
	delete(inspected.Env, "PATH")
	if diff := cmp.Diff(got, inspected, cmpopts.EquateComparable(addr("::"))); diff != "" || err != nil {
		t.Errorf("Inspect: %v (-listed +inspected):\n%s", err, diff)
	}
}

func TestEngineLifeOfAContainer(t *testing.T) {
	t.Parallel()
	e := realEngine(t)
	ctx := t.Context()
	name := run + "-life"
	r := watch(t, Config{Name: name}, client.FromEnv)
	if c := r.next(t); !c.Listed || len(c.Containers) != 0 {
		t.Fatalf("first change: %+v, want an empty list", c)
	}
	state := func(want string) func(*view) bool {
		return func(v *view) bool { c := only(v); return c != nil && c.State == want }
	}
	none := func(v *view) bool { return len(v.containers) == 0 }
	on := func(want ...string) func(*view) bool {
		return func(v *view) bool {
			c := only(v)
			if c == nil || len(c.Networks) != len(want) {
				return false
			}
			for i, n := range c.Networks {
				if n.Name != want[i] || !n.IPv4.Is4() {
					return false
				}
			}
			return true
		}
	}

	e.network(name + "-net") // before the container, to be removed after it
	port := container.HostConfig{PortBindings: nat.PortMap{"80/tcp": {{HostIP: "127.0.0.1"}}}}
	id := e.create(name, container.Config{}, port)
	e.start(id)
	r.until(t, "start", state("running"))
	first := *only(&r.view)
	e.must(e.cli.ContainerPause(ctx, id))
	r.until(t, "pause", state("paused"))
	e.must(e.cli.ContainerUnpause(ctx, id))
	r.until(t, "unpause", state("running"))

	e.must(e.cli.NetworkConnect(ctx, name+"-net", id, nil))
	r.until(t, "network connect", on("bridge", name+"-net"))
	e.must(e.cli.NetworkDisconnect(ctx, name+"-net", id, true))
	r.until(t, "network disconnect", on("bridge"))

	e.must(e.cli.ContainerRename(ctx, id, name+"-old"))
	r.until(t, "renamed away", none)
	e.must(e.cli.ContainerRename(ctx, id, name))
	r.until(t, "renamed back", state("running"))

	e.must(e.cli.ContainerRestart(ctx, id, container.StopOptions{}))
	r.until(t, "restart: gone", none)
	r.until(t, "restart: back", state("running"))
	if again := only(&r.view); !again.Started.After(first.Started) || len(again.Ports[1].Bindings) != 1 {
		t.Errorf("after a restart: %+v, want a later start and a published port", again)
	}

	// Its successor takes the name while it still runs; then it dies, late.
	e.must(e.cli.ContainerRename(ctx, id, name+"-old"))
	r.until(t, "renamed away again", none)
	successor := e.create(name, container.Config{}, port)
	e.start(successor)
	r.until(t, "the successor", state("running"))
	e.must(e.cli.ContainerKill(ctx, id, "KILL"))
	e.must(e.cli.ContainerPause(ctx, successor))
	r.until(t, "the successor lives", state("paused"))
	if c := only(&r.view); c.ID != successor {
		t.Errorf("container %.12s, want the successor %.12s", c.ID, successor)
	}
	e.must(e.cli.ContainerRemove(ctx, successor, container.RemoveOptions{Force: true}))
	r.until(t, "removed", none)
	if r.view.lists != 1 {
		t.Errorf("%d lists, want all from events but the first:\n%s", r.view.lists, r.log)
	}
}

func TestEngineHealth(t *testing.T) {
	t.Parallel()
	e := realEngine(t)
	name := run + "-health"
	dir := t.TempDir()
	r := watch(t, Config{Name: name}, client.FromEnv)
	id := e.create(name, container.Config{Healthcheck: &container.HealthConfig{
		Test: []string{"CMD", "/sleeper", "healthy"}, Interval: 500 * time.Millisecond, Timeout: patience, Retries: 1,
	}}, container.HostConfig{Binds: []string{dir + ":/state"}})
	e.start(id)
	health := func(want string) {
		t.Helper()
		r.until(t, want, func(v *view) bool { c := only(v); return c != nil && c.Health == want })
	}
	health("starting")
	health("healthy")
	e.must(os.WriteFile(filepath.Join(dir, "sick"), nil, 0o644))
	health("unhealthy")
	e.must(os.Remove(filepath.Join(dir, "sick")))
	health("healthy")
}

func TestEngineNetworkModes(t *testing.T) {
	t.Parallel()
	e := realEngine(t)
	e.network(run + "-modes")
	base := e.create(run+"-base", container.Config{}, container.HostConfig{NetworkMode: container.NetworkMode(run + "-modes")})
	e.start(base)
	r := watch(t, Config{}, client.FromEnv)
	for name, mode := range map[string]string{"base": run + "-modes", "host": "host", "none": "none", "joined": "container:" + base} {
		if name != "base" {
			e.start(e.create(run+"-"+name, container.Config{}, container.HostConfig{NetworkMode: container.NetworkMode(mode)}))
		}
		r.until(t, name, func(v *view) bool {
			for _, c := range v.containers {
				if c.Name == run+"-"+name {
					if c.NetworkMode != mode {
						t.Errorf("%s: network mode %q, want %q", name, c.NetworkMode, mode)
					}
					if addressed := len(c.Networks) == 1 && c.Networks[0].IPv4.IsValid(); addressed != (name == "base") {
						t.Errorf("%s: networks %+v", name, c.Networks)
					}
					return true
				}
			}
			return false
		})
	}
}

// Containers come and go while the watcher begins to watch; in the end it must
// know what the engine knows, from events or from the list.
func TestEngineBeginInTheMiddle(t *testing.T) {
	t.Parallel()
	e := realEngine(t)
	prefix := run + "-churn-"
	ids := make([]string, 6)
	for i := range ids {
		ids[i] = e.create(fmt.Sprint(prefix, i), container.Config{}, container.HostConfig{NetworkMode: "none"})
	}
	churned := make(chan error, 1)
	go func() {
		for i, id := range ids {
			err := e.cli.ContainerStart(t.Context(), id, container.StartOptions{})
			if err == nil && i%2 == 1 {
				err = e.cli.ContainerKill(t.Context(), id, "KILL")
			}
			if err != nil {
				churned <- err
				return
			}
		}
		churned <- nil
	}()
	mine := func(v *view) string {
		var names []string
		for _, n := range v.names() {
			if rest, ok := strings.CutPrefix(n, prefix); ok {
				names = append(names, rest)
			}
		}
		return strings.Join(names, " ")
	}
	r := watch(t, Config{}, client.FromEnv)
	e.must(<-churned)
	r.until(t, "0 2 4", func(v *view) bool { return mine(v) == "0 2 4" })
	for _, id := range ids {
		e.must(e.cli.ContainerRemove(t.Context(), id, container.RemoveOptions{Force: true}))
	}
	r.until(t, "none", func(v *view) bool { return mine(v) == "" })
}
