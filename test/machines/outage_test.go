package machines_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"rollcall/test/machines"
)

const etcd = "etcd.service"

// outage is how long etcd is away: longer than any record lives without it. ROLLCALL_OUTAGE=10m
// makes it ten minutes.
func outage(t *testing.T) time.Duration {
	t.Helper()
	value, ok := os.LookupEnv("ROLLCALL_OUTAGE")
	if !ok {
		return ttl + 3*time.Second
	}
	d, err := time.ParseDuration(value)
	if err != nil {
		t.Fatalf("ROLLCALL_OUTAGE: %v (hint: 10m, for example)", err)
	}
	return d
}

// All of etcd is away for longer than the records' TTL. Meanwhile programs of rollcall are killed and
// restarted, and a container dies, of which nobody can tell the web servers: what was in it is all
// that is lost. Soon after etcd's return everything is as it was.
func TestEtcdGone(t *testing.T) {
	c := good(t)
	const victim = 2
	births := birthsOf(t, c)
	u := arrive(t, c, machines.Proxies()...)
	back := stopEtcd(t, c)
	over := time.NewTimer(outage(t))
	for i, m := range c.Machines {
		disturb(t, c, m, machines.RenderUnit(machines.Proxies()[i]), machines.Sidekick(2*i+1))
	}
	if _, err := c.Home(victim).Run(t.Context(), "docker", "kill", machines.Container(victim)); err != nil {
		t.Fatal(err)
	}
	killed := time.Now()
	u.flow()
	select {
	case <-over.C:
	case <-t.Context().Done():
	}
	u.flow()
	back()
	returned := time.Now()
	settle(t, c, "with etcd back")
	t.Logf("everything is as it was %.2fs after etcd's return", time.Since(returned).Seconds())
	u.flow()
	for _, toll := range u.count(killed) {
		const running = 10 // in the container, at most
		gets := int64(0)
		if toll.kind == "apache" { // it never sends a request again that it has sent once
			gets = running
		}
		if toll.late > 0 || toll.gets > gets || toll.posts > running {
			t.Errorf("%s; want at most %d GETs and %d POSTs that were in the container", toll, gets, running)
		}
	}
	unborn(t, c, births, victim)
}

// disturb kills what announces and what renders on a machine, and restarts the latter. A renderer
// that starts without etcd knows all instances from before.
func disturb(t *testing.T, c *machines.Cluster, m *machines.Machine, render, sidekick string) {
	t.Helper()
	remembered := func() error {
		s, err := rendered(t.Context(), m)
		if err == nil && (!s.Stale || s.Instances != c.Applications()) {
			err = fmt.Errorf("it says %+v", *s)
		}
		return err
	}
	_, restarted := m.Systemctl(t.Context(), "restart", "--no-block", announcer)
	err := errors.Join(restarted, m.ProcessKill(t.Context(), sidekick), m.ProcessKill(t.Context(), render))
	for range 2 {
		if err == nil {
			err = machines.Poll(t.Context(), "the renderer of "+m.Name+" remembers the instances", remembered)
		}
		if err == nil {
			_, err = m.Systemctl(t.Context(), "restart", "--no-block", render)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Etcd comes back empty: nobody is in want of what it has forgotten, and those who know tell it
// again.
func TestEtcdWiped(t *testing.T) {
	c := good(t)
	u := arrive(t, c, machines.Proxies()...)
	back := stopEtcd(t, c)
	err := everywhere(t.Context(), c, func(ctx context.Context, i int) error {
		_, err := c.Machines[i].Run(ctx, "find", "/var/lib/etcd", "-mindepth", "1", "-delete")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	back()
	returned := time.Now()
	settle(t, c, "with an empty etcd")
	t.Logf("everything is as it was %.2fs after etcd's return", time.Since(returned).Seconds())
	u.flow()
	u.nothingLost()
}

// stopEtcd stops all of it, and gives what starts it again, at the end of the test at the latest.
func stopEtcd(t *testing.T, c *machines.Cluster) (back func()) {
	t.Helper()
	systemctl := func(verb string) error {
		return everywhere(context.WithoutCancel(t.Context()), c, func(ctx context.Context, i int) error {
			_, err := c.Machines[i].Systemctl(ctx, verb, etcd)
			return err
		})
	}
	back = func() {
		if err := systemctl("start"); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(back)
	if err := systemctl("stop"); err != nil {
		t.Fatal(err)
	}
	return back
}

// everywhere does something to all machines at once.
func everywhere(ctx context.Context, c *machines.Cluster, do func(ctx context.Context, i int) error) error {
	group, ctx := errgroup.WithContext(ctx)
	for i := range c.Machines {
		group.Go(func() error { return do(ctx, i) })
	}
	return group.Wait()
}
