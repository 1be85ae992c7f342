package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"rollcall/test/loadgen"
	"rollcall/test/machines"
	"rollcall/test/proof/deploy"
)

// A part of the run, and what came of it. Lists are in the order of machines.Proxies.
type part struct {
	took         time.Duration
	clients      []loadgen.Result
	servers      []deeds
	replacements []time.Duration // how long each took
	confirmed    int             // withdrawals that every proxy has confirmed
}

// A proof is everything that is found out.
type proof struct {
	options
	began    time.Time
	facts    facts
	rest     *part
	deploys  *part
	abruptly *part // nobody waits there; nil if it was not asked for
	lost     int64 // where nothing may be: from the first request to the last answer of the deploys
}

// A run is what the parts have in common.
type run struct {
	options
	cluster *machines.Cluster
	rolling *deploy.Rolling
	log     io.Writer
}

// prove plays one part after the other.
func (r *run) prove(ctx context.Context) (*proof, error) {
	p := &proof{options: r.options, began: time.Now()}
	var err error
	if p.facts, err = look(ctx, r.cluster); err != nil {
		return nil, err
	}
	if err := stopByKill(ctx, r.cluster); err != nil {
		return nil, err
	}
	c, err := send(ctx, r.cluster, r.rate)
	if err != nil {
		return nil, err
	}
	defer c.end()
	r.say("clients send; at rest for %v", r.rest)
	if p.rest, err = r.play(ctx, c, func(*part) error { return pause(ctx, r.rest) }); err != nil {
		return nil, err
	}
	if p.deploys, err = r.play(ctx, c, func(d *part) error { return r.deploy(ctx, c, d) }); err != nil {
		return nil, err
	}
	p.lost = lost(c.counted())
	if n := len(p.deploys.replacements); p.deploys.confirmed < n {
		return nil, fmt.Errorf("of %d withdrawals only %d were confirmed by every proxy; %d requests were lost", n, p.deploys.confirmed, p.lost)
	}
	if r.abrupt > 0 {
		p.abruptly, err = r.compare(ctx)
	}
	return p, err
}

// play takes the measures of a part: what clients and servers have done meanwhile.
func (r *run) play(ctx context.Context, c *clients, do func(*part) error) (*part, error) {
	p := &part{}
	was, err := all(ctx, r.cluster)
	if err != nil {
		return nil, err
	}
	confirmed, err := confirmations(ctx, r.cluster)
	if err != nil {
		return nil, err
	}
	before, began := c.counted(), time.Now()
	if err := do(p); err != nil {
		return nil, err
	}
	p.took, p.clients = time.Since(began), c.since(before)
	if p.servers, err = all(ctx, r.cluster); err != nil {
		return nil, err
	}
	for i := range p.servers {
		p.servers[i].subtract(was[i])
	}
	now, err := confirmations(ctx, r.cluster)
	p.confirmed = now - confirmed
	return p, err
}

// deploy replaces one container after the other until there were as many as was asked for, and
// as many requests meanwhile, and waits for the last answers.
func (r *run) deploy(ctx context.Context, c *clients, p *part) error {
	before := c.counted()
	for len(p.replacements) < r.replacements || c.sent(before) < r.requests {
		took, err := r.rolling.Next(ctx)
		if err != nil {
			return err
		}
		p.replacements = append(p.replacements, took)
		if n := len(p.replacements); n%r.cluster.Applications() == 0 {
			r.say("%d replacements, the last in %v; %d requests through each proxy, %d lost",
				n, took.Round(time.Millisecond), c.sent(before), lost(c.since(before)))
		}
	}
	c.end()
	return nil
}

// compare replaces containers as long as it is to, abruptly, while other clients send the same.
func (r *run) compare(ctx context.Context) (*part, error) {
	c, err := send(ctx, r.cluster, r.rate)
	if err != nil {
		return nil, err
	}
	defer c.end()
	r.say("for comparison: %d containers are replaced while nobody waits", r.abrupt)
	return r.play(ctx, c, func(p *part) error {
		for range r.abrupt {
			took, err := r.rolling.NextAbruptly(ctx)
			if err != nil {
				return err
			}
			p.replacements = append(p.replacements, took)
		}
		c.end()
		return nil
	})
}

// stopByKill has containers killed once their sidekicks have stopped: one that finishes its
// requests would hide that it was still sent some.
func stopByKill(ctx context.Context, cluster *machines.Cluster) error {
	const kill = "[Service]\nExecStop=\nExecStop=/usr/bin/docker kill %p-%i\n"
	for _, m := range cluster.Machines {
		if err := m.Write(ctx, "/etc/systemd/system/web@.service.d/kill.conf", "644", kill); err != nil {
			return err
		}
		if _, err := m.Systemctl(ctx, "daemon-reload"); err != nil {
			return err
		}
	}
	return nil
}

// pause lets time pass.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (r *run) say(format string, args ...any) {
	fmt.Fprintf(r.log, "%s proof: %s\n", time.Now().Format("15:04:05"), fmt.Sprintf(format, args...))
}
