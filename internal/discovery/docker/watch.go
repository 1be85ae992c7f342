package docker

import (
	"context"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/docker/docker/client"
)

// steady is how long a connection must have lasted for the next one to be tried at once.
const steady = 10 * time.Second

// newBackoff gives the pauses between attempts: 100 ms, growing to 2 s, with jitter.
func newBackoff() *backoff.ExponentialBackOff {
	return &backoff.ExponentialBackOff{
		InitialInterval: 100 * time.Millisecond, MaxInterval: 2 * time.Second,
		Multiplier: 2, RandomizationFactor: 0.5,
	}
}

// Run hands over what there is and then what changes, in order and from one goroutine,
// until ctx is done; it returns ctx's error and nothing else. While handle takes its
// time, events wait. Run must be called once only.
//
// While the engine is away nothing is handed over: its containers may well be running.
func (w *Watcher) Run(ctx context.Context, handle func(Change)) error {
	pause := newBackoff()
	for {
		began := time.Now()
		err := w.connect(ctx, handle)
		if ctx.Err() != nil {
			w.health.stop(ctx.Err())
			return ctx.Err()
		}
		if err == nil {
			continue
		}
		w.health.set(err)
		if time.Since(began) > steady {
			pause.Reset()
		}
		select {
		case <-time.After(pause.NextBackOff()):
		case <-ctx.Done():
		}
	}
}

// connect follows the engine over one connection for as long as it can be trusted.
// It returns nil when a new one should be made at once.
func (w *Watcher) connect(ctx context.Context, handle func(Change)) error {
	cli, err := w.dial()
	if err == nil {
		defer func() { _ = cli.Close() }() // it only closes idle connections
		err = w.ping(ctx, cli)
	}
	if err != nil {
		w.metrics.failed(opConnect)
		return err
	}
	// Subscribing comes first, so that nothing can happen between the list and the events.
	stream, err := w.subscribe(ctx, cli)
	if err != nil {
		w.metrics.failed(opEvents)
		return err
	}
	defer stream.close()
	return w.session(ctx, cli, stream, handle)
}

// ping settles on an API version. The client would do that by itself, but ask for
// things in its own newest version when the engine does not answer.
func (w *Watcher) ping(ctx context.Context, cli *client.Client) error {
	ctx, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	p, err := cli.Ping(ctx)
	if err != nil {
		return fmt.Errorf("ping docker at %s: %w", cli.DaemonHost(), err)
	}
	cli.NegotiateAPIVersionPing(p)
	return nil
}
