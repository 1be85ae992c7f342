package main

import (
	"context"
	"fmt"
	"time"

	"rollcall/test/loadgen"
)

// What the clients of the demo are. They keep connections and open fresh ones, as
// clients do. A server that reloads closes kept connections, and a request may just
// be on its way; like a browser they send a GET again then, which is told, and a POST
// they send on a fresh connection. Apache answers 502 to what was in a server that is
// killed, where nginx tries the next one: clients send that GET again, too. With
// --strict they do nothing of this, and what it costs shows as lost.
func (d *demo) clients(posts float64) loadgen.Config {
	c := loadgen.Default(d.url)
	c.Rate, c.Post = d.rate, posts
	c.Retry, c.FreshPosts = !d.strict, !d.strict
	c.RetryGateway = !d.strict && d.proxy == "apache"
	return c
}

// Where a server is killed, a POST that it had begun is lost for certain: nobody may
// send that again. Elsewhere nothing excuses a loss.
const (
	somePosts = .25
	noPosts   = 0
)

// underLoad runs what happens while clients send requests, and adds up what they saw.
func (d *demo) underLoad(ctx context.Context, posts float64, happen func(context.Context, *loadgen.Load) error) (loadgen.Result, error) {
	load, err := loadgen.New(d.clients(posts))
	if err != nil {
		return loadgen.Result{}, err
	}
	sending, stop := context.WithCancel(ctx)
	defer stop()
	done := make(chan struct{})
	go func() {
		defer close(done)
		load.Run(sending)
	}()
	err = happen(ctx, load)
	stop()
	<-done
	r := load.Snapshot()
	d.sent += r.Sent()
	d.lost += r.Lost()
	d.retried += r.Retried
	for _, f := range r.Failures {
		d.failures = append(d.failures, fmt.Sprintf("%s: %s: %s", f.Method, f.Kind, f.Text))
	}
	return r, err
}

// poll asks until the answer is yes. It fails with what when ctx ends or too much time has passed.
func poll(ctx context.Context, limit time.Duration, what string, ask func(context.Context) (bool, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("%s: not within %s", what, limit))
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, err := ask(ctx)
		if err != nil || ok {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// pause lets the load go on for a while.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
