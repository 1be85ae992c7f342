package docker

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/client"
)

// inspecting is how many containers of a list are inspected at a time.
const inspecting = 4

// late is how long a list waits for the next answer. A container that does not answer
// is then handed over as it was known, and the rest of the list does not wait for it.
const late = time.Second

// A listing is a list that is being made, while events go on. The list says who is
// there, the inspections what they are, and events know better than both.
type listing struct {
	began   time.Time
	all     []container.Summary
	err     error
	rest    []container.Summary    // not asked about yet
	open    map[string]bool        // who is asked about and waited for, by id
	answers map[string]*inspection // by id
	told    map[string]bool        // whom something has happened to since it began, by id
	handed  bool                   // it has been handed over
}

// wants says whether an answer is one that a list waits for.
func (l *listing) wants(i *inspection) bool {
	return l != nil && !l.handed && l.open[i.id] && !l.told[i.id]
}

// list begins to list everything.
func (s *session) list(ctx context.Context) {
	l := &listing{began: time.Now(), open: map[string]bool{}, answers: map[string]*inspection{}, told: map[string]bool{}}
	s.listing = l
	s.slow.Stop() // what is left of the one before it does not matter any more
	s.beside.Go(func() {
		l.all, l.err = s.w.list(ctx, s.cli)
		s.lists <- l
	})
}

// listed takes in who is there.
//
// A list that fails leaves the event stream open: an engine that shuts down takes no
// more requests, but still says which containers die. Once a list succeeds after that,
// the old stream may be a dead one, and it is time to connect anew.
func (s *session) listed(ctx context.Context, l *listing) {
	switch {
	case ctx.Err() != nil:
	case l.err != nil:
		s.listing = nil
		s.refused, s.complete = true, false
		s.w.metrics.failed(opList)
		s.w.health.set(l.err)
		s.listIn(s.pause.NextBackOff())
	default:
		l.rest = l.all
		s.goOn()
	}
}

// answered goes on with the list if it has waited for that container.
func (s *session) answered(id string) {
	if l := s.listing; l != nil && l.open[id] {
		delete(l.open, id)
		s.goOn()
	}
}

// goOn inspects more of the list, until there is nobody left.
func (s *session) goOn() {
	l := s.listing
	for len(l.open) < inspecting && len(l.rest) > 0 {
		c := l.rest[0]
		l.rest = l.rest[1:]
		known, _ := s.w.known.get(c.ID)
		switch {
		case l.told[c.ID] && !s.inspections.pending(c.ID), c.State == "paused" && known != nil:
			continue // there is nothing to ask, or, as after has it, it must not be asked
		case !l.told[c.ID]:
			s.inspections.ask(c.ID)
		}
		l.open[c.ID] = true
	}
	if len(l.open) > 0 {
		s.slow.Reset(late)
		return
	}
	s.slow.Stop()
	if !l.handed {
		s.handOver(l)
	}
	s.listing = nil
}

// overdue hands a list over without those that do not answer. They, and those not asked
// about yet, are handed over when they do.
func (s *session) overdue() {
	l := s.listing
	if !l.handed {
		s.handOver(l)
	}
	clear(l.open)
	s.goOn()
}

// handOver hands over what the list has come to, and sets the timer for the next one.
func (s *session) handOver(l *listing) {
	w := s.w
	there := make(map[string]bool, len(l.all))
	for _, c := range l.all {
		there[c.ID] = true
		s.settle(l, c)
	}
	dropped := func(id string) bool { return !there[id] && !l.told[id] }
	for id := range w.known.containers {
		if dropped(id) {
			w.known.forget(id)
		}
	}
	maps.DeleteFunc(w.doubtful, func(id string, _ bool) bool { return dropped(id) })

	change := Change{Listed: true}
	for _, id := range slices.Sorted(maps.Keys(w.known.containers)) {
		if c, _ := w.known.get(id); c != nil {
			change.Containers = append(change.Containers, *c)
		} else {
			change.Unknown = append(change.Unknown, id)
		}
	}
	if len(w.doubtful) > 0 {
		// One container that cannot be inspected must not make the engine describe all the
		// others without a break: at most a tenth of the time goes into it.
		s.listIn(max(s.pause.NextBackOff(), min(9*time.Since(l.began), w.resync)))
	} else {
		s.pause.Reset()
		s.listIn(w.resync)
	}
	l.handed, l.answers = true, nil
	w.listed, s.complete = true, true
	s.handle(change)
}

// settle takes in what a list has come to know of one container.
func (s *session) settle(l *listing, c container.Summary) {
	w := s.w
	known, is := w.known.get(c.ID)
	switch a := l.answers[c.ID]; {
	case l.told[c.ID]:
		if !is && (s.inspections.pending(c.ID) || w.doubtful[c.ID]) {
			w.known.set(c.ID, nil)
		}
	case a == nil:
		// The list comes from another place in the engine, which no container holds up.
		if known != nil && known.State != c.State && in(c.State, known).alive() {
			known = in(c.State, known)
		}
		if known != nil && known.State == "paused" {
			delete(w.doubtful, c.ID) // unpausing will have it inspected
		}
		w.known.set(c.ID, known)
	case IsNotFound(a.err), a.err == nil && !w.wants(a.found):
		w.known.forget(c.ID) // it died, or was renamed, a moment ago
		delete(w.doubtful, c.ID)
	case a.err != nil:
		w.distrust(c.ID, a.err, w.doubtful[c.ID])
		w.known.set(c.ID, known)
	case l.told[ownerOf(a.found)]:
		s.inspections.ask(c.ID) // what it says of the other may be the past
		w.known.set(c.ID, known)
	default:
		w.known.set(c.ID, a.found)
		delete(w.doubtful, c.ID)
	}
}

func (s *session) listIn(d time.Duration) {
	s.next = time.Now().Add(d)
	s.due.Reset(d)
}

// list asks who is there.
func (w *Watcher) list(ctx context.Context, cli *client.Client) ([]container.Summary, error) {
	w.metrics.lists.Inc()
	ctx, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	all, err := cli.ContainerList(ctx, container.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	return slices.DeleteFunc(all, func(c container.Summary) bool {
		return w.name != "" && !slices.Contains(c.Names, "/"+w.name)
	}), nil
}
