package docker

import (
	"net/http"
	"slices"
	"sync/atomic"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// The events are as Podman 4.3 sends them.
func TestPodmanEvents(t *testing.T) {
	t.Parallel()
	gone := Change{Gone: []string{"a"}}
	for name, tc := range map[string]struct {
		event string
		want  Change
	}{
		"death": {
			`{"status":"die","id":"a","Type":"container","Action":"die","Actor":{"ID":"a","Attributes":{"exitCode":"0","name":"web"}},"scope":"local"}`, gone,
		},
		"death, under its own name": {
			`{"Type":"container","Action":"died","Actor":{"ID":"a","Attributes":{"name":"web"}}}`, gone,
		},
		"removal": {
			`{"status":"remove","id":"a","Type":"container","Action":"remove","Actor":{"ID":"a","Attributes":{"name":"web"}},"scope":"local"}`, gone,
		},
		"network": {
			`{"status":"connect","id":"a","Type":"network","Action":"connect","Actor":{"ID":"a","Attributes":{"name":"web"}},"scope":"local"}`,
			Change{Containers: []Container{{ID: "a", Name: "web", State: "running"}}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, r, s := begin(t, Config{})
			// Somebody without a HEALTHCHECK has run a command: no reason to ask.
			s.write(`{"status":"exec_died","id":"a","Type":"container","Action":"exec_died","Actor":{"ID":"a"}}` + "\n")
			s.write(tc.event + "\n")
			opts := []gocmp.Option{cmpopts.EquateEmpty(), cmpopts.IgnoreFields(Container{}, "Started")}
			if diff := gocmp.Diff(tc.want, r.next(t), opts...); diff != "" {
				t.Errorf("change (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPodmanSelectsEventsByItsOwnNames(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"died", "remove", "exec_died"} {
		if !slices.Contains(heard().Get("event"), name) {
			t.Errorf("event %q is not asked for", name)
		}
	}
}

// Both events of a check come before its result counts.
func TestPodmanIsAskedOnceAHealthCheckIsOver(t *testing.T) {
	t.Parallel()
	e := newFakeEngine()
	e.set("a", "web", "running", noon)
	var over atomic.Bool
	e.fail(nil, func(w http.ResponseWriter, _ *http.Request, id string) bool {
		health := map[string]any{"Status": "starting"}
		if over.Load() {
			health["Status"] = "healthy"
		}
		answer(w, map[string]any{"Id": id, "Name": "/web", "State": map[string]any{"Status": "running", "Health": health}})
		return true
	})
	r := watch(t, Config{}, e.serve(t))
	s := e.stream(t)
	is := func(want string) func(*view) bool {
		return func(v *view) bool { return v.containers["a"].Health == want }
	}
	r.until(t, "starting", is("starting"))
	s.send("container", "health_status", "a", "web", noon)
	s.send("container", "exec_died", "a", "web", noon)
	eventually(t, "both are read", func() bool { return testutil.ToFloat64(r.metrics.events) == 2 })
	over.Store(true)
	r.until(t, "healthy", is("healthy"))
}
