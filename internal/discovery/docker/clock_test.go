package docker

import (
	"maps"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A clock that is set back makes later events look earlier. Whatever the order of the
// times, nobody dead may be kept and nobody alive lost in the end.
func TestTheClockIsSetBack(t *testing.T) {
	t.Parallel()
	back := noon.Add(-time.Hour)
	for name, tc := range map[string]struct {
		do   func(e *fakeEngine, r *running, s *fakeStream)
		want map[string]time.Time // who is alive, and since when
	}{
		"before a death": {
			do: func(e *fakeEngine, _ *running, s *fakeStream) {
				e.set("a", "web", "exited", noon)
				s.send("container", "die", "a", "web", back)
			},
		},
		"before the death of somebody paused": {
			do: func(e *fakeEngine, r *running, s *fakeStream) {
				s.send("container", "pause", "a", "web", noon)
				r.until(t, "the pause", func(v *view) bool { return v.containers["a"].State == "paused" })
				e.set("a", "web", "exited", noon)
				s.send("container", "die", "a", "web", back)
			},
		},
		"before a removal": {
			do: func(e *fakeEngine, _ *running, s *fakeStream) {
				e.remove("a")
				s.send("container", "die", "a", "web", back)
				s.send("container", "destroy", "a", "web", back)
			},
		},
		"before a restart": {
			do: func(e *fakeEngine, _ *running, s *fakeStream) {
				e.set("a", "web", "running", back.Add(time.Second))
				s.send("container", "die", "a", "web", back)
				s.send("container", "start", "a", "web", back.Add(time.Second))
			},
			want: map[string]time.Time{"a": back.Add(time.Second)},
		},
		"in the middle of a restart": {
			do: func(e *fakeEngine, _ *running, s *fakeStream) {
				e.set("a", "web", "running", back)
				s.send("container", "die", "a", "web", noon.Add(time.Second))
				s.send("container", "start", "a", "web", back)
			},
			want: map[string]time.Time{"a": back},
		},
		"in the middle of a restart that the list knows of already": {
			do: func(e *fakeEngine, r *running, s *fakeStream) {
				e.set("a", "web", "running", back)
				s.send("container", "update", "a", "web", back)
				r.until(t, "the new start", func(v *view) bool { return v.containers["a"].Started.Equal(back) })
				s.send("container", "die", "a", "web", noon.Add(time.Second))
				s.send("container", "start", "a", "web", back)
			},
			want: map[string]time.Time{"a": back},
		},
		"before a restart and a death": {
			do: func(e *fakeEngine, r *running, s *fakeStream) {
				e.set("a", "web", "running", back.Add(time.Second))
				s.send("container", "die", "a", "web", back)
				s.send("container", "start", "a", "web", back.Add(time.Second))
				r.until(t, "the new start", func(v *view) bool { return v.containers["a"].Started.Before(noon) })
				e.fail(nil, failing(500)) // this death is believed, though earlier than the first start
				s.send("container", "die", "a", "web", back.Add(2*time.Second))
				r.until(t, "the death", func(v *view) bool { return len(v.containers) == 0 })
				e.set("a", "web", "exited", back.Add(time.Second))
			},
		},
		"between a container and its successor": {
			do: func(e *fakeEngine, _ *running, s *fakeStream) {
				e.set("b", "web", "running", back)
				s.send("container", "start", "b", "web", back)
				e.remove("a")
				s.send("container", "die", "a", "web", back.Add(time.Second))
			},
			want: map[string]time.Time{"b": back},
		},
		"before a death that nobody can be asked about": {
			do: func(e *fakeEngine, r *running, s *fakeStream) {
				e.fail(nil, failing(500))
				s.send("container", "die", "a", "web", back)
				r.until(t, "a list", func(v *view) bool { return v.lists == 2 })
				e.set("a", "web", "exited", noon)
				e.fail(nil, nil)
				r.until(t, "the death", func(v *view) bool { return len(v.containers) == 0 })
			},
		},
	} {
		for _, only := range []string{"", "web"} {
			t.Run(name+"/"+only, func(t *testing.T) {
				t.Parallel()
				e, r, s := begin(t, Config{Name: only}, oneAtATime)
				tc.do(e, r, s)
				followed(t, e, r, s)
				got := map[string]time.Time{}
				for id, c := range r.view.containers {
					if id != "end" {
						got[id] = c.Started
					}
				}
				if !maps.EqualFunc(tc.want, got, time.Time.Equal) {
					t.Errorf("alive (-want +got):\n%s", cmp.Diff(tc.want, got))
				}
			})
		}
	}
}
