package docker

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// hang holds back what the engine says of some containers until release is called. It is
// then what was true when it was asked for.
func (e *fakeEngine) hang(ids ...string) (release func()) {
	released := make(chan struct{})
	e.fail(nil, func(w http.ResponseWriter, r *http.Request, id string) bool {
		if !slices.Contains(ids, id) {
			return false
		}
		then := httptest.NewRecorder()
		e.serveInspect(then, id)
		select {
		case <-released:
			w.WriteHeader(then.Code)
			_, _ = w.Write(then.Body.Bytes()) // nobody may be there to read it any more
		case <-r.Context().Done():
		}
		return true
	})
	return func() {
		e.fail(nil, nil)
		close(released)
	}
}

// asked waits until the engine has been asked about a container so many times.
func (e *fakeEngine) asked(t *testing.T, id string, n int) {
	t.Helper()
	eventually(t, "inspection of "+id, func() bool { return e.count("/containers/"+id+"/json") >= n })
}

func (r *running) want(t *testing.T, want Change) {
	t.Helper()
	if diff := cmp.Diff(want, r.next(t), cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("change (-want +got):\n%s", diff)
	}
}

func told(list ...Container) Change { return Change{Containers: list} }

func web(state string, started time.Time) Container {
	return Container{ID: "a", Name: "web", State: state, Started: started}
}

func api(started time.Time) Container {
	return Container{ID: "b", Name: "api", State: "running", Started: started}
}

func TestWhoDoesNotAnswerDelaysNobodyElse(t *testing.T) {
	t.Parallel()
	e, r, s := begin(t, Config{})
	later := noon.Add(time.Hour)
	e.set("b", "api", "running", noon)
	release := e.hang("b")
	s.send("container", "start", "b", "api", noon)
	e.asked(t, "b", 1)

	e.set("c", "db", "running", noon)
	s.send("container", "start", "c", "db", noon)
	r.want(t, told(Container{ID: "c", Name: "db", State: "running", Started: noon}))
	s.send("container", "die", "c", "db", later)
	r.want(t, Change{Gone: []string{"c"}})
	s.send("container", "die", "a", "web", later)
	r.want(t, Change{Gone: []string{"a"}})

	// Its own death comes before the answer about its start, which says nothing any more.
	s.send("container", "die", "b", "api", later)
	e.set("b", "api", "running", later)
	s.send("container", "start", "b", "api", later)
	r.read(t, 6)
	release()
	r.want(t, told(api(later)))
	if n := e.count("/containers/b/json"); n != 2 {
		t.Errorf("%d inspections, want one for each start", n)
	}
}

func TestEventsBeatAnAnswerThatIsLate(t *testing.T) {
	t.Parallel()
	later := noon.Add(time.Hour)
	sick := web("running", noon)
	sick.Health = "unhealthy"
	for name, tc := range map[string]struct {
		event, then string
		want        Change
	}{
		"die":       {"die", "start", Change{Gone: []string{"a"}}},
		"destroy":   {"destroy", "start", Change{Gone: []string{"a"}}},
		"pause":     {"pause", "unpause", told(web("paused", noon))},
		"unhealthy": {"health_status: unhealthy", "health_status: healthy", told(sick)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, r, s := begin(t, Config{})
			release := e.hang("a")
			s.send("container", "update", "a", "web", later)
			e.asked(t, "a", 2) // the first was for the list
			s.send("container", tc.event, "a", "web", later)
			r.want(t, tc.want)
			e.set("a", "web", "running", later)
			s.send("container", tc.then, "a", "web", later)
			r.read(t, 3)
			release()
			r.want(t, told(web("running", later)))
		})
	}
}

func TestPausedAndUnhealthyAreNotAskedAbout(t *testing.T) {
	t.Parallel()
	e, r, s := begin(t, Config{})
	before := e.inspections()
	sick := web("running", noon)
	sick.Health = "unhealthy"
	s.send("container", "health_status: unhealthy", "a", "web", noon)
	r.want(t, told(sick))
	sick.State = "paused"
	s.send("container", "pause", "a", "web", noon)
	r.want(t, told(sick))
	for _, action := range []string{"rename", "update", "exec_died"} {
		s.send("container", action, "a", "web", noon)
	}
	s.send("network", "connect", "a", "web", noon)
	r.read(t, 6)
	if n := e.inspections() - before; n != 0 {
		t.Errorf("%d inspections, want none", n)
	}
	s.send("container", "unpause", "a", "web", noon)
	r.want(t, told(web("running", noon)))
}

