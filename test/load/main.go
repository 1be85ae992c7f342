// Command load sends a steady load to a web server and counts what its clients
// notice: go run ./test/load --help. It exits 1 if a request was lost.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"rollcall/test/loadgen"
)

const usage = `Usage: go run ./test/load [flags] [URL]

Sends HTTP/1.1 requests at a steady rate, over kept and fresh connections, and
counts every one that its client saw fail. The URL is http://127.0.0.1:8080/
unless another is given.

A request has failed when its client saw one of these:
  no connection                              refused, unreachable, timed out
  closed without an answer                   closed or reset, on a new connection
  kept connection closed without an answer   the same after the request was written; nobody
                                             may send such a POST again
  answer broke off                           after its first byte, or it was no HTTP
  timeout                                    no whole answer in time (--timeout)
  5xx                                        status 500 to 599, whoever answered it
  wrong answer                               another status than 200, or not the posted body
Nothing is sent twice behind the scenes. With --retry a GET is sent once more when
a kept connection closes without an answer, as browsers do, and counted as retried.
A kept connection that was closed before the next request is no failure: every
client looks first, as those of browsers and of most languages do, and opens another
(reopened). With --blind nobody looks, and it is one.

Results are told for each class of requests by itself:
  keep-alive       on the connection of one of --clients, each in use many times a second
  rarely used      on the connection of one of --rare clients, idle for seconds in between
  new connection   on a connection of its own (--fresh)
  slow             asked to take --slow-for (--slow), on either of the first and the third
GETs go to the URL, POSTs to /echo on the same server, slow ones to /slow?d=DURATION; a
POST's body has to come back. The server in examples/hello answers all of them. Latency
is that of good answers and counts from when a request was due, so a stall is charged for
everything it kept waiting; what a slow request was asked to take is taken off.

`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	lost, err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(2)
	case lost > 0:
		os.Exit(1)
	}
}

// run sends the load that args ask for and returns how many requests were lost.
func run(ctx context.Context, args []string, out, errs io.Writer) (lost int64, err error) {
	c := loadgen.Default("http://127.0.0.1:8080/")
	flags := flag.NewFlagSet("load", flag.ContinueOnError)
	flags.SetOutput(errs)
	flags.Usage = func() {
		fmt.Fprint(errs, usage)
		flags.PrintDefaults()
	}
	flags.StringVar(&c.Host, "host", "", "`name` in the Host header (default: the URL's)")
	flags.Float64Var(&c.Rate, "rate", c.Rate, "requests per second")
	flags.IntVar(&c.Clients, "clients", c.Clients, "clients, each with one kept connection; at most so many requests run at a time")
	flags.Float64Var(&c.Fresh, "fresh", c.Fresh, "share of requests on a connection of their own, 0 to 1")
	flags.Float64Var(&c.Post, "post", c.Post, "share of POSTs, 0 to 1")
	flags.BoolVar(&c.FreshPosts, "fresh-posts", c.FreshPosts, "every POST on a connection of its own")
	flags.Float64Var(&c.Slow, "slow", c.Slow, "share of slow requests, 0 to 1")
	flags.DurationVar(&c.SlowFor, "slow-for", c.SlowFor, "what a slow request is asked to take")
	flags.IntVar(&c.Rare, "rare", c.Rare, "clients besides --clients that use their kept connection rarely; they add to --rate")
	flags.DurationVar(&c.RareEvery, "rare-every", c.RareEvery, "how often they use it, about")
	flags.BoolVar(&c.Blind, "blind", c.Blind, "do not look whether a kept connection was closed before using it")
	flags.DurationVar(&c.Timeout, "timeout", c.Timeout, "of one request")
	flags.BoolVar(&c.Retry, "retry", c.Retry, "send a GET once more when a kept connection closes without an answer")
	flags.Uint64Var(&c.Seed, "seed", c.Seed, "the same seed draws the same requests")
	duration := flags.Duration("duration", 10*time.Second, "how long to send; 0: until Ctrl-C")
	every := flags.Duration("every", time.Second, "how often to say how it goes; 0: only at the end")
	if err := flags.Parse(args); err != nil {
		return 0, err
	}
	switch flags.NArg() {
	case 0:
	case 1:
		c.URL = flags.Arg(0)
	default:
		return 0, fmt.Errorf("one URL at most, got %q; flags come before it", flags.Args())
	}
	load, err := loadgen.New(c)
	if err != nil {
		return 0, err
	}

	if *duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, *duration)
		defer cancel()
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		load.Run(ctx)
	}()
	follow(load, *every, done, out)
	r := load.Snapshot()
	r.Print(out)
	return r.Lost(), nil
}

// follow says how it goes, one line each time, until the load is done.
func follow(load *loadgen.Load, every time.Duration, done <-chan struct{}, out io.Writer) {
	if every <= 0 {
		<-done
		return
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	before := load.Snapshot()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
			now := load.Snapshot()
			lately := now.Since(&before)
			fmt.Fprintf(out, "%4.0f s  %s  %s\n", now.Took.Seconds(), lately.String(), loadgen.Spread(lately.Instances))
			before = now
		}
	}
}
