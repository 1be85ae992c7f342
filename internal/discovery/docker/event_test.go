package docker

import (
	"cmp"
	"net/http"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestEventsOneByOne(t *testing.T) {
	t.Parallel()
	later := noon.Add(time.Hour)
	fresh := func(id, name, state string) Change {
		return Change{Containers: []Container{{ID: id, Name: name, State: state}}}
	}
	for name, tc := range map[string]struct {
		only string // the watcher's Name
		do   func(e *fakeEngine, r *running, s *fakeStream)
		want []Change // after those that do has taken
		asks int      // inspections it takes
	}{
		"a death is believed, not asked about": {
			do: func(e *fakeEngine, _ *running, s *fakeStream) {
				e.fail(nil, failing(500))
				s.send("container", "die", "a", "web", later)
				s.send("container", "destroy", "a", "web", later)
			},
			want: []Change{{Gone: []string{"a"}}},
		},
		"a removal without a death": {
			do:   func(_ *fakeEngine, _ *running, s *fakeStream) { s.send("container", "destroy", "a", "web", later) },
			want: []Change{{Gone: []string{"a"}}},
		},
		"the late death of a predecessor": {
			do: func(_ *fakeEngine, _ *running, s *fakeStream) {
				s.send("container", "die", "old", "web", later)
				s.send("container", "destroy", "old", "web", later)
			},
		},
		"a death from before the start that was listed": {
			do: func(_ *fakeEngine, _ *running, s *fakeStream) {
				s.send("container", "die", "a", "web", noon.Add(-time.Minute))
			},
			want: []Change{fresh("a", "web", "running")},
			asks: 1,
		},
		"a death that only seems to be from before, by a clock set back": {
			do: func(e *fakeEngine, _ *running, s *fakeStream) {
				e.set("a", "web", "exited", noon)
				s.send("container", "die", "a", "web", noon.Add(-time.Minute))
			},
			want: []Change{{Gone: []string{"a"}}},
			asks: 1,
		},
		"a start that did not last": {
			do: func(e *fakeEngine, _ *running, s *fakeStream) {
				s.send("container", "start", "gone", "api", later)
				e.set("b", "api", "exited", noon)
				s.send("container", "start", "b", "api", later)
			},
			asks: 2,
		},
		"a death while the answer about the start was on its way": {
			do: func(e *fakeEngine, r *running, s *fakeStream) {
				e.set("b", "api", "running", noon)
				e.fail(nil, func(http.ResponseWriter, *http.Request, string) bool {
					s.send("container", "die", "b", "api", later)
					r.read(t, 2)
					return false // so it answers what is not true any more
				})
				s.send("container", "start", "b", "api", noon)
				r.read(t, 2)
			},
			asks: 1,
		},
		"the memory of one of its processes runs out": {
			do:   func(_ *fakeEngine, _ *running, s *fakeStream) { s.send("container", "oom", "a", "web", later) },
			want: []Change{fresh("a", "web", "running")},
			asks: 1,
		},
		"the memory of its main process runs out": {
			do: func(_ *fakeEngine, r *running, s *fakeStream) {
				s.send("container", "oom", "a", "web", later)
				r.next(t)
				s.send("container", "die", "a", "web", later)
			},
			want: []Change{{Gone: []string{"a"}}},
			asks: 1,
		},
		"a crash that a restart policy repairs": {
			do: func(e *fakeEngine, _ *running, s *fakeStream) {
				s.send("container", "die", "a", "web", later)
				e.set("a", "web", "restarting", noon)
				s.send("container", "update", "a", "web", later)
				s.send("container", "start", "a", "web", later)
			},
			want: []Change{{Gone: []string{"a"}}, fresh("a", "web", "restarting"), fresh("a", "web", "restarting")},
			asks: 2,
		},
		"dead, or not started": {
			do: func(e *fakeEngine, _ *running, s *fakeStream) {
				e.set("a", "web", "dead", noon)
				s.send("container", "update", "a", "web", later)
				e.set("b", "api", "created", time.Time{})
				s.send("container", "rename", "b", "api", later)
			},
			want: []Change{{Gone: []string{"a"}}},
			asks: 2,
		},
		"somebody known turns out not to be there": {
			do: func(e *fakeEngine, _ *running, s *fakeStream) {
				e.remove("a")
				s.send("container", "update", "a", "web", later)
			},
			want: []Change{{Gone: []string{"a"}}},
			asks: 1,
		},
		"a network of somebody known": {
			do: func(_ *fakeEngine, _ *running, s *fakeStream) {
				s.write(`{"Type":"network","Action":"connect","Actor":{"ID":"n1","Attributes":{"container":"a","name":"back"}}}` + "\n")
			},
			want: []Change{fresh("a", "web", "running")},
			asks: 1,
		},
		"a network of somebody not started": {
			do: func(_ *fakeEngine, _ *running, s *fakeStream) {
				s.write(`{"Type":"network","Action":"connect","Actor":{"ID":"n1","Attributes":{"container":"new"}}}` + "\n")
				s.write(`{"Type":"network","Action":"connect"}` + "\n")
			},
		},
		"an event without anything in it": {
			do: func(_ *fakeEngine, _ *running, s *fakeStream) { s.write("{}\n") },
		},
		"somebody else, by name": {
			only: "web",
			do: func(e *fakeEngine, _ *running, s *fakeStream) {
				e.set("b", "web2", "running", noon)
				s.send("container", "start", "b", "web2", later)
			},
		},
		"renamed away": {
			only: "web",
			do: func(e *fakeEngine, _ *running, s *fakeStream) {
				e.set("a", "web-old", "running", noon)
				s.send("container", "rename", "a", "web-old", later)
			},
			want: []Change{{Gone: []string{"a"}}},
			asks: 1,
		},
		"replaced under one name": {
			only: "web",
			do: func(e *fakeEngine, r *running, s *fakeStream) {
				e.set("b", "web", "running", later)
				s.send("container", "start", "b", "web", later)
				r.until(t, "the successor", func(v *view) bool { return len(v.containers) == 2 })
				s.send("container", "die", "a", "web", later)
			},
			want: []Change{{Gone: []string{"a"}}},
			asks: 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, r, s := begin(t, Config{Name: tc.only}, oneAtATime)
			tc.do(e, r, s)
			got := followed(t, e, r, s)
			opts := []gocmp.Option{cmpopts.EquateEmpty(), cmpopts.IgnoreFields(Container{}, "Started")}
			if diff := gocmp.Diff(tc.want, got, opts...); diff != "" {
				t.Errorf("changes (-want +got):\n%s", diff)
			}
			if n := e.inspections() - 1 - fences; n != tc.asks { // one is the first list's
				t.Errorf("%d inspections, want %d", n, tc.asks)
			}
		})
	}
}

