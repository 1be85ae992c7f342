package docker

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/client"
	"github.com/docker/go-connections/nat"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestEngineRestartsWithANewPort(t *testing.T) {
	t.Parallel()
	e := realEngine(t)
	name := run + "-port"
	r := watch(t, Config{Name: name}, client.FromEnv)
	port := func(v *view) uint16 {
		if c := only(v); c != nil {
			for _, p := range c.Ports {
				if p.Number == 80 && len(p.Bindings) == 1 {
					return p.Bindings[0].Port
				}
			}
		}
		return 0
	}
	id := e.create(name, container.Config{}, container.HostConfig{PortBindings: nat.PortMap{"80/tcp": {{HostIP: "127.0.0.1"}}}})
	e.start(id)
	r.until(t, "the first port", func(v *view) bool { return port(v) != 0 })
	first := port(&r.view)

	e.must(e.cli.ContainerKill(t.Context(), id, "KILL"))
	r.until(t, "its end", func(v *view) bool { return len(v.containers) == 0 })
	// With the port taken by somebody else, the engine must choose another.
	var taken net.Listener
	eventually(t, "the port is free", func() (free bool) {
		var err error
		taken, err = net.Listen("tcp", fmt.Sprint("127.0.0.1:", first))
		return err == nil
	})
	defer func() { _ = taken.Close() }()
	e.start(id)
	r.until(t, "the second port", func(v *view) bool { return port(v) != 0 })
	in, err := e.cli.ContainerInspect(t.Context(), id)
	e.must(err)
	if want := in.NetworkSettings.Ports["80/tcp"][0].HostPort; fmt.Sprint(port(&r.view)) != want || port(&r.view) == first {
		t.Errorf("port %d after %d, want %s", port(&r.view), first, want)
	}
}

func TestEngineRestartsWhatCrashed(t *testing.T) {
	t.Parallel()
	e := realEngine(t)
	name := run + "-crash"
	r := watch(t, Config{Name: name}, client.FromEnv)
	id := e.create(name, container.Config{}, container.HostConfig{
		RestartPolicy: container.RestartPolicy{Name: container.RestartPolicyOnFailure, MaximumRetryCount: 5},
	})
	e.start(id)
	running := func(v *view) bool { c := only(v); return c != nil && c.State == "running" }
	none := func(v *view) bool { return len(v.containers) == 0 }
	r.until(t, "start", running)
	first := only(&r.view).Started
	// Docker does not restart what it was told to signal, so the signal comes from within.
	exec, err := e.cli.ContainerExecCreate(t.Context(), id, container.ExecOptions{Cmd: []string{"/sleeper", "crash"}})
	e.must(err)
	e.must(e.cli.ContainerExecStart(t.Context(), exec.ID, container.ExecStartOptions{Detach: true}))
	r.until(t, "the crash", none)
	r.until(t, "the second start", running)
	in, err := e.cli.ContainerInspect(t.Context(), id)
	e.must(err)
	if started := only(&r.view).Started; in.RestartCount != 1 || !started.After(first) || started.Format(time.RFC3339Nano) != in.State.StartedAt {
		t.Errorf("started %v, then %v after %d restarts, want %s after 1", first, started, in.RestartCount, in.State.StartedAt)
	}
	e.must(e.cli.ContainerKill(t.Context(), id, "KILL"))
	r.until(t, "its end", none)
}

func TestEngineOutOfMemory(t *testing.T) {
	t.Parallel()
	e := realEngine(t)
	ctx := t.Context()
	info, err := e.cli.Info(ctx)
	e.must(err)
	if !info.MemoryLimit {
		lacks(t, "this engine cannot limit memory")
	}
	name := run + "-memory"
	limits := container.Resources{Memory: 32 << 20}
	if info.SwapLimit {
		limits.MemorySwap = limits.Memory
	}
	r := watch(t, Config{Name: name}, client.FromEnv)
	id := e.create(name, container.Config{}, container.HostConfig{Resources: limits})
	e.start(id)
	r.until(t, "start", func(v *view) bool { return only(v) != nil })
	started := only(&r.view).Started

	// Another process of it is killed: nothing has happened to the container.
	exec, err := e.cli.ContainerExecCreate(ctx, id, container.ExecOptions{Cmd: []string{"/sleeper", "eat"}})
	e.must(err)
	e.must(e.cli.ContainerExecStart(ctx, exec.ID, container.ExecStartOptions{Detach: true}))
	eventually(t, "the other process is killed", func() bool {
		p, err := e.cli.ContainerExecInspect(ctx, exec.ID)
		e.must(err)
		if !p.Running && p.ExitCode != 137 {
			t.Fatalf("exit code %d, want it killed", p.ExitCode)
		}
		return !p.Running
	})
	e.must(e.cli.ContainerPause(ctx, id))
	for c := only(&r.view); c == nil || c.State != "paused"; c = only(&r.view) {
		if change := r.next(t); change.Listed || len(change.Gone) > 0 {
			t.Fatalf("change: %+v", change)
		}
	}
	if c := only(&r.view); !c.Started.Equal(started) {
		t.Errorf("started %v, want still %v", c.Started, started)
	}
	e.must(e.cli.ContainerUnpause(ctx, id))

	e.must(e.cli.ContainerKill(ctx, id, "USR1"))
	r.until(t, "its main process is killed", func(v *view) bool { return len(v.containers) == 0 })
	c, err := r.Inspect(ctx, id)
	e.must(err)
	if in, err := e.cli.ContainerInspect(ctx, id); err != nil || !in.State.OOMKilled || c.State != "exited" {
		t.Errorf("state %s, %+v, %v; want it killed for its memory", c.State, in.State, err)
	}
}

// While Docker starts a command in a container, as its HEALTHCHECK is, pausing it makes
// every inspection hang, and unpausing wait for them. So this test is alone with its
// container: others list, and inspect, everything.
func TestEnginePausesInTheMiddleOfHealthChecks(t *testing.T) {
	e := realEngine(t)
	ctx := t.Context()
	name := run + "-pauses"
	dir := t.TempDir()
	id := e.create(name, container.Config{Healthcheck: &container.HealthConfig{
		Test: []string{"CMD", "/sleeper", "healthy"}, Interval: 10 * time.Millisecond, Timeout: 5 * time.Second, Retries: 1000,
	}}, container.HostConfig{Binds: []string{dir + ":/state"}})
	e.start(id)
	r := watch(t, Config{Name: name}, client.FromEnv)
	state := func(want string) func(*view) bool {
		return func(v *view) bool { c := only(v); return c != nil && c.State == want && c.Health == "healthy" }
	}
	r.until(t, "healthy", state("running"))
	for range 10 {
		before := testutil.ToFloat64(r.metrics.inspects)
		e.must(e.cli.ContainerPause(ctx, id))
		r.until(t, "paused", state("paused"))
		if n := testutil.ToFloat64(r.metrics.inspects) - before; n != 0 {
			t.Errorf("%v inspections for a pause, want none", n)
		}
		e.must(e.cli.ContainerUnpause(ctx, id))
		r.until(t, "unpaused", state("running"))
	}
	if r.view.lists != 1 || strings.Contains(r.log.String(), "cannot be inspected") {
		t.Errorf("%d lists, want 1; the watcher logged:\n%s", r.view.lists, r.log)
	}
}
