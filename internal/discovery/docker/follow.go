package docker

import (
	"context"
	"slices"
	"time"

	"github.com/docker/docker/api/types/events"
)

// follow does what an event asks for.
func (s *session) follow(m events.Message) {
	w := s.w
	resuming := []events.Action{events.ActionUnPause, events.ActionStart, events.ActionDie, events.ActionDestroy}
	m = asDocker(m)
	id := m.Actor.ID
	if m.Type == events.NetworkEventType {
		id = m.Actor.Attributes["container"]
	}
	if id == "" {
		return
	}
	c, known := w.known.get(id)
	sharers := w.known.sharers(id)
	if c == nil && len(sharers) > 0 {
		c = sharers[0].Shares
	}
	pending := s.inspections.pending(id)
	now, told := after(m, c)
	switch {
	case m.Type == events.NetworkEventType && (c == nil || !c.alive()) && !pending:
		// A container joins its networks before it starts, and leaves them after it died.
	case told:
		s.believe(id, now)
	case c != nil && c.State == "paused" && !slices.Contains(resuming, m.Action):
		// It must not be asked about, and will be when that is over.
	case !known && !pending && len(sharers) == 0 && w.name != "" && m.Actor.Attributes["name"] != w.name:
		// somebody else's
	case m.Action == podmanExecDied:
		if known && c != nil && c.Health != "" {
			s.lookLater(id)
		}
	case s.stream.over():
		// A new list is due as soon as what is left in the stream has been searched for deaths.
	case m.Action == events.ActionPause:
		s.inspections.drop(id) // or it would be handed over as running first
		s.refresh(id)
	default:
		s.refresh(id)
	}
}

// refresh has a container inspected to which something has happened.
func (s *session) refresh(id string) {
	s.told(id)
	s.inspections.ask(id)
}

// believe takes in what an event has made of a container, whatever is being asked about it.
func (s *session) believe(id string, now *Container) {
	s.told(id)
	// A start will ask about the dead, and an unpausing about the paused.
	if s.inspections.drop(id) && now != nil && now.State != "exited" && now.State != "paused" {
		s.inspections.ask(id)
	}
	s.learn(id, now)
	s.answered(id)
}

// told notes that something has happened to a container, which answers to earlier
// questions may not show.
func (s *session) told(id string) {
	s.inspections.told(id)
	if s.listing != nil {
		s.listing.told[id] = true
	}
}

// inspected takes in the answer to a question about a container.
func (s *session) inspected(ctx context.Context, i *inspection) {
	if ctx.Err() != nil {
		return
	}
	s.inspections.done(i)
	switch {
	case i.void:
	case i.err == nil && i.meanwhile[ownerOf(i.found)]:
		if !i.again {
			s.inspections.ask(i.id) // what it says of the other may be the past
		}
	case s.listing.wants(i) && !i.again:
		s.listing.answers[i.id] = i
	case IsNotFound(i.err):
		s.learn(i.id, nil)
	case i.err != nil:
		if !s.w.doubtful[i.id] {
			if d := s.pause.NextBackOff(); time.Until(s.next) > d {
				s.listIn(d)
			}
		}
		s.w.distrust(i.id, i.err, s.w.doubtful[i.id])
	default:
		s.learn(i.id, i.found)
	}
	if !s.inspections.pending(i.id) {
		s.answered(i.id)
	}
}

// learn takes in what a container is now, nil if it is not there any more, and hands
// it over, together with those that use its network.
func (s *session) learn(id string, now *Container) {
	w := s.w
	delete(w.doubtful, id)
	var change Change
	if now != nil && w.wants(now) {
		w.known.set(id, now)
		change.Containers = []Container{*now}
	} else if _, known := w.known.get(id); known {
		w.known.forget(id)
		change.Gone = []string{id}
	}
	for _, c := range w.known.sharers(id) {
		changed := *c // whoever was handed the old one keeps it as it was
		changed.Shares = alone(now)
		w.known.set(c.ID, &changed)
		change.Containers = append(change.Containers, changed)
	}
	if w.listed && (len(change.Containers) > 0 || len(change.Gone) > 0) {
		s.handle(change)
	}
}

// wants says whether a container is one to be handed over.
func (w *Watcher) wants(c *Container) bool {
	return c.alive() && (w.name == "" || c.Name == w.name)
}

// distrust notes that a container could not be inspected, and says so the first time.
func (w *Watcher) distrust(id string, err error, before bool) {
	w.metrics.failed(opInspect)
	w.doubtful[id] = true
	if !before {
		w.log.Warn("container cannot be inspected; what is known of it stays", "container", id, "err", err)
	}
}
