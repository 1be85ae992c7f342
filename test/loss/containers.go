package loss

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/client"
	"golang.org/x/sync/errgroup"
)

// An engine runs containers of one image on this machine.
type engine struct {
	client  *client.Client
	image   string
	address string // where published ports are reached
	running []running
}

// A running is a container that was started, unless its id is empty.
type running struct{ name, id string }

func newEngine(tb testing.TB, image string) (*engine, error) {
	e := &engine{image: image}
	var err error
	if e.client, err = client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation()); err != nil {
		return nil, err
	}
	tb.Cleanup(func() {
		var err error
		for _, c := range e.running {
			if c.id != "" {
				err = errors.Join(err, e.client.ContainerRemove(context.Background(), c.id, container.RemoveOptions{Force: true}))
			}
		}
		if err := errors.Join(err, e.client.Close()); err != nil {
			tb.Error(err)
		}
	})
	e.address, err = bridge()
	return e, err
}

// bridge gives the address of Docker's own network: published ports are reached there.
func bridge() (string, error) {
	in, err := net.InterfaceByName("docker0")
	if err != nil {
		return "", err
	}
	addresses, err := in.Addrs()
	if err != nil || len(addresses) == 0 {
		return "", fmt.Errorf("docker0 has no address: %w", err)
	}
	prefix, err := netip.ParsePrefix(addresses[0].String())
	return prefix.Addr().String(), err
}

// start runs as many containers, each of which calls itself as it is called: the engine
// takes much of a small machine's time for it, which is none of a balancer's doing.
func (e *engine) start(ctx context.Context, n int) error {
	e.running = make([]running, n)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(4)
	for i := range e.running {
		group.Go(func() error {
			name := fmt.Sprintf("loss-%d-%d", os.Getpid(), i)
			c, err := e.client.ContainerCreate(ctx, &container.Config{Image: e.image, Hostname: name}, &container.HostConfig{PublishAllPorts: true}, nil, nil, name)
			if err != nil {
				return err
			}
			e.running[i] = running{name, c.ID}
			return e.client.ContainerStart(ctx, c.ID, container.StartOptions{})
		})
	}
	return group.Wait()
}

func (e *engine) kill(ctx context.Context, id string) error {
	return e.client.ContainerKill(ctx, id, "KILL")
}

// withdrawAll announces and withdraws one container after the other, several at a time.
func (b *bed) withdrawAll(ctx context.Context, p Plan) ([]time.Duration, error) {
	var mu sync.Mutex
	var times []time.Duration
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(p.Lanes)
	for _, c := range b.docker.running {
		group.Go(func() error {
			took, err := b.withdraw(ctx, c)
			mu.Lock()
			defer mu.Unlock()
			times = append(times, took)
			return err
		})
	}
	return times, group.Wait()
}

// use is how long clients use a container before it is withdrawn: as many slow requests
// are running in it then as ever will.
const use = slow

// withdraw runs a container's sidekick until clients use the container, tells it to stop,
// and kills the container at once when it has. It gives how long that took.
func (b *bed) withdraw(ctx context.Context, c running) (took time.Duration, err error) {
	store := b.balancer.store()
	sidekick, err := launch(b.tb, nil, b.programs.Announce, "--container", c.name, "--service", service, "--address", b.docker.address,
		"--endpoints", store.endpoint, "--state-dir", b.tb.TempDir(), "--listen", "", "--log-format", "text")
	if err != nil {
		return 0, err
	}
	revision, err := store.announced(ctx, service, c.name)
	if err == nil {
		err = b.balancer.applied(ctx, revision)
	}
	if err == nil {
		err = poll(ctx, c.name+" is used", func() error {
			if s := b.load.Snapshot(); s.Instances[c.name] == 0 {
				return errors.New("it has answered no request")
			}
			return nil
		})
	}
	if err == nil {
		err = pause(ctx, use)
	}
	if err != nil {
		return 0, err
	}
	began := time.Now()
	if err := sidekick.withdraw(ctx); err != nil {
		return 0, err
	}
	if err := b.balancer.withdrawn(ctx); err != nil {
		return 0, err
	}
	took = time.Since(began)
	return took, b.docker.kill(ctx, c.id)
}
