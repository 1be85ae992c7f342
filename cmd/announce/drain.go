package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"rollcall/internal/announcer"
	"rollcall/internal/cli"
	"rollcall/internal/discovery"
	"rollcall/internal/discovery/etcd"
)

// comeBack is how long a resumed instance may take to be announced again.
const comeBack = 3 * time.Second

// prepare checks what drain, resume and wait have in common.
func (c *connection) prepare(cmd *cobra.Command, id string, timeout time.Duration) error {
	var m cli.Mistakes
	c.validate(cmd, &m)
	_, _, err := discovery.ParseID(id)
	m.Add("SERVICE/INSTANCE", "`announce list` shows them", err)
	if timeout <= 0 {
		m.Addf("--timeout", "for example 30s", "%s is not positive", timeout)
	}
	return m.Err()
}

func newDrain(c *connection) *cobra.Command {
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "drain SERVICE/INSTANCE",
		Short: "Take an instance out of every balancer and wait until nothing is sent to it",
		Long: `Drain orders that an instance is kept out of every balancer, and returns when each
of them has proven that it sends nothing to it any more. The container goes on
running. The order stays, whatever is restarted, until 'announce resume'. It is obeyed by the
announcer that keeps the record; one written by hand has to be deleted by hand.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: c.argument(instances),
		PreRunE:           func(cmd *cobra.Command, args []string) error { return c.prepare(cmd, args[0], timeout) },
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.connected(cmd, timeout, func(ctx context.Context, client *etcd.Client) error {
				n, err := c.drain(ctx, client, args[0])
				return c.said(cmd, args[0]+" is drained", n, err)
			})
		},
	}
	cmd.Flags().DurationVar(&timeout, "timeout", 30*time.Second, "`DURATION` to wait for the proof at most; the order stays all the same")
	return cmd
}

// drain has the order written, and waits for what that brings about. What is not
// announced cannot be drained: a mistyped name would stay in etcd as an order.
func (c *connection) drain(ctx context.Context, client *etcd.Client, id string) (int, error) {
	service, instance, err := discovery.ParseID(id)
	if err != nil {
		return 0, err
	}
	drains, err := etcd.ListDrains(ctx, client)
	if err != nil {
		return 0, err
	}
	d, ordered := drains[id]
	write := func() error { return etcd.Drain(ctx, client, service, instance, &d) }
	gone := announcer.Gone{
		Since: d.Revision,
		// Who asks again later finds the record gone, and etcd does not tell since when.
		Seen: func(revision int64) error {
			d.Revision = revision
			return write()
		},
	}
	if !ordered {
		node, _ := os.Hostname()
		d = discovery.Drain{Since: time.Now().UTC().Truncate(time.Second), By: node}
		gone.Order = write
	}
	n, err := c.waiter(client).Gone(ctx, service, instance, gone)
	if errors.Is(err, announcer.ErrNotAnnounced) && !ordered {
		return c.letGo(ctx, client, id, write)
	}
	return n, err
}

// letGo has the order written for an instance that is not announced any more, but held
// by a balancer because it went with its lease.
func (c *connection) letGo(ctx context.Context, client *etcd.Client, id string, order func() error) (int, error) {
	service, instance, err := discovery.ParseID(id)
	if err != nil {
		return 0, err
	}
	waiter := c.waiter(client)
	held, silent, err := waiter.Held(ctx, service, instance)
	switch {
	case err != nil:
		return 0, err
	case !held && len(silent) > 0: // an order for a name that nobody knows would stay for ever
		return 0, fmt.Errorf("%s is not announced, and no balancer is known to hold it; not all that are held are named by %s\n   hint: `announce list` shows what is announced, `render status` there who is held", id, strings.Join(silent, ", "))
	case !held:
		return 0, fmt.Errorf("%s is not announced\n   hint: `announce list` shows what is", id)
	}
	if err := order(); err != nil {
		return 0, err
	}
	return waiter.Drained(ctx, map[string]int64{id: 0}, nil)
}

// gone says that an instance does not come back although nothing keeps it out: its
// container is not there. An announcer takes milliseconds.
func (c *connection) gone(ctx context.Context, client *etcd.Client, service, instance string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, comeBack)
	defer cancel()
	err := c.waiter(client).Announced(ctx, service, instance)
	if errors.Is(err, context.DeadlineExceeded) {
		return true, nil
	}
	return false, err
}

// resume lifts the order, and waits for what comes of it.
func (c *connection) resume(ctx context.Context, cmd *cobra.Command, client *etcd.Client, id string) error {
	service, instance, err := discovery.ParseID(id)
	if err != nil {
		return err
	}
	drains, err := etcd.ListDrains(ctx, client)
	if err != nil {
		return err
	}
	_, ordered := drains[id]
	if err := etcd.Drain(ctx, client, service, instance, nil); err != nil {
		return err
	}
	gone, err := c.gone(ctx, client, service, instance)
	if err != nil {
		return err
	}
	switch {
	case gone && !ordered:
		return fmt.Errorf("%s is neither drained nor announced\n   hint: `announce list` shows what is", id)
	case gone:
		_, err := fmt.Fprintf(cmd.OutOrStdout(), "the order is lifted; %s is not announced, so there is nothing to route to\n", id)
		return err
	}
	n, err := c.waiter(client).Routed(ctx, service, instance)
	if errors.Is(err, announcer.ErrWeightless) { // which is no fault of the order's
		_, err := fmt.Fprintf(cmd.OutOrStdout(), "the order is lifted; %s is announced, and %s\n", id, announcer.ErrWeightless)
		return err
	}
	return c.said(cmd, id+" is routed", n, err)
}

func newResume(c *connection) *cobra.Command {
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:               "resume SERVICE/INSTANCE",
		Short:             "Put a drained instance back, and wait until every balancer routes to it",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: c.argument(drained),
		PreRunE:           func(cmd *cobra.Command, args []string) error { return c.prepare(cmd, args[0], timeout) },
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.connected(cmd, timeout, func(ctx context.Context, client *etcd.Client) error {
				return c.resume(ctx, cmd, client, args[0])
			})
		},
	}
	cmd.Flags().DurationVar(&timeout, "timeout", 30*time.Second, "`DURATION` to wait for the proof at most")
	return cmd
}

// wait waits for one of the two proofs.
func (c *connection) wait(ctx context.Context, cmd *cobra.Command, client *etcd.Client, id string, gone bool) error {
	service, instance := split(id)
	if !gone {
		var names []string // none: all of the service
		if instance != "" {
			names = []string{instance}
		}
		n, err := c.waiter(client).Routed(ctx, service, names...)
		return c.said(cmd, id+" is routed", n, err)
	}
	drains, err := etcd.ListDrains(ctx, client)
	if err != nil {
		return err
	}
	n, err := c.waiter(client).Gone(ctx, service, instance, announcer.Gone{Since: drains[id].Revision})
	return c.said(cmd, id+" is gone", n, err)
}

func newWait(c *connection) *cobra.Command {
	var timeout time.Duration
	var routed, gone bool
	cmd := &cobra.Command{
		Use:   "wait SERVICE[/INSTANCE]",
		Short: "Wait until every balancer routes to an instance, or until none does",
		Long: `Wait returns when every live renderer that covers the service has proven it, and at
--timeout with the names of those that have not. One that dies is waited for no longer than
its lease; where there is none, it returns at once and says so. An instance of weight 0 is
never routed to, which is an error at once; in a service as a whole it is left out.`,
		Example: `  announce wait website/core-01-web1             # until it serves
  announce wait website/core-01-web1 --gone      # until nothing is sent to it any more`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: c.argument(servicesAndInstances),
		PreRunE: func(cmd *cobra.Command, args []string) error {
			id := args[0]
			if !strings.Contains(id, "/") {
				id += "/any"
			}
			return c.prepare(cmd, id, timeout)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.connected(cmd, timeout, func(ctx context.Context, client *etcd.Client) error {
				return c.wait(ctx, cmd, client, args[0], gone)
			})
		},
	}
	cmd.Flags().BoolVar(&routed, "routed", false, "until every live renderer that covers the service routes to it (the default)")
	cmd.Flags().BoolVar(&gone, "gone", false, "until it has left etcd and no balancer sends anything to it")
	cmd.Flags().DurationVar(&timeout, "timeout", time.Minute, "`DURATION` to wait at most; it takes up to half a minute to prove that what lost its lease is gone")
	cmd.MarkFlagsMutuallyExclusive("routed", "gone")
	return cmd
}
