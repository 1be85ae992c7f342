package docker

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// truth gives what a watcher has to end with, by id: "web-a running 12:00:03", and for one
// that uses the network of another that one's state.
func (e *fakeEngine) truth() map[string]string {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := map[string]string{}
	for id, c := range e.containers {
		if c.state == "exited" {
			continue
		}
		all[id] = fmt.Sprintf("%s %s %s", c.name, c.state, c.started.Format(time.TimeOnly))
		if owner, shares := strings.CutPrefix(c.network, sharing); shares {
			all[id] += " with " + e.containers[owner].state
		}
	}
	return all
}

// apply takes in a change, as whoever handles it does.
func apply(seen map[string]string, c Change) {
	if c.Listed {
		maps.DeleteFunc(seen, func(id, _ string) bool { return !slices.Contains(c.Unknown, id) })
	}
	for _, id := range c.Gone {
		delete(seen, id)
	}
	for _, o := range c.Containers {
		seen[o.ID] = fmt.Sprintf("%s %s %s", o.Name, o.State, o.Started.Format(time.TimeOnly))
		if strings.HasPrefix(o.NetworkMode, sharing) {
			state := ""
			if o.Shares != nil {
				state = o.Shares.State
			}
			seen[o.ID] += " with " + state
		}
	}
}

// Whatever happens, in whatever order the engine answers, slowly or not at all for a while:
// in the end the watcher has handed over what is there, and not only at the next list.
func TestWhateverHappensTheEndIsRight(t *testing.T) {
	for name, resync := range map[string]time.Duration{"no list helps": time.Hour, "lists all the time": 2 * time.Millisecond} {
		for seed := range uint64(6) {
			t.Run(fmt.Sprintf("%s/%d", name, seed), func(t *testing.T) {
				t.Parallel()
				random := rand.New(rand.NewPCG(seed, 1))
				e := newFakeEngine()
				h := &happenings{e: e, random: random, now: noon}
				for _, id := range []string{"a", "b", "c", "d"} {
					e.set(id, "web-"+id, "running", noon)
				}
				e.set("s", "web-s", "running", noon)
				e.join("s", "a")
				r := watch(t, Config{Resync: resync}, e.serve(t))
				s := e.stream(t)
				moody := &moods{random: rand.New(rand.NewPCG(seed, 2))}
				e.fail(nil, moody.inspect)
				for range 400 {
					if !h.next(s) {
						s = e.stream(t) // it was in doubt, and connected anew
					}
				}
				e.fail(nil, nil)
				seen := map[string]string{}
				r.agrees(t, e, seen)
				// Nothing that was still under way makes it wrong again.
				e.set("end", "end", "running", noon)
				s.send("container", "start", "end", "end", h.now)
				r.agrees(t, e, seen)
			})
		}
	}
}

// agrees takes changes in until what was handed over is what there is.
func (r *running) agrees(t *testing.T, e *fakeEngine, seen map[string]string) {
	t.Helper()
	deadline := time.After(patience)
	for want := e.truth(); !maps.Equal(seen, want); {
		select {
		case c := <-r.changes:
			apply(seen, c)
		case <-deadline:
			t.Fatalf("(-want +got):\n%s\nthe watcher logged:\n%s", cmp.Diff(want, seen), r.log)
		}
	}
}

// happenings are what befalls containers, with the events that tell of it.
type happenings struct {
	e      *fakeEngine
	random *rand.Rand
	now    time.Time
}

// next lets something happen to one of the containers; false means that nobody was told.
func (h *happenings) next(s *fakeStream) bool {
	h.now = h.now.Add(time.Second)
	id := []string{"a", "a", "b", "c", "d", "s"}[h.random.IntN(6)]
	h.e.mu.Lock()
	c := h.e.containers[id]
	h.e.mu.Unlock()
	tell := func(state, action string) bool {
		if action == "start" {
			c.started = h.now
		}
		h.e.set(id, c.name, state, c.started)
		return s.send("container", action, id, c.name, h.now)
	}
	if h.random.IntN(4) == 0 {
		time.Sleep(time.Duration(h.random.IntN(3)) * time.Millisecond) // the watcher may catch up
	}
	switch n := h.random.IntN(10); {
	case c.state == "exited":
		return tell("running", "start")
	case n < 4:
		return tell("exited", "die")
	case c.state == "paused":
		return tell("running", "unpause")
	case n < 6:
		return tell("paused", "pause")
	case n < 8:
		c.name = fmt.Sprintf("web-%s%d", id, h.random.IntN(100))
		return tell(c.state, "rename")
	default:
		return tell(c.state, "update")
	}
}

// moods make an engine answer late, or not well.
type moods struct {
	mu     sync.Mutex
	random *rand.Rand
}

func (m *moods) inspect(w http.ResponseWriter, _ *http.Request, _ string) bool {
	m.mu.Lock()
	late, bad := time.Duration(m.random.IntN(8))*time.Millisecond, m.random.IntN(10) == 0
	m.mu.Unlock()
	time.Sleep(late)
	if bad {
		refuse(w, http.StatusInternalServerError, "not now")
	}
	return bad
}
