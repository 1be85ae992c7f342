package engines

import (
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// keeping are the flags with which an engine's containers go on without it. Podman's always do.
func keeping(e *engine) []string {
	if e.name == "docker" {
		return []string{"--live-restore"}
	}
	return nil
}

// again starts an engine anew, with other flags than usual until the end of the test.
func (e *engine) again(t *testing.T, flags ...string) {
	t.Helper()
	e.stop(t, syscall.SIGTERM)
	t.Cleanup(func() {
		e.end()
		e.back(t)
	})
	e.back(t, flags...)
}

// stop ends an engine's daemon. When the test ends before it is started again, its
// containers still have to be removed.
func (e *engine) stop(t *testing.T, sig syscall.Signal) {
	t.Helper()
	t.Cleanup(func() {
		select {
		case <-e.done:
			e.back(t)
		default:
		}
	})
	e.process.end(sig)
	if killed := e.cmd.ProcessState.Sys().(syscall.WaitStatus).Signaled(); killed != (sig == syscall.SIGKILL) {
		t.Fatalf("%s ended by %v: %v\n%s", e.name, sig, e.cmd.ProcessState, e.output())
	}
}

// back starts it.
func (e *engine) back(t *testing.T, flags ...string) {
	t.Helper()
	if err := e.begin(flags...); err != nil {
		t.Fatal(err)
	}
}

// An engine that is stopped, or crashes, and leaves its containers running: they stay
// announced, and whoever died meanwhile goes when it is back.
func TestContainersOutliveTheirEngine(t *testing.T) {
	needsRoot(t)
	onEngines(t, func(t *testing.T, e *engine) {
		for name, sig := range map[string]syscall.Signal{"stopped": syscall.SIGTERM, "crashed": syscall.SIGKILL} {
			t.Run(name, func(t *testing.T) {
				e.again(t, keeping(e)...)
				e.container(t, "lives", "-P")
				e.container(t, "dies", "-P")
				a := announce(t, e)
				a.right(t, "before")
				a.ready(t)
				pid := e.inspect(t, "dies", "{{.State.Pid}}")
				n := len(a.since(t, 0))

				e.stop(t, sig)
				a.away(t)
				e.slay(t, pid)
				a.answers(t, "lives")
				if events := a.since(t, n); len(events) > 0 {
					t.Errorf("while the engine is away a watcher sees %q, want nothing", events)
				}
				e.back(t, keeping(e)...)
				a.ready(t)
				a.gone(t, "dies")
				a.right(t, "after")
				want := []string{"delete server/" + node(t) + "-dies"}
				if diff := cmp.Diff(want, a.since(t, n)); diff != "" {
					t.Errorf("once the engine is back a watcher sees (-want +got):\n%s", diff)
				}
			})
		}
	})
}

// A dockerd that takes its containers with it: at its end, or when it comes back after
// a crash. Those with a restart policy come back, on other ports.
func TestDockerTakesItsContainersAlong(t *testing.T) {
	needsRoot(t)
	for name, sig := range map[string]syscall.Signal{"stopped": syscall.SIGTERM, "crashed": syscall.SIGKILL} {
		t.Run(name, func(t *testing.T) {
			e := testbed.docker
			e.container(t, "plain", "-P")
			e.container(t, "always", "-P", "--restart", "always")
			a := announce(t, e)
			a.right(t, "before")
			a.ready(t)
			n := len(a.since(t, 0))

			e.stop(t, sig)
			a.away(t)
			if sig == syscall.SIGTERM {
				a.gone(t, "plain")
				a.gone(t, "always")
			} else if events := a.since(t, n); len(events) > 0 {
				t.Errorf("while the containers go on a watcher sees %q, want nothing", events)
			}
			e.back(t)
			a.ready(t)
			a.written(t, n, "always")
			a.gone(t, "plain")
			a.right(t, "after")
		})
	}
}

// An announce that is started while its engine is away waits for it.
func TestBegunWhileTheEngineIsAway(t *testing.T) {
	needsRoot(t)
	onEngines(t, func(t *testing.T, e *engine) {
		e.container(t, "web", "-P", "--restart", "always")
		e.stop(t, syscall.SIGTERM)
		a := announce(t, e)
		a.away(t)
		if events := a.since(t, 0); len(events) > 0 {
			t.Errorf("while the engine is away a watcher sees %q, want nothing", events)
		}
		e.back(t)
		a.ready(t)
		a.written(t, 0, "web")
		a.right(t, "the engine is back")
	})
}
