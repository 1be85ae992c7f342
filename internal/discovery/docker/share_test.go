package docker

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// beginShared is begin with a second container, "b", called "side", on the network of "a".
// Both started at noon. With the name "side", "a" is nobody that is watched.
func beginShared(t *testing.T, cfg Config, adjust ...func(*Watcher)) (*fakeEngine, *running, *fakeStream) {
	t.Helper()
	e := newFakeEngine()
	e.set("a", "web", "running", noon)
	e.set("b", "side", "running", noon)
	e.join("b", "a")
	r := watch(t, cfg, e.serve(t), adjust...)
	s := e.stream(t)
	r.next(t)
	if diff := cmp.Diff(side(owner("web", "running", noon)), r.view.containers["b"], cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("as listed (-want +got):\n%s", diff)
	}
	return e, r, s
}

// owner is "a" as it should be told, side is "b".
func owner(name, state string, started time.Time) *Container {
	return &Container{ID: "a", Name: name, State: state, Started: started}
}

func side(shares *Container) Container {
	return Container{ID: "b", Name: "side", State: "running", Started: noon, NetworkMode: "container:a", Shares: shares}
}

func sick(c *Container) *Container {
	c.Health = "unhealthy"
	return c
}

func TestEventsOfAnothersNetwork(t *testing.T) {
	t.Parallel()
	later := noon.Add(time.Hour)
	joins := func(action, id string) string {
		return fmt.Sprintf(`{"Type":"network","Action":%q,"Actor":{"ID":"n1","Attributes":{"container":%q,"name":"back"}}}`+"\n", action, id)
	}
	for name, tc := range map[string]struct {
		do   func(e *fakeEngine, s *fakeStream)
		want []*Container // what "b" shares, change by change
		asks int
	}{
		"paused and unpaused": {
			do: func(_ *fakeEngine, s *fakeStream) {
				s.send("container", "pause", "a", "web", later)
				s.send("container", "unpause", "a", "web", later)
			},
			want: []*Container{owner("web", "paused", noon), owner("web", "running", noon)}, asks: 1,
		},
		"renamed": {
			do: func(e *fakeEngine, s *fakeStream) {
				e.set("a", "other", "running", noon)
				s.send("container", "rename", "a", "other", later)
			},
			want: []*Container{owner("other", "running", noon)}, asks: 1,
		},
		"its health, an update": {
			do: func(_ *fakeEngine, s *fakeStream) {
				s.send("container", "health_status: unhealthy", "a", "web", later)
				s.send("container", "update", "a", "web", later)
			},
			want: []*Container{sick(owner("web", "running", noon)), owner("web", "running", noon)}, asks: 1,
		},
		"joins and leaves a network": {
			do: func(_ *fakeEngine, s *fakeStream) {
				s.write(joins("connect", "a"))
				s.write(joins("disconnect", "a"))
			},
			want: []*Container{owner("web", "running", noon), owner("web", "running", noon)}, asks: 2,
		},
		"dies, which is not asked about, then leaves its network": {
			do: func(_ *fakeEngine, s *fakeStream) {
				s.send("container", "die", "a", "web", later)
				s.write(joins("disconnect", "a"))
			},
			want: []*Container{owner("web", "exited", noon)},
		},
		"is removed": {
			do: func(_ *fakeEngine, s *fakeStream) {
				s.send("container", "die", "a", "web", later)
				s.send("container", "destroy", "a", "web", later)
			},
			want: []*Container{owner("web", "exited", noon), nil},
		},
		"restarts": {
			do: func(e *fakeEngine, s *fakeStream) {
				e.set("a", "web", "running", later)
				s.send("container", "die", "a", "web", later.Add(-time.Second))
				s.write(joins("connect", "a"))
				s.send("container", "start", "a", "web", later)
			},
			want: []*Container{owner("web", "exited", noon), owner("web", "running", later)}, asks: 1,
		},
		"an earlier life of it ends late": {
			do: func(_ *fakeEngine, s *fakeStream) {
				s.send("container", "die", "a", "web", noon.Add(-time.Second))
			},
			want: []*Container{owner("web", "running", noon)}, asks: 1,
		},
		"dies by a clock that was set back": {
			do: func(e *fakeEngine, s *fakeStream) {
				e.set("a", "web", "exited", noon)
				s.send("container", "die", "a", "web", noon.Add(-time.Second))
			},
			want: []*Container{owner("web", "exited", noon)}, asks: 1,
		},
		"is not there any more": {
			do: func(e *fakeEngine, s *fakeStream) {
				e.remove("a")
				s.send("container", "update", "a", "web", later)
			},
			want: []*Container{nil}, asks: 1,
		},
		"somebody else": {
			do: func(_ *fakeEngine, s *fakeStream) {
				s.send("container", "die", "c", "web", later)
				s.write(joins("disconnect", "c"))
			},
		},
		"the sharer's own start": {
			do:   func(_ *fakeEngine, s *fakeStream) { s.send("container", "start", "b", "side", later) },
			want: []*Container{owner("web", "running", noon)}, asks: 2,
		},
	} {
		for _, only := range []string{"", "side"} {
			t.Run(name+"/"+only, func(t *testing.T) {
				t.Parallel()
				e, r, s := beginShared(t, Config{Name: only}, oneAtATime)
				before := e.inspections()
				tc.do(e, s)
				var got []*Container
				for _, change := range followed(t, e, r, s) {
					for _, c := range change.Containers {
						if c.ID == "b" {
							got = append(got, c.Shares)
							if diff := cmp.Diff(side(c.Shares), c, cmpopts.EquateEmpty()); diff != "" {
								t.Errorf("the sharer itself (-want +got):\n%s", diff)
							}
						} else if only != "" {
							t.Errorf("handed over: %+v", c)
						}
					}
					if only != "" && len(change.Gone) > 0 {
						t.Errorf("gone: %q", change.Gone)
					}
				}
				if diff := cmp.Diff(tc.want, got, cmpopts.EquateEmpty()); diff != "" {
					t.Errorf("shared (-want +got):\n%s", diff)
				}
				if n := e.inspections() - before - fences; n != tc.asks {
					t.Errorf("%d inspections, want %d", n, tc.asks)
				}
			})
		}
	}
}