func TestSomebodyUnknownIsPausedBeforeItIsInspected(t *testing.T) {
	t.Parallel()
	e, r, s := begin(t, Config{})
	e.set("b", "api", "running", noon)
	release := e.hang("b")
	s.send("container", "start", "b", "api", noon)
	e.asked(t, "b", 1)
	e.set("b", "api", "paused", noon)
	s.send("container", "pause", "b", "api", noon)
	r.read(t, 2)
	release()
	want := api(noon)
	want.State = "paused"
	r.want(t, told(want))
}

func TestManyEventsOfOneAreTwoInspections(t *testing.T) {
	t.Parallel()
	e, r, s := begin(t, Config{})
	e.set("b", "api", "running", noon)
	release := e.hang("b")
	s.send("container", "start", "b", "api", noon)
	e.asked(t, "b", 1)
	for range 50 {
		s.send("container", "update", "b", "api", noon)
	}
	r.read(t, 51)
	release()
	r.want(t, told(api(noon)))
	r.want(t, told(api(noon)))
	s.send("container", "die", "a", "web", noon.Add(time.Second))
	r.want(t, Change{Gone: []string{"a"}})
	if n := e.count("/containers/b/json"); n != 2 {
		t.Errorf("%d inspections, want 2", n)
	}
}

func TestInspectionsAtATimeAreLimited(t *testing.T) {
	t.Parallel()
	e, r, s := begin(t, Config{})
	ids := make([]string, 3*atOnce)
	for i := range ids {
		ids[i] = fmt.Sprint(i)
		e.set(ids[i], "web-"+ids[i], "running", noon)
	}
	release := e.hang(ids...)
	for _, id := range ids {
		s.send("container", "start", id, "web-"+id, noon)
	}
	// Two of those that wait die first: one is not asked about at all, one starts again.
	first, last := ids[len(ids)-1], ids[len(ids)-2]
	s.send("container", "die", first, "", noon.Add(time.Second))
	s.send("container", "die", last, "", noon.Add(time.Second))
	s.send("container", "start", last, "", noon.Add(time.Second))
	s.send("container", "die", "a", "web", noon.Add(time.Second))
	r.want(t, Change{Gone: []string{"a"}})
	eventually(t, "inspections", func() bool { return e.inspections()-1 == atOnce })
	release()
	r.until(t, "all", func(v *view) bool { return len(v.containers) == len(ids)-1 })
	if n := e.count("/containers/" + first + "/json"); n != 0 {
		t.Errorf("asked about the dead %d times", n)
	}
	if n := testutil.ToFloat64(r.metrics.lists); n != 1 {
		t.Errorf("%v lists, want 1", n)
	}
}

// What an inspection says of the container whose network is used can be the past too.
func TestTheSharedDiesDuringTheInspectionOfItsSharer(t *testing.T) {
	t.Parallel()
	for _, only := range []string{"", "side"} {
		t.Run(only, func(t *testing.T) {
			t.Parallel()
			e := newFakeEngine()
			e.set("a", "web", "running", noon)
			r := watch(t, Config{Name: only}, e.serve(t))
			s := e.stream(t)
			r.next(t)
			e.set("b", "side", "running", noon)
			e.join("b", "a")
			before := e.count("/containers/a/json")
			release := e.hang("a")
			s.send("container", "start", "b", "side", noon)
			e.asked(t, "a", before+1)
			e.set("a", "web", "exited", noon)
			s.send("container", "die", "a", "web", noon.Add(time.Second))
			r.read(t, 2)
			release()
			if only == "" {
				r.want(t, Change{Gone: []string{"a"}})
			}
			r.want(t, told(side(owner("web", "exited", noon))))
		})
	}
}

func TestRunEndsWhileNobodyAnswers(t *testing.T) {
	t.Parallel()
	e, _, s := begin(t, Config{})
	e.hang("a", "b") // and nobody releases them
	for _, id := range []string{"a", "b"} {
		before := e.count("/containers/" + id + "/json")
		s.send("container", "start", id, "", noon)
		e.asked(t, id, before+1)
	}
}
