package docker

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func listed(list ...Container) Change { return Change{Listed: true, Containers: list} }

func TestFirstListWithoutWhoDoesNotAnswer(t *testing.T) {
	t.Parallel()
	e := newFakeEngine()
	e.set("a", "web", "running", noon)
	e.set("b", "api", "running", noon)
	release := e.hang("b")
	r := watch(t, Config{}, e.serve(t))
	e.stream(t)
	first := listed(web("running", noon))
	first.Unknown = []string{"b"}
	r.want(t, first)
	eventually(t, "healthy", func() bool { return r.Healthy() == nil })
	release()
	r.want(t, told(api(noon)))
}

func TestLaterListWithoutWhoDoesNotAnswer(t *testing.T) {
	t.Parallel()
	for _, state := range []string{"running", "paused"} {
		t.Run(state, func(t *testing.T) {
			t.Parallel()
			e, r, s := begin(t, Config{})
			e.set("a", "web", state, noon)
			e.set("b", "api", "running", noon)
			release := e.hang("a")
			close(s.lines)
			// No event has told of the pause, but the list does.
			r.want(t, listed(web(state, noon), api(noon)))
			release()
			e.set("a", "new", "running", noon)
			e.stream(t).send("container", "unpause", "a", "new", noon)
			r.until(t, "the name", func(v *view) bool { return v.containers["a"].Name == "new" })
		})
	}
}

// More of them than a list inspects at a time must not keep the others from being known.
func TestListWithManyWhoDoNotAnswer(t *testing.T) {
	t.Parallel()
	e := newFakeEngine()
	var silent []string
	for i := range 3 * inspecting {
		id := fmt.Sprint(i)
		e.set(id, "web-"+id, "running", noon)
		if i%2 == 0 {
			silent = append(silent, id)
		}
	}
	release := e.hang(silent...)
	r := watch(t, Config{}, e.serve(t))
	if c := r.next(t); !c.Listed || len(c.Containers)+len(c.Unknown) != 3*inspecting {
		t.Errorf("first change: %+v, want all listed", c)
	}
	r.until(t, "all who answer", func(v *view) bool { return len(v.containers) == 3*inspecting-len(silent) })
	release()
	r.until(t, "all", func(v *view) bool { return len(v.containers) == 3*inspecting })
}

func TestListOfAnEngineThatAnswersNothing(t *testing.T) {
	t.Parallel()
	e := newFakeEngine()
	ids := make([]string, 10*inspecting)
	for i := range ids {
		ids[i] = fmt.Sprint(i)
		e.set(ids[i], "web-"+ids[i], "running", noon)
	}
	release := e.hang(ids...)
	r := watch(t, Config{}, e.serve(t))
	if c := r.next(t); !c.Listed || len(c.Containers) > 0 || len(c.Unknown) != len(ids) {
		t.Errorf("first change: %+v, want all listed as unknown", c)
	}
	if n := e.inspections(); n >= atOnce {
		t.Errorf("handed over after %d inspections: it has waited for each in turn", n)
	}
	release()
	r.until(t, "all", func(v *view) bool { return len(v.containers) == len(ids) })
}

func TestEventsDuringTheFirstList(t *testing.T) {
	t.Parallel()
	later := noon.Add(time.Second)
	for name, tc := range map[string]struct {
		do      func(e *fakeEngine, s *fakeStream)
		want    []Container
		unknown []string
	}{
		"death of one already inspected": {
			do:      func(_ *fakeEngine, s *fakeStream) { s.send("container", "die", "a", "web", later) },
			unknown: []string{"b"},
		},
		"death of one that does not answer": {
			do:   func(_ *fakeEngine, s *fakeStream) { s.send("container", "die", "b", "api", later) },
			want: []Container{web("running", noon)},
		},
		"something about one that does not answer": {
			do:      func(_ *fakeEngine, s *fakeStream) { s.send("container", "update", "b", "api", later) },
			want:    []Container{web("running", noon)},
			unknown: []string{"b"},
		},
		"start of one that is not in the list": {
			do: func(e *fakeEngine, s *fakeStream) {
				e.set("c", "db", "running", noon)
				s.send("container", "start", "c", "db", noon)
			},
			want:    []Container{web("running", noon), {ID: "c", Name: "db", State: "running", Started: noon}},
			unknown: []string{"b"},
		},
		"a restart": {
			do: func(e *fakeEngine, s *fakeStream) {
				s.send("container", "die", "a", "web", later)
				e.set("a", "web", "running", later)
				s.send("container", "start", "a", "web", later)
			},
			want:    []Container{web("running", later)},
			unknown: []string{"b"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newFakeEngine()
			e.set("a", "web", "running", noon)
			e.set("b", "api", "running", noon)
			defer e.hang("b")()
			r := watch(t, Config{}, e.serve(t))
			s := e.stream(t)
			e.asked(t, "a", 1)
			e.asked(t, "b", 1)
			tc.do(e, s)
			if first := r.next(t); !first.Listed {
				t.Fatalf("first change: %+v", first)
			}
			// On a machine that is slow enough, what an event asks for is answered after the list.
			r.until(t, "all", func(v *view) bool { return len(v.containers) == len(tc.want) })
			got := map[string]Container{}
			for _, c := range tc.want {
				got[c.ID] = c
			}
			if diff := cmp.Diff(got, r.view.containers, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("alive (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.unknown, r.view.unknown, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("unknown (-want +got):\n%s", diff)
			}
		})
	}
}

func TestEventsDuringALaterList(t *testing.T) {
	t.Parallel()
	e, r, s := begin(t, Config{})
	e.set("b", "api", "running", noon)
	release := e.hang("b")
	defer release()
	close(s.lines)
	s = e.stream(t)
	e.asked(t, "a", 2)
	e.asked(t, "b", 1)
	e.set("c", "db", "running", noon)
	s.send("container", "start", "c", "db", noon)
	db := Container{ID: "c", Name: "db", State: "running", Started: noon}
	r.want(t, told(db))
	s.send("container", "die", "a", "web", noon.Add(time.Second)) // the list has it as running
	r.want(t, Change{Gone: []string{"a"}})
	want := listed(db)
	want.Unknown = []string{"b"}
	r.want(t, want)
}

// A question that waits for a paused container may hold up its unpausing.
func TestListDoesNotAskAboutThePaused(t *testing.T) {
	t.Parallel()
	e, r, s := begin(t, Config{Resync: 10 * time.Millisecond})
	s.send("container", "pause", "a", "web", noon)
	r.until(t, "the pause", func(v *view) bool { return v.containers["a"].State == "paused" })
	e.set("a", "web", "paused", noon)
	// A list that had begun may still ask.
	lists := r.view.lists
	r.until(t, "another list", func(v *view) bool { return v.lists > lists+1 })
	before := e.inspections()
	r.until(t, "more lists", func(v *view) bool { return v.lists > lists+5 })
	if n := e.inspections() - before; n != 0 || r.view.containers["a"].State != "paused" {
		t.Errorf("%d inspections, want none; containers: %+v", n, r.view.containers)
	}
}
