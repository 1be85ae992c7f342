package docker

import (
	"context"
	"time"

	"github.com/docker/docker/api/types/events"
)

// follow does what an event asks for.
func (s *session) follow(ctx context.Context, m events.Message) {
	w := s.w
	if !w.listed {
		return // the first list is yet to come, and will know
	}
	m = asDocker(m)
	id := m.Actor.ID
	if m.Type == events.NetworkEventType {
		id = m.Actor.Attributes["container"]
	}
	c, known := w.known[id]
	sharers := w.sharers(id)
	if c == nil && len(sharers) > 0 {
		c = sharers[0].Shares
	}
	switch {
	case m.Type == events.NetworkEventType && (c == nil || !c.alive()):
		// A container joins its networks before it starts, and leaves them after it died.
	case m.Action == events.ActionDie || m.Action == events.ActionDestroy:
		// Whoever dies is not asked: the engine answers only when it has cleared up, and waiting
		// costs requests. But a death from before the start that was seen is that of an earlier life.
		if c != nil && m.TimeNano > 0 && m.TimeNano < c.Started.UnixNano() {
			s.refresh(ctx, id)
		} else {
			s.learn(id, ended(c, m.Action))
		}
	case !known && len(sharers) == 0 && w.name != "" && m.Actor.Attributes["name"] != w.name:
		// somebody else's
	case m.Action == podmanExecDied:
		if known && c.Health != "" {
			s.lookLater(id)
		}
	case s.stream.over():
		// A new list is due as soon as what is left in the stream has been searched for deaths.
	default:
		s.refresh(ctx, id)
	}
}

// refresh inspects one container and hands over what it is now.
func (s *session) refresh(ctx context.Context, id string) {
	w := s.w
	c, err := w.inspect(ctx, s.cli, id)
	switch {
	case ctx.Err() != nil:
	case IsNotFound(err):
		s.learn(id, nil)
	case err != nil:
		if !w.doubtful[id] {
			if d := s.pause.NextBackOff(); time.Until(s.next) > d {
				s.listIn(d)
			}
		}
		w.distrust(id, err, w.doubtful[id])
	default:
		s.learn(id, &c)
	}
}

// learn takes in what a container is now, nil if it is not there any more, and hands
// it over, together with those that use its network.
func (s *session) learn(id string, now *Container) {
	w := s.w
	delete(w.doubtful, id)
	var change Change
	if now != nil && w.wants(now) {
		w.known[id] = now
		change.Containers = []Container{*now}
	} else if _, known := w.known[id]; known {
		delete(w.known, id)
		change.Gone = []string{id}
	}
	for _, c := range w.sharers(id) {
		changed := *c // whoever was handed the old one keeps it as it was
		changed.Shares = alone(now)
		w.known[c.ID] = &changed
		change.Containers = append(change.Containers, changed)
	}
	if len(change.Containers) > 0 || len(change.Gone) > 0 {
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
