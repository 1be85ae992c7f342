package docker

import (
	"time"

	"github.com/docker/docker/api/types/events"
)

// Podman's service answers as Docker does, but selects events by Podman's own names,
// which a Docker engine has never heard of and passes over.
const (
	podmanDied     events.Action = "died"      // sent as "die"
	podmanRemove   events.Action = "remove"    // for "destroy"
	podmanExecDied events.Action = "exec_died" // a command in a container has ended
)

// afterCheck is how long after the end of a health check Podman is asked about its
// result. What it says when the check begins, and when its command ends, comes before
// the result counts.
const afterCheck = 500 * time.Millisecond

// asDocker gives an event of Podman's as Docker would have told it.
func asDocker(m events.Message) events.Message {
	switch {
	case m.Type == events.ContainerEventType && m.Action == podmanDied:
		m.Action = events.ActionDie
	case m.Type == events.ContainerEventType && m.Action == podmanRemove:
		m.Action = events.ActionDestroy
	case m.Type == events.NetworkEventType && m.Actor.Attributes["container"] == "":
		// It is about the container, where Docker's is about the network.
		m.Actor.Attributes = map[string]string{"container": m.Actor.ID}
	}
	return m
}

// lookLater has a container inspected once the result of its health check counts.
func (s *session) lookLater(id string) {
	if s.checked == nil {
		s.checked = map[string]bool{}
	}
	s.checked[id] = true
	if s.look == nil {
		s.look = time.After(afterCheck)
	}
}

// lookNow inspects the containers whose turn has come.
func (s *session) lookNow() {
	s.look = nil
	for id := range s.checked {
		if c, _ := s.w.known.get(id); c != nil {
			s.refresh(id)
		}
	}
	clear(s.checked)
}
