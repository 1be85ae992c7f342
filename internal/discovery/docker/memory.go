package docker

import (
	"cmp"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/events"
)

// sharing begins the NetworkMode of a container that uses the network of another. The
// engine writes the other's id after it, even if it was told its name.
const sharing = "container:"

// A memory holds what is known of the containers. It outlasts a connection, because
// after it somebody has to know who died while there was none.
type memory struct {
	containers map[string]*Container      // by id; nil for one that was listed but never inspected
	sharing    map[string]map[string]bool // by id, the ids of those that use its network
}

func newMemory() *memory {
	return &memory{containers: map[string]*Container{}, sharing: map[string]map[string]bool{}}
}

func (m *memory) get(id string) (c *Container, known bool) {
	c, known = m.containers[id]
	return c, known
}

func (m *memory) set(id string, c *Container) {
	m.forget(id)
	m.containers[id] = c
	if of := ownerOf(c); of != "" {
		if m.sharing[of] == nil {
			m.sharing[of] = map[string]bool{}
		}
		m.sharing[of][id] = true
	}
}

func (m *memory) forget(id string) {
	if of := ownerOf(m.containers[id]); of != "" {
		delete(m.sharing[of], id)
		if len(m.sharing[of]) == 0 {
			delete(m.sharing, of)
		}
	}
	delete(m.containers, id)
}

// sharers gives the containers that use the network of another, sorted by id.
func (m *memory) sharers(id string) []*Container {
	var list []*Container
	for sharer := range m.sharing[id] {
		list = append(list, m.containers[sharer])
	}
	slices.SortFunc(list, func(a, b *Container) int { return cmp.Compare(a.ID, b.ID) })
	return list
}

// ownerOf gives the id of the container whose network this one uses, or "".
func ownerOf(c *Container) string {
	if c == nil {
		return ""
	}
	id, shares := strings.CutPrefix(c.NetworkMode, sharing)
	if !shares {
		return ""
	}
	return id
}

// alone gives a container as others share it: what it shares itself is not theirs to see,
// which keeps a ring of containers from having no end.
func alone(c *Container) *Container {
	if c == nil || c.Shares == nil {
		return c
	}
	one := *c
	one.Shares = nil
	return &one
}

// after gives what an event alone makes of a container, nil if it is no more; ok is false
// where only the engine can say.
//
// Whoever dies is not asked: the engine answers only when it has cleared up, and waiting
// costs requests. Whoever is paused must not be asked: while a command is being started in
// it, as its HEALTHCHECK is, Docker answers nobody, and an inspection that waits for it
// holds up the unpausing too. But what comes from before the start that was seen is news
// of an earlier life, or the clock was set back.
func after(m events.Message, c *Container) (now *Container, ok bool) {
	switch {
	case c != nil && m.TimeNano > 0 && m.TimeNano < c.Started.UnixNano():
		return nil, false
	case m.Action == events.ActionDestroy, m.Action == events.ActionDie && c == nil:
		return nil, true
	case m.Action == events.ActionDie:
		return in("exited", c), true
	case c == nil || !c.alive():
		return nil, false
	case m.Action == events.ActionPause:
		return in("paused", c), true
	case m.Action == events.ActionHealthStatusUnhealthy:
		one := *c
		one.Health = "unhealthy"
		return &one, true
	}
	return nil, false
}

// in gives a container in another state.
func in(state string, c *Container) *Container {
	one := *c
	one.State = state
	return &one
}
