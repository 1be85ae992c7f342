package docker

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestListOnlyTheContainerOfThatName(t *testing.T) {
	t.Parallel()
	e := newFakeEngine()
	for id, name := range map[string]string{"1": "web", "2": "web2", "3": "my-web", "4": "alias", "5": "wxb"} {
		e.set(id, name, "running", noon)
	}
	inspected := 0
	for name, want := range map[string][]string{"web": {"web"}, "w.b": nil, "alias": {"alias"}, "": {"alias", "my-web", "web", "web2", "wxb"}} {
		r := watch(t, Config{Name: name}, e.serve(t))
		r.next(t)
		if diff := cmp.Diff(want, r.view.names()); diff != "" {
			t.Errorf("name %q (-want +got):\n%s", name, diff)
		}
		if inspected += len(want); e.inspections() != inspected {
			t.Errorf("name %q: %d inspections in all, want %d", name, e.inspections(), inspected)
		}
	}
}

func TestNothingIsHandedOverBeforeTheFirstList(t *testing.T) {
	t.Parallel()
	e := newFakeEngine()
	e.set("a", "web", "running", noon)
	e.fail(broken(500), nil)
	r := watch(t, Config{}, e.serve(t))
	s := e.stream(t)
	s.send("container", "start", "a", "web", noon)
	eventually(t, "the event is read", func() bool { return testutil.ToFloat64(r.metrics.events) == 1 })
	e.fail(nil, nil)
	if c := r.next(t); !c.Listed || len(c.Containers) != 1 {
		t.Errorf("first change: %+v, want the list of a", c)
	}
}

func TestOnlyWhoIsAliveIsListed(t *testing.T) {
	t.Parallel()
	e := newFakeEngine()
	for _, state := range []string{"created", "dead", "paused", "removing", "restarting", "running", ""} {
		e.set("id-"+state, state, state, noon)
	}
	r := watch(t, Config{}, e.serve(t))
	r.next(t)
	if diff := cmp.Diff([]string{"paused", "restarting", "running"}, r.view.names()); diff != "" {
		t.Errorf("listed (-want +got):\n%s", diff)
	}
}

func TestListedButGoneBeforeItIsInspected(t *testing.T) {
	t.Parallel()
	e := newFakeEngine()
	e.set("a", "web", "running", noon)
	e.set("b", "api", "running", noon)
	e.set("c", "db", "running", noon)
	e.fail(nil, func(w http.ResponseWriter, _ *http.Request, id string) bool {
		switch id {
		case "b":
			refuse(w, 404, "No such container: b")
		case "c":
			answer(w, map[string]any{"Id": "c", "Name": "/db", "State": map[string]any{"Status": "exited"}})
		}
		return id != "a"
	})
	r := watch(t, Config{}, e.serve(t))
	if c := r.next(t); len(c.Containers) != 1 || c.Containers[0].ID != "a" || len(c.Unknown) > 0 {
		t.Errorf("first list: %+v, want a alone", c)
	}
}

// impatience is how long a watcher waits for an answer in tests where none comes.
const impatience = 300 * time.Millisecond

func TestInspectionThatFailsIsListedAgain(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func(http.ResponseWriter, *http.Request, string) bool{
		"500":           failing(500, "b"),
		"nothing in it": func(_ http.ResponseWriter, _ *http.Request, id string) bool { return id == "b" },
		"another shape": func(w http.ResponseWriter, _ *http.Request, id string) bool {
			if id == "b" {
				answer(w, []int{1})
			}
			return id == "b"
		},
		"empty description": func(w http.ResponseWriter, _ *http.Request, id string) bool {
			if id == "b" {
				answer(w, struct{}{})
			}
			return id == "b"
		},
		"no answer in time": func(_ http.ResponseWriter, r *http.Request, id string) bool {
			if id == "b" {
				<-r.Context().Done()
			}
			return false
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, r, s := begin(t, Config{}, func(w *Watcher) {
				if name == "no answer in time" {
					w.timeout = impatience
				}
			})
			e.set("b", "api", "running", noon)
			e.fail(nil, fail)
			s.send("container", "start", "b", "api", noon)
			r.until(t, "a list without it", func(v *view) bool { return v.lists == 3 })
			// Somebody is there, nobody can tell who: not gone, and no reason to lose the others.
			if diff := cmp.Diff([]string{"b"}, r.view.unknown); diff != "" || len(r.view.containers) != 1 {
				t.Errorf("unknown (-want +got):\n%s\ncontainers %v, want a", diff, r.view.names())
			}
			eventually(t, "healthy", func() bool { return r.Healthy() == nil })
			e.fail(nil, nil)
			r.until(t, "b is known", func(v *view) bool { return len(v.containers) == 2 && v.unknown == nil })
			if n := strings.Count(r.log.String(), "cannot be inspected"); n != 1 {
				t.Errorf("logged %d times, want once:\n%s", n, r.log)
			}
		})
	}
}

func TestWhatCannotBeInspectedAnyMoreStaysAsItWas(t *testing.T) {
	t.Parallel()
	e, r, s := begin(t, Config{})
	e.fail(nil, failing(500))
	close(s.lines)
	if c := r.next(t); !c.Listed || len(c.Containers) != 1 || c.Containers[0].Name != "web" || c.Unknown != nil {
		t.Errorf("list: %+v, want a as it was", c)
	}
}

func TestTheDeathOfSomebodyUnknownIsHandedOver(t *testing.T) {
	t.Parallel()
	e := newFakeEngine()
	e.set("a", "web", "running", noon)
	e.fail(nil, failing(500))
	r := watch(t, Config{}, e.serve(t))
	s := e.stream(t)
	if diff := cmp.Diff(Change{Listed: true, Unknown: []string{"a"}}, r.next(t)); diff != "" {
		t.Fatalf("first list (-want +got):\n%s", diff)
	}
	s.send("container", "exec_died", "a", "web", noon) // which is no news of somebody unknown
	s.send("container", "die", "a", "web", noon)
	for c := r.next(t); !cmp.Equal(c, Change{Gone: []string{"a"}}); c = r.next(t) {
		if !c.Listed {
			t.Fatalf("change: %+v", c)
		}
	}
}

func TestResync(t *testing.T) {
	t.Parallel()
	e, r, _ := begin(t, Config{Resync: 10 * time.Millisecond})
	e.set("b", "api", "running", noon) // and no event says so
	r.until(t, "b", func(v *view) bool { return len(v.containers) == 2 })
}

func TestInspect(t *testing.T) {
	t.Parallel()
	e, r, _ := begin(t, Config{Name: "web"})
	e.set("b", "api", "exited", noon)
	c, err := r.Inspect(t.Context(), "b")
	want := Container{ID: "b", Name: "api", State: "exited", Started: noon}
	if diff := cmp.Diff(want, c, cmpopts.EquateEmpty()); diff != "" || err != nil {
		t.Errorf("Inspect: %v (-want +got):\n%s", err, diff)
	}
	if _, err := r.Inspect(t.Context(), "nobody"); !IsNotFound(err) || !strings.Contains(err.Error(), `"nobody"`) {
		t.Errorf("Inspect of nobody: %v, want it not found, with the name", err)
	}
	e.fail(nil, failing(500))
	if _, err := r.Inspect(t.Context(), "b"); err == nil || IsNotFound(err) {
		t.Errorf("Inspect that fails: %v, which says nothing of who is there", err)
	}
}
