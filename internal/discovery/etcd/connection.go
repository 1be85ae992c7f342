package etcd

import (
	"context"
	"time"

	"google.golang.org/grpc/connectivity"
)

// pause waits for d before another try; false when ctx is done first. Where no
// server is connected it waits no longer than until one is: what went wrong in an
// outage is to be made good as soon as that ends.
func (c *Client) pause(ctx context.Context, d time.Duration) bool {
	// At least so long: a server may break every connection as soon as it is made.
	least := min(d, retryMin)
	if !pause(ctx, least) {
		return false
	}
	conn := c.c.ActiveConnection()
	state := conn.GetState()
	if state == connectivity.Ready {
		return pause(ctx, d-least)
	}
	wait, cancel := context.WithTimeout(ctx, d-least)
	defer cancel()
	for state != connectivity.Ready && conn.WaitForStateChange(wait, state) {
		state = conn.GetState()
	}
	return ctx.Err() == nil
}

// reconnected gives a channel that tells, until ctx is done, each time that a server
// is connected again after none was.
func (c *Client) reconnected(ctx context.Context) <-chan struct{} {
	again := make(chan struct{}, 1)
	conn := c.c.ActiveConnection()
	go func() {
		for state := conn.GetState(); conn.WaitForStateChange(ctx, state); {
			if state = conn.GetState(); state != connectivity.Ready {
				continue
			}
			select {
			case again <- struct{}{}:
			default:
			}
		}
	}()
	return again
}

// pause waits for d; false when ctx is done first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