func TestEventsThatHaveAContainerInspected(t *testing.T) {
	t.Parallel()
	e, r, s := begin(t, Config{})
	for _, action := range []string{"start", "unpause", "health_status: healthy", "health_status", "rename", "update", "connect"} {
		kind, before := "container", e.inspections()
		if action == "connect" {
			kind = "network"
		}
		e.set("b", action, "running", noon)
		s.send(kind, action, "b", action, noon)
		want := Change{Containers: []Container{{ID: "b", Name: action, State: "running", Started: noon}}}
		if diff := gocmp.Diff(want, r.next(t), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("after %q (-want +got):\n%s", action, diff)
		}
		if n := e.inspections() - before; n != 1 {
			t.Errorf("after %q: %d inspections, want 1", action, n)
		}
	}
}

// fences is how many inspections followed adds.
const fences = 2

// followed gives what was handed over of all events sent so far, by a watcher that
// inspects one container at a time.
func followed(t *testing.T, e *fakeEngine, r *running, s *fakeStream) []Change {
	t.Helper()
	// What is asked for last is answered last: all before it has been dealt with. The second
	// one comes after what was asked for again while the first was waiting.
	e.fail(nil, nil)
	name := cmp.Or(r.name, "end")
	e.set("end", name, "running", noon)
	var got []Change
	for range fences {
		s.send("container", "start", "end", name, noon)
		for c := r.next(t); len(c.Containers) != 1 || c.Containers[0].ID != "end"; c = r.next(t) {
			got = append(got, c)
		}
	}
	return got
}

// oneAtATime has a watcher answered in the order in which it asks.
func oneAtATime(w *Watcher) { w.atOnce = 1 }

// inspections counts the questions about single containers.
func (e *fakeEngine) inspections() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := 0
	for _, r := range e.requests {
		if strings.HasPrefix(r, "/containers/") && r != "/containers/json" {
			n++
		}
	}
	return n
}
