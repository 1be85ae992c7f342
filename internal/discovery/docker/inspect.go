package docker

import (
	"context"
	"fmt"

	"github.com/docker/docker/client"
)

// inspect asks the engine about one container, and about the one whose network it uses.
func (w *Watcher) inspect(ctx context.Context, cli *client.Client, nameOrID string) (Container, error) {
	c, err := w.ask(ctx, cli, nameOrID)
	if err != nil {
		return Container{}, err
	}
	of := ownerOf(&c)
	if of == "" {
		return c, nil
	}
	x, err := w.ask(ctx, cli, of)
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
