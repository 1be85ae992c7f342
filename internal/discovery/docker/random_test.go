package docker

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
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

// An onlooker is what somebody knows who handles the changes.
type onlooker struct {
	t    *testing.T
	seen map[string]string    // as truth has it
	life map[string]time.Time // when each that is seen was started
	over map[string]time.Time // the last life that was told to be over
}

// apply takes in a change, as whoever handles it does. A life that was told to be over
// must not come back.
func (k *onlooker) apply(c Change) {
	gone := c.Gone
	for id := range k.seen {
		if c.Listed && !slices.Contains(c.Unknown, id) && !slices.ContainsFunc(c.Containers, func(o Container) bool { return o.ID == id }) {
			gone = append(gone, id)
		}
	}
	for _, id := range gone {
		if _, is := k.seen[id]; is {
			k.over[id] = k.life[id]
			delete(k.seen, id)
		}
	}
	for _, o := range c.Containers {
		if over, was := k.over[o.ID]; was && !o.Started.After(over) {
			k.t.Errorf("%s, started at %s, was over and is back", o.ID, o.Started.Format(time.TimeOnly))
		}
		k.life[o.ID] = o.Started
		k.seen[o.ID] = fmt.Sprintf("%s %s %s", o.Name, o.State, o.Started.Format(time.TimeOnly))
		if strings.HasPrefix(o.NetworkMode, sharing) {
			state := ""
			if o.Shares != nil {
				state = o.Shares.State
			}
			k.seen[o.ID] += " with " + state
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
				moody := &moods{e: e, random: rand.New(rand.NewPCG(seed, 2))}
				e.fail(nil, moody.inspect)
				for range 400 {
					if !h.next(s) {
						s = e.stream(t) // it was in doubt, and connected anew
					}
				}
				// What is asked about now is answered when it is over.
				for range 20 {
					h.end(s)
				}
				e.fail(nil, nil)
				k := &onlooker{t: t, seen: map[string]string{}, life: map[string]time.Time{}, over: map[string]time.Time{}}
				r.agrees(e, k)
				// Nothing that was still under way makes it wrong again.
				e.set("end", "end", "running", noon)
				s.send("container", "start", "end", "end", h.now)
				r.agrees(e, k)
			})
		}
	}
}

// agrees takes changes in until what was handed over is what there is.
func (r *running) agrees(e *fakeEngine, k *onlooker) {
	k.t.Helper()
	deadline := time.After(patience)
	for want := e.truth(); !maps.Equal(k.seen, want); {
		select {
		case c := <-r.changes:
			k.apply(c)
		case <-deadline:
			k.t.Fatalf("(-want +got):\n%s\nthe watcher logged:\n%s", cmp.Diff(want, k.seen), r.log)
		}
	}
}

// happenings are what befalls containers, with the events that tell of it.
type happenings struct {
	e      *fakeEngine
	random *rand.Rand
	now    time.Time
}

// end lets a container come to life and die at once, so that its inspection is under way.
func (h *happenings) end(s *fakeStream) {
	h.now = h.now.Add(time.Second)
	id := []string{"a", "b", "c", "d"}[h.random.IntN(4)]
	h.e.set(id, "web-"+id, "running", h.now)
	s.send("container", "start", id, "web-"+id, h.now)
	time.Sleep(time.Duration(h.random.IntN(3)) * time.Millisecond)
	h.e.set(id, "web-"+id, "exited", h.now)
	s.send("container", "die", id, "web-"+id, h.now.Add(time.Millisecond))
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

// moods make an engine answer late, with what was true when it was asked, or not well.
type moods struct {
	e      *fakeEngine
	mu     sync.Mutex
	random *rand.Rand
}

func (m *moods) inspect(w http.ResponseWriter, _ *http.Request, id string) bool {
	m.mu.Lock()
	late, bad := time.Duration(m.random.IntN(8))*time.Millisecond, m.random.IntN(10) == 0
	m.mu.Unlock()
	then := httptest.NewRecorder()
	m.e.serveInspect(then, id)
	time.Sleep(late)
	if bad {
		refuse(w, http.StatusInternalServerError, "not now")
		return true
	}
	w.WriteHeader(then.Code)
	_, _ = then.Body.WriteTo(w)
	return true
}
