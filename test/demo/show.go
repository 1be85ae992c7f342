package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"rollcall/test/loadgen"
)

// show is the story: three containers, a fourth, one killed, all replaced.
func (d *demo) show(ctx context.Context) error {
	began := time.Now()
	running, err := d.three(ctx)
	if err != nil {
		return err
	}
	if err := d.table(ctx); err != nil {
		return err
	}
	r, err := d.underLoad(ctx, somePosts, func(ctx context.Context, load *loadgen.Load) error {
		if err := d.spread(ctx, load, running); err != nil {
			return err
		}
		c, err := d.join(ctx, load)
		running = append(running, c)
		return err
	})
	if err != nil {
		return err
	}
	d.tell.end(r.Lost() == 0, "all the while: %s", &r)

	if running, err = d.kill(ctx, running); err != nil {
		return err
	}
	if err := d.replaceAll(ctx, running); err != nil {
		return err
	}
	if err := d.table(ctx); err != nil {
		return err
	}
	return d.costs(time.Since(began))
}

// three starts the first containers and waits until clients are sent to them.
func (d *demo) three(ctx context.Context) ([]*container, error) {
	d.tell.begin("starting three containers")
	var running []*container
	for range 3 {
		c, err := d.startContainer(ctx, "v1")
		if err != nil {
			return nil, err
		}
		running = append(running, c)
	}
	for _, c := range running {
		if err := d.routed(ctx, c); err != nil {
			return nil, err
		}
	}
	d.tell.end(true, "three containers run on random ports, and %s routes to them", d.proxy)
	return running, nil
}

// table shows what announce says.
func (d *demo) table(ctx context.Context) error {
	out, err := d.ask(ctx, "list")
	if err != nil {
		return err
	}
	d.tell.block(out)
	return nil
}

// spread shows that clients are sent to all containers alike.
func (d *demo) spread(ctx context.Context, load *loadgen.Load, running []*container) error {
	d.tell.begin("sending requests")
	if err := pause(ctx, 2*time.Second); err != nil {
		return err
	}
	r := load.Snapshot()
	for _, c := range running {
		fair := float64(r.Sent()) / float64(len(running))
		if got := r.Instances[c.name]; float64(got) < fair*.6 || float64(got) > fair*1.4 {
			return fmt.Errorf("%s answered %d of %d requests: spread over %s", c.short, got, r.Sent(), d.spreadOf(&r))
		}
	}
	d.tell.end(true, "%d requests were spread over the three: %s", r.Sent(), d.spreadOf(&r))
	return nil
}

// join starts one more container and waits until it answers clients.
func (d *demo) join(ctx context.Context, load *loadgen.Load) (*container, error) {
	d.tell.begin("starting a fourth container")
	c, err := d.startContainer(ctx, "v1")
	if err != nil {
		return nil, err
	}
	started := time.Now()
	err = poll(ctx, 10*time.Second, c.short+" answers clients", func(context.Context) (bool, error) {
		r := load.Snapshot()
		return r.Instances[c.name] > 0, nil
	})
	if err != nil {
		return nil, err
	}
	took := time.Since(started)
	if err := d.routed(ctx, c); err != nil {
		return nil, err
	}
	before := load.Snapshot()
	if err := pause(ctx, time.Second); err != nil {
		return nil, err
	}
	now := load.Snapshot()
	lately := now.Since(&before)
	d.tell.end(true, "a fourth, %s, answered clients %d ms after docker run had returned: %s", c.short, took.Milliseconds(), d.spreadOf(&lately))
	return c, nil
}

// kill ends one container without a warning, under requests that may be sent again.
func (d *demo) kill(ctx context.Context, running []*container) ([]*container, error) {
	victim, rest := running[1], slices.Delete(slices.Clone(running), 1, 2)
	d.tell.begin("killing %s", victim.short)
	var gone time.Duration
	r, err := d.underLoad(ctx, noPosts, func(ctx context.Context, _ *loadgen.Load) error {
		// It looks before the kill: the proof of an end needs somebody who has seen it.
		proven := make(chan error, 1)
		go func() {
			_, err := d.ask(ctx, "wait", service+"/"+victim.instance, "--gone", "--timeout", "15s")
			proven <- err
		}()
		if err := pause(ctx, time.Second); err != nil {
			return errors.Join(err, <-proven)
		}
		killed := time.Now()
		_, err := docker(ctx, "kill", victim.name)
		if err := errors.Join(err, <-proven); err != nil {
			return err
		}
		gone = time.Since(killed)
		return pause(ctx, time.Second)
	})
	if err != nil {
		return nil, err
	}
	d.tell.end(r.Lost() == 0, "%s was killed, and out of %s %d ms later: %s", victim.short, d.proxy, gone.Milliseconds(), &r)
	return rest, nil
}