func TestWhatIsSharedAndItsSharersAreHandedOverTogether(t *testing.T) {
	t.Parallel()
	e, r, s := beginShared(t, Config{})
	e.set("c", "side2", "running", noon)
	e.join("c", "a")
	s.send("container", "start", "c", "side2", noon)
	r.until(t, "c", func(v *view) bool { return len(v.containers) == 3 })
	before := e.inspections()

	s.send("container", "pause", "a", "web", noon)
	paused := r.next(t)
	var got []string
	for _, x := range paused.Containers {
		state := x.State
		if x.Shares != nil {
			state = x.Shares.State
		}
		got = append(got, x.ID+" "+state)
	}
	if diff := cmp.Diff([]string{"a paused", "b paused", "c paused"}, got); diff != "" {
		t.Errorf("after a pause (-want +got):\n%s", diff)
	}
	if n := e.inspections() - before; n != 0 {
		t.Errorf("%d inspections, want none", n)
	}
	s.send("container", "die", "a", "web", noon)
	if c := r.next(t); !cmp.Equal(c.Gone, []string{"a"}) || len(c.Containers) != 2 || c.Containers[1].Shares.State != "exited" {
		t.Errorf("after a death: %+v", c)
	}
	if diff := cmp.Diff(owner("web", "paused", noon), paused.Containers[1].Shares, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("what was handed over before has changed (-want +got):\n%s", diff)
	}
}

// Docker lets a container share the network of one that shares another's.
func TestSharingGoesOneDeep(t *testing.T) {
	t.Parallel()
	for name, of := range map[string]string{"a ring": "b", "itself": "a", "a chain": "c"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, r, s := beginShared(t, Config{})
			e.set("c", "db", "running", noon)
			e.join("a", of)
			for _, end := range []func(){
				func() { s.send("container", "update", "a", "web", noon) },
				func() { close(s.lines); r.until(t, "a list", func(v *view) bool { return v.lists == 2 }) },
			} {
				end()
				r.until(t, "a shares "+of, func(v *view) bool {
					x := v.containers["a"].Shares
					return x != nil && x.ID == of
				})
				for id, c := range r.view.containers {
					if c.Shares != nil && c.Shares.Shares != nil {
						t.Errorf("%s shares %s, which shares %s", id, c.Shares.ID, c.Shares.Shares.ID)
					}
				}
				if c := r.view.containers["b"]; c.Shares == nil || c.Shares.NetworkMode != "container:"+of {
					t.Errorf("b shares %+v, want a as it is now", c.Shares)
				}
			}
		})
	}
}

func TestSharingWithNobody(t *testing.T) {
	t.Parallel()
	e, r, s := beginShared(t, Config{})
	e.set("c", "late", "running", noon)
	e.join("c", "removed")
	s.send("container", "start", "c", "late", noon)
	r.until(t, "c", func(v *view) bool { return len(v.containers) == 3 })
	if c := r.view.containers["c"]; c.Shares != nil || c.NetworkMode != "container:removed" {
		t.Errorf("%+v, want it to share nothing", c)
	}
}

func TestSharedThatCannotBeInspectedStaysAsItWas(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func(http.ResponseWriter, *http.Request, string) bool{
		"refused":        failing(500, "a"),
		"both refused":   failing(500, "a", "b"),
		"something else": func(w http.ResponseWriter, _ *http.Request, _ string) bool { answer(w, []int{1}); return true },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, r, s := beginShared(t, Config{Name: "side"})
			e.set("a", "other", "running", noon)
			e.fail(nil, fail)
			s.send("container", "rename", "a", "other", noon)
			r.until(t, "a list", func(v *view) bool { return v.lists == 2 })
			if diff := cmp.Diff(side(owner("web", "running", noon)), r.view.containers["b"], cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("while it cannot be asked (-want +got):\n%s", diff)
			}
			e.fail(nil, nil)
			r.until(t, "the name", func(v *view) bool { return v.containers["b"].Shares.Name == "other" })
		})
	}
}

func TestInspectTellsWhatIsShared(t *testing.T) {
	t.Parallel()
	e, r, _ := beginShared(t, Config{Name: "side"})
	for _, state := range []string{"running", "exited"} {
		e.set("a", "web", state, noon)
		c, err := r.Inspect(t.Context(), "b")
		if diff := cmp.Diff(side(owner("web", state, noon)), c, cmpopts.EquateEmpty()); diff != "" || err != nil {
			t.Errorf("Inspect: %v (-want +got):\n%s", err, diff)
		}
	}
	e.remove("a")
	if c, err := r.Inspect(t.Context(), "b"); c.ID != "b" || c.Shares != nil || err != nil {
		t.Errorf("without the other: %+v, %v", c, err)
	}
	e.fail(nil, failing(500, "a"))
	if _, err := r.Inspect(t.Context(), "b"); err == nil || IsNotFound(err) {
		t.Errorf("while the other cannot be asked: %v", err)
	}
}
