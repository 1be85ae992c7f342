// Package loss counts the requests that clients lose while everything behind a real
// balancer changes: members and structure, and containers that are withdrawn and killed.
// It does so to a balancer that render keeps, and, so that it is seen to be able to fail,
// to one that is reloaded plainly with every change.
//
// It runs the programs that it is given and knows them from outside only. The plain
// balancer borrows render's templates, since one with another configuration would be no
// comparison.
package loss

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"rollcall/test/loadgen"
)

// service is who clients ask for.
const service = "hello"

// Programs are what is run.
type Programs struct {
	Announce, Render string // paths
	Hello            string // path of examples/hello
	Image            string // of hello, as Docker knows it
}

// A Way is a balancer, and how changes get into it.
type Way struct {
	Proxy string   // nginx, apache or haproxy
	Flags []string // of render, besides those that it needs
	Plain bool     // reloaded with every change, by nobody's render
}

// A Plan says how much happens.
type Plan struct {
	Rate                            float64 // requests per second, besides those of rarely used connections
	Rest                            time.Duration
	Members, Structure, Withdrawals int
	Lanes                           int           // how many containers are withdrawn at a time
	MemberPace, StructurePace       time.Duration // from one change to the next, at least
}

// A Phase is a part of the load, by what happened meanwhile.
type Phase struct {
	Name    string
	Clients loadgen.Result
	Reloads int
}

// A Report is what came of it.
type Report struct {
	Phases      []Phase
	All         loadgen.Result  // from the first request to the last answer
	Withdrawals []time.Duration // from TERM to announce until its container was killed
}

// String tells of each phase in a line.
func (r *Report) String() string {
	var out strings.Builder
	for _, p := range r.Phases {
		fmt.Fprintf(&out, "%-22s %s, %d reloads\n", p.Name+":", &p.Clients, p.Reloads)
	}
	fmt.Fprintf(&out, "a withdrawal takes at most %s", slices.Max(r.Withdrawals).Round(time.Millisecond))
	return out.String()
}

// A balancer is one of the two ways to keep one.
type balancer interface {
	address() string // where clients ask
	store() *store   // where its records are
	// applied returns when what a revision has brought is in use, as far as can be known.
	applied(ctx context.Context, revision int64) error
	// drained returns when what a revision has removed may end, likewise.
	drained(ctx context.Context, revision int64) error
	// withdrawn returns when a container whose announce has ended may end, likewise.
	withdrawn(ctx context.Context) error
	// dropIn has a fragment of the operator's become part of the configuration, and
	// returns when that is loaded.
	dropIn(ctx context.Context, content string) error
	reloads() (int, error) // so far
}

// slow is what a slow request is asked to take.
const slow = 2 * time.Second

// clients are what everything is done to: of every kind, many of each.
func clients(address string, rate float64) loadgen.Config {
	return loadgen.Config{
		URL: "http://" + address + "/", Host: service, Rate: rate, Clients: 200,
		Fresh: .25, Post: .35, Slow: min(30/rate, 1), SlowFor: slow, // some 60 are running at any time
		Rare: 150, RareEvery: 2 * time.Second, Timeout: 30 * time.Second, Seed: 1,
	}
}

// A bed is all that runs.
type bed struct {
	tb       testing.TB
	programs Programs
	balancer balancer
	docker   *engine
	load     *loadgen.Load

	members []*member // those of the service that are no containers; the oldest first
	joined  int
	other   *member // of services that come and go
}

// Run does everything that is planned, one thing after the other, under load.
func Run(tb testing.TB, programs Programs, w Way, p Plan) *Report {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), 5*time.Minute)
	defer cancel()
	b := &bed{tb: tb, programs: programs}
	if err := b.prepare(ctx, w, p); err != nil {
		tb.Fatal(err)
	}
	r, err := b.play(ctx, p)
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

// prepare starts everything.
func (b *bed) prepare(ctx context.Context, w Way, p Plan) (err error) {
	if b.docker, err = newEngine(b.tb, b.programs.Image); err != nil {
		return err
	}
	if err := b.docker.start(ctx, p.Withdrawals); err != nil {
		return err
	}
	if w.Plain {
		b.balancer, err = startPlain(ctx, b.tb, w.Proxy)
	} else {
		b.balancer, err = startRollcall(ctx, b.tb, b.programs.Render, w)
	}
	if err != nil {
		return err
	}
	if b.other, err = b.startMember(ctx, "other"); err != nil {
		return err
	}
	for range 5 {
		revision, err := b.join(ctx)
		if err != nil {
			return err
		}
		if err := b.balancer.applied(ctx, revision); err != nil {
			return err
		}
	}
	if b.load, err = loadgen.New(clients(b.balancer.address(), p.Rate)); err != nil {
		return err
	}
	return poll(ctx, "the balancer answers", func() error { return answers(ctx, b.balancer.address()) })
}

// play sends the load and does one thing after the other meanwhile.
func (b *bed) play(ctx context.Context, p Plan) (*Report, error) {
	sending, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		b.load.Run(sending)
	}()
	defer func() {
		stop()
		<-done
	}()
	r := &Report{}
	for _, phase := range []struct {
		name string
		play func(context.Context) error
	}{
		{"", func(ctx context.Context) error { return pause(ctx, time.Second) }}, // connections are opened
		{"at rest", func(ctx context.Context) error { return pause(ctx, p.Rest) }},
		{fmt.Sprintf("%d member changes", p.Members), func(ctx context.Context) error { return b.changeMembers(ctx, p) }},
		{fmt.Sprintf("%d structural changes", p.Structure), func(ctx context.Context) error { return b.changeStructure(ctx, p) }},
		{fmt.Sprintf("%d withdrawals", p.Withdrawals), func(ctx context.Context) (err error) {
			r.Withdrawals, err = b.withdrawAll(ctx, p)
			return err
		}},
	} {
		before := b.load.Snapshot()
		was, err := b.balancer.reloads()
		if err != nil {
			return nil, err
		}
		if err := phase.play(ctx); err != nil {
			return nil, fmt.Errorf("%s: %w", phase.name, err)
		}
		now := b.load.Snapshot()
		is, err := b.balancer.reloads()
		if err != nil {
			return nil, err
		}
		if phase.name != "" {
			r.Phases = append(r.Phases, Phase{phase.name, now.Since(&before), is - was})
		}
	}
	stop()
	<-done
	r.All = b.load.Snapshot()
	return r, nil
}

// extension is that of a server's configuration files.
func extension(proxy string) string {
	if proxy == "haproxy" {
		return ".cfg"
	}
	return ".conf"
}