// replaceAll puts a v2 in the place of every v1, one after the other, as a rolling
// deployment does: the new one first, and the old one stopped only when no balancer
// sends it anything any more.
func (d *demo) replaceAll(ctx context.Context, running []*container) error {
	var after loadgen.Result
	r, err := d.underLoad(ctx, somePosts, func(ctx context.Context, load *loadgen.Load) error {
		for _, old := range running {
			if err := d.replace(ctx, old); err != nil {
				return err
			}
		}
		d.tell.begin("looking who answers")
		before := load.Snapshot()
		if err := pause(ctx, time.Second); err != nil {
			return err
		}
		now := load.Snapshot()
		after = now.Since(&before)
		return nil
	})
	if err != nil {
		return err
	}
	if after.Versions["v2"] == 0 || len(after.Versions) != 1 {
		return fmt.Errorf("after the replacement %s answer, want v2 alone", loadgen.Spread(after.Versions))
	}
	d.tell.end(r.Lost() == 0, "all are v2 now; during the replacement: %s", &r)
	return nil
}

func (d *demo) replace(ctx context.Context, old *container) error {
	d.tell.begin("replacing %s", old.short)
	c, err := d.startContainer(ctx, "v2")
	if err != nil {
		return err
	}
	started := time.Now()
	if err := d.routed(ctx, c); err != nil {
		return err
	}
	routed := time.Now()
	if _, err := d.ask(ctx, "drain", service+"/"+old.instance, "--timeout", "15s"); err != nil {
		return err
	}
	drained := time.Now()
	if _, err := docker(ctx, "stop", "-t", "5", old.name); err != nil {
		return err
	}
	if _, err := docker(ctx, "rm", old.name); err != nil {
		return err
	}
	d.tell.end(true, "%s (%s) replaced by %s (%s): new one routed after %d ms, old one drained after %d ms, then stopped",
		old.short, old.version, c.short, c.version, routed.Sub(started).Milliseconds(), drained.Sub(routed).Milliseconds())
	return nil
}

// routed finds the container's record and waits until every balancer routes to it.
func (d *demo) routed(ctx context.Context, c *container) error {
	err := poll(ctx, 10*time.Second, c.short+" is announced", func(ctx context.Context) (bool, error) {
		out, err := d.ask(ctx, "list", service, "--output", "json")
		if err != nil {
			return false, err
		}
		c.instance, err = instanceOf(out, c.id)
		return c.instance != "", err
	})
	if err != nil {
		return err
	}
	_, err = d.ask(ctx, "wait", service+"/"+c.instance, "--routed", "--timeout", "10s")
	return err
}

// instanceOf finds the instance of a container in what announce list printed.
func instanceOf(list, container string) (string, error) {
	var rows []struct{ Instance, Container string }
	if err := json.Unmarshal([]byte(list), &rows); err != nil {
		return "", fmt.Errorf("read announce list: %w", err)
	}
	for _, r := range rows {
		if r.Container != "" && strings.HasPrefix(container, r.Container) {
			return r.Instance, nil
		}
	}
	return "", nil
}

// ask runs announce as a person would, while the other announce goes on.
func (d *demo) ask(ctx context.Context, args ...string) (string, error) {
	return command(ctx, filepath.Join(d.bin, "announce"), append(args, "--endpoints", d.endpoints)...)
}

// spreadOf tells who answered, by the names that the demo uses.
func (d *demo) spreadOf(r *loadgen.Result) string {
	return strings.ReplaceAll(loadgen.Spread(r.Instances), "-"+d.tag, "")
}

// costs tells what the two programs used for all this.
func (d *demo) costs(took time.Duration) error {
	var parts []string
	for _, p := range []*process{d.announce, d.render} {
		kb, cpu, err := p.cost()
		if err != nil {
			return fmt.Errorf("measure %s: %w", p.name, err)
		}
		parts = append(parts, fmt.Sprintf("%s used %d MB at most and %.1f s of CPU", p.name, kb/1024, cpu.Seconds()))
	}
	d.tell.say("  in %.0f s %s (with the embedded etcd)", took.Seconds(), strings.Join(parts, ", "))
	return nil
}
