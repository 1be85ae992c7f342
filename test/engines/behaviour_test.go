package engines

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// What announce does about containers is the same on every engine.
func TestBehaviour(t *testing.T) {
	needsRoot(t)
	behaviours := []struct {
		name string
		test func(*testing.T, *engine)
	}{
		{"start and stop", startAndStop},
		{"killed", killed},
		{"pause", pause},
		{"restart", restart},
		{"replaced under one name", replaced},
		{"sidekick", sidekick},
		{"labels", labels},
		{"internal", internal},
		{"network joined later", joined},
		{"host network", hostNetwork},
		{"health", health},
	}
	onEngines(t, func(t *testing.T, e *engine) {
		for _, b := range behaviours {
			t.Run(b.name, func(t *testing.T) { b.test(t, e) })
		}
	})
}

func startAndStop(t *testing.T, e *engine) {
	e.container(t, "early", "-P")
	a := announce(t, e)
	a.right(t, "a container that was there before")
	e.container(t, "web", "-P")
	a.right(t, "started")
	e.do(t, "stop", "web")
	a.gone(t, "web")
	a.right(t, "stopped")
	e.do(t, "start", "web")
	a.right(t, "started again")
	key := "server/" + node(t) + "-"
	want := []string{"put " + key + "early", "put " + key + "web", "delete " + key + "web", "put " + key + "web"}
	if diff := cmp.Diff(want, a.since(t, 0)); diff != "" {
		t.Errorf("what a watcher sees (-want +got):\n%s", diff)
	}
	e.do(t, "rm", "-f", "web")
	a.right(t, "removed")
}

func killed(t *testing.T, e *engine) {
	a := announce(t, e)
	e.container(t, "web", "-P")
	a.right(t, "started")
	e.slay(t, e.inspect(t, "web", "{{.State.Pid}}"))
	a.gone(t, "web")
	a.right(t, "killed")
}

func pause(t *testing.T, e *engine) {
	a := announce(t, e)
	e.container(t, "web", "-P")
	a.right(t, "started")
	e.do(t, "pause", "web")
	a.gone(t, "web")
	e.do(t, "unpause", "web")
	a.right(t, "unpaused")
}

// Docker gives a port of the machine anew at each start, Podman keeps it.
func restart(t *testing.T, e *engine) {
	a := announce(t, e)
	e.container(t, "web", "-P")
	a.right(t, "started")
	before, _ := a.of("web")
	n := len(a.since(t, 0))
	e.do(t, "restart", "web")
	a.written(t, n, "web")
	a.right(t, "restarted")
	if after, _ := a.of("web"); e.name == "docker" && after.Port == before.Port {
		t.Errorf("Docker gives port %d again: nothing was tested", after.Port)
	}
}

func replaced(t *testing.T, e *engine) {
	a := announce(t, e)
	e.container(t, "web", "-P")
	a.right(t, "started")
	e.do(t, "rename", "web", "web-old")
	t.Cleanup(func() { _, _ = e.run("rm", "-f", "web-old") })
	e.container(t, "web", "-P")
	e.do(t, "rm", "-f", "web-old")
	eventually(t, "etcd and engine agree", func() error { return a.agree(e) })
	a.answers(t, "web")
}

func sidekick(t *testing.T, e *engine) {
	a := announce(t, e, "--container", "web", "--service", "website")
	e.container(t, "other", "-P")
	e.container(t, "web", "-P")
	a.there(t, "web", machine+":"+e.published(t, "web"))
	e.do(t, "stop", "web")
	a.gone(t, "web")
	want := []string{"put website/web", "delete website/web"}
	if diff := cmp.Diff(want, a.since(t, 0)); diff != "" {
		t.Errorf("what a watcher sees (-want +got):\n%s", diff)
	}
}

func labels(t *testing.T, e *engine) {
	a := announce(t, e)
	e.container(t, "ignored", "-P", "--label", "rollcall.ignore=true")
	e.container(t, "web", "-P", "--label", "rollcall.service=website", "--label", "rollcall.instance=web-1", "--label", "rollcall.weight=7",
		"--label", "rollcall.meta.rack=b12", "--env", "ROLLCALL_VERSION=1.2")
	want := map[string]record{"website/web-1": {Host: machine, Version: "1.2", Weight: 7, Meta: map[string]string{"rack": "b12"}}}
	eventually(t, "the record", func() error {
		if _, ok := a.of("web-1"); !ok {
			return errNotYet
		}
		return nil
	})
	got, err := a.now()
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(record{}, "Container", "Port", "Started")); diff != "" || err != nil {
		t.Errorf("records: %v (-want +got):\n%s", err, diff)
	}
}

func internal(t *testing.T, e *engine) {
	a := announce(t, e, "--internal")
	e.container(t, "web")
	a.there(t, "web", e.address(t, "web")+":8080")
	e.network(t, "back")
	e.container(t, "hidden", "--network", "back")
	a.there(t, "hidden", e.address(t, "hidden")+":8080")
}

func joined(t *testing.T, e *engine) {
	a := announce(t, e)
	e.network(t, "back")
	e.container(t, "web", "--label", "rollcall.network=back")
	e.do(t, "network", "connect", "back", "web")
	a.there(t, "web", e.inspect(t, "web", "{{.NetworkSettings.Networks.back.IPAddress}}")+":8080")
	e.do(t, "network", "disconnect", "back", "web")
	a.gone(t, "web")
}

func hostNetwork(t *testing.T, e *engine) {
	a := announce(t, e)
	port := map[string]string{"docker": "18080", "podman": "18081"}[e.name]
	e.container(t, "web", "--network", "host", "--env", "LISTEN=:"+port, "--label", "rollcall.port="+port)
	a.there(t, "web", machine+":"+port)
	e.do(t, "stop", "web")
	a.gone(t, "web")
}

func health(t *testing.T, e *engine) {
	a := announce(t, e)
	dir, sick := stateDir(t)
	setSick := func(is bool) {
		t.Helper()
		err := os.Remove(sick)
		if is {
			err = os.WriteFile(sick, nil, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	setSick(true)
	// Nobody waits for a second success: the interval between them is not the same on both engines.
	e.container(t, "web", append(e.checked(), "-P", "-v", dir+":/state", "--label", "rollcall.check.rise=1")...)
	e.check("web")
	e.container(t, "other", "-P")
	eventually(t, "one that started later is announced", func() error {
		if _, ok := a.of("other"); !ok {
			return errNotYet
		}
		return nil
	})
	if r, ok := a.of("web"); ok {
		t.Errorf("announced although it was never healthy: %+v", r)
	}
	setSick(false)
	e.check("web")
	a.right(t, "healthy")
	setSick(true)
	e.check("web")
	a.gone(t, "web")
	setSick(false)
	e.check("web")
	a.right(t, "healthy again")
}
