package bench

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/client"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"
)

// A hand does itself what no announcer can do without, and nothing else. That makes the
// floor: on a start event one inspection and one leased put, on a die event one delete.
// The event is a real one, too, because an engine that has just started a container
// answers more slowly than one at rest.
type hand struct {
	tb     testing.TB
	docker *client.Client
	etcd   *clientv3.Client
	lease  clientv3.LeaseID
	events <-chan events.Message
	failed <-chan error
}

func (b *bed) newHand() *hand {
	b.tb.Helper()
	cli, err := client.NewClientWithOpts(client.WithHost(b.fleet.host()), client.WithAPIVersionNegotiation())
	if err != nil {
		b.tb.Fatal(err)
	}
	h := &hand{tb: b.tb, docker: cli, etcd: b.store.dial()}
	ctx, cancel := context.WithCancel(context.Background())
	h.events, h.failed = cli.Events(ctx, events.ListOptions{Filters: filters.NewArgs(
		filters.Arg("type", "container"), filters.Arg("event", "start"), filters.Arg("event", "die"),
	)})
	b.tb.Cleanup(func() {
		cancel()
		for range h.failed {
		}
		if err := cli.Close(); err != nil {
			b.tb.Error(err)
		}
	})
	lease, err := h.etcd.Grant(ctx, 3600)
	if err != nil {
		b.tb.Fatal(err)
	}
	h.lease = lease.ID
	return h
}

// during has something done, and what follows from it by somebody else meanwhile.
func (h *hand) during(follow func() (time.Time, error), do func()) time.Time {
	h.tb.Helper()
	var at time.Time
	var group errgroup.Group
	group.Go(func() (err error) {
		at, err = follow()
		return err
	})
	do()
	if err := group.Wait(); err != nil {
		h.tb.Fatal(err)
	}
	return at
}

func (h *hand) started() (time.Time, error) {
	m, err := h.next(events.ActionStart)
	return time.Unix(0, m.TimeNano), err
}

func (h *hand) died() (time.Time, error) {
	m, err := h.next(events.ActionDie)
	return time.Unix(0, m.TimeNano), err
}

// announce writes a record of the usual size.
func (h *hand) announce() (time.Time, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	m, err := h.next(events.ActionStart)
	if err != nil {
		return time.Time{}, err
	}
	c, err := h.docker.ContainerInspect(ctx, m.Actor.ID)
	if err != nil {
		return time.Time{}, err
	}
	value := fmt.Sprintf(`{"host":%q,"port":32768,"proto":"tcp","weight":100,"node":"core-01","machine":%q,"container":%q,"started":%q}`,
		address, "0123456789abcdef0123456789abcdef", c.ID, c.State.StartedAt)
	_, err = h.etcd.Put(ctx, prefix+"floor", value, clientv3.WithLease(h.lease))
	return time.Unix(0, m.TimeNano), err
}

// withdraw deletes that record.
func (h *hand) withdraw() (time.Time, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	m, err := h.next(events.ActionDie)
	if err != nil {
		return time.Time{}, err
	}
	_, err = h.etcd.Delete(ctx, prefix+"floor")
	return time.Unix(0, m.TimeNano), err
}

// next waits for an event of a container of this benchmark, which has to be the one expected.
func (h *hand) next(action events.Action) (events.Message, error) {
	deadline := time.After(patience)
	for {
		select {
		case m := <-h.events:
			switch {
			case m.Actor.Attributes["rollcall.service"] != service:
			case m.Action != action:
				return m, fmt.Errorf("docker says %s of container %.12s, want %s", m.Action, m.Actor.ID, action)
			default:
				return m, nil
			}
		case err := <-h.failed:
			return events.Message{}, err
		case <-deadline:
			return events.Message{}, fmt.Errorf("docker does not say %s", action)
		}
	}
}
