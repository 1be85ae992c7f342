package docker

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/client"
)

// inspect asks the engine about one container, and about the one whose network it uses.
func (w *Watcher) inspect(ctx context.Context, cli *client.Client, nameOrID string) (Container, error) {
	c, err := w.ask(ctx, cli, nameOrID)
	if err != nil {
		return Container{}, err
	}
	owner, shares := strings.CutPrefix(c.NetworkMode, sharing)
	if !shares {
		return c, nil
	}
	x, err := w.ask(ctx, cli, owner)
	switch {
	case err == nil:
		c.Shares = &x
	case !IsNotFound(err):
		return Container{}, fmt.Errorf("network of container %.64q: %w", nameOrID, err)
	}
	return c, nil
}

// ask asks the engine about one container alone.
func (w *Watcher) ask(ctx context.Context, cli *client.Client, nameOrID string) (Container, error) {
	ctx, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	w.metrics.inspects.Inc()
	answer, err := cli.ContainerInspect(ctx, nameOrID)
	var c Container
	if err == nil {
		c, err = convert(answer)
	}
	if err != nil {
		return Container{}, fmt.Errorf("inspect container %.64q: %w", nameOrID, err)
	}
	return c, nil
}

// sharing begins the NetworkMode of a container that uses the network of another. The
// engine writes the other's id after it, even if it was told its name.
const sharing = "container:"

// sharers gives the known containers that use the network of another, sorted by id.
func (w *Watcher) sharers(id string) []*Container {
	mode := sharing + id
	var list []*Container
	for _, c := range w.known {
		if c != nil && c.NetworkMode == mode {
			list = append(list, c)
		}
	}
	slices.SortFunc(list, func(a, b *Container) int { return cmp.Compare(a.ID, b.ID) })
	return list
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

// ended gives what is left of a container after its death, or its removal, from memory.
func ended(c *Container, by events.Action) *Container {
	if c == nil || by == events.ActionDestroy {
		return nil
	}
	one := *c
	one.State = "exited"
	return &one
}
