package machines_test

import (
	"context"
	"fmt"
	"testing"

	"rollcall/test/machines"
)

// Programs of rollcall are killed in the middle of their work: no user notices, no record
// goes, and all return by themselves.
func TestKilledPrograms(t *testing.T) {
	c := good(t)
	playAll(t, c, []step{
		{name: "sidekick", do: killUnit(1, machines.Sidekick(1)), late: true},
		{name: "renderers", do: killRenderers, late: true},
		{name: "the renderers follow", do: systemctl(2, "restart", machines.Sidekick(2)), reborn: []int{2}},
	})
}

func killRenderers(ctx context.Context, c *machines.Cluster) error {
	for _, kind := range machines.Proxies() {
		if err := killed(ctx, c.Proxy(kind), machines.RenderUnit(kind)); err != nil {
			return err
		}
	}
	return nil
}

// killUnit kills the main process of a unit, on the machine of an application, and waits for the
// next one.
func killUnit(application int, unit string) func(context.Context, *machines.Cluster) error {
	return func(ctx context.Context, c *machines.Cluster) error {
		return killed(ctx, c.Home(application), unit)
	}
}

func killed(ctx context.Context, m *machines.Machine, unit string) error {
	return replaced(ctx, m, unit, func() error { return m.ProcessKill(ctx, unit) })
}

// replaced does away with the main process of a unit and waits until another is ready.
func replaced(ctx context.Context, m *machines.Machine, unit string, away func() error) error {
	process := func() (string, error) { return m.Systemctl(ctx, "show", "--property=MainPID", "--value", unit) }
	before, err := process()
	if err != nil {
		return err
	}
	if before == "0" {
		return fmt.Errorf("%s has no process", unit)
	}
	if err := away(); err != nil {
		return err
	}
	return machines.Poll(ctx, unit+" is active again", func() error {
		after, err := process()
		if err != nil {
			return err
		}
		if after == before || after == "0" {
			return fmt.Errorf("its process was %s and is %s", before, after)
		}
		_, err = m.Run(ctx, "systemctl", "is-active", "--quiet", unit)
		return err
	})
}

// A container is killed: of what users send afterwards nothing is lost, and of what was being
// answered in it only what may not be sent twice.
func TestKilledContainer(t *testing.T) {
	c := good(t)
	const victim = 4
	births := birthsOf(t, c)
	m, name := c.Home(victim), c.Instance(victim)
	load := send(t, c)
	pid, err := m.Run(t.Context(), "docker", "inspect", "--format", "{{.State.Pid}}", machines.Container(victim))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Run(t.Context(), "kill", "-9", pid); err != nil {
		t.Fatal(err)
	}
	err = machines.Poll(t.Context(), name+" is back", func() error {
		if now := birthsOf(t, c); now[name] == 0 || now[name] == births[name] {
			return fmt.Errorf("its record was of revision %d and is of %d", births[name], now[name])
		}
		return c.Serves(t.Context(), machines.Service, everybody(c), c.Machines)
	})
	if err != nil {
		t.Error(err)
	}
	load.flows()
	for kind, r := range load.end() {
		// Some three of the slow ones run in each container at any time, and hardly any other.
		const running = 15
		gets := int64(0)
		if kind == "apache" { // it never sends a request again that it has sent once
			gets = running
		}
		if r.LostGets() > gets || r.LostPosts() > running {
			r.Print(t.Output())
			t.Errorf("behind %s %d GETs and %d POSTs are lost, want at most %d and %d", kind, r.LostGets(), r.LostPosts(), gets, running)
		}
	}
	unborn(t, c, births, victim)
}

// Each web server is killed: what was in it is lost, and what comes before it is back. It comes
// back as it was, and the others have noticed nothing.
func TestKilledProxies(t *testing.T) {
	c := good(t)
	births := birthsOf(t, c)
	load := send(t, c)
	lost := load.lost()
	for i, kind := range machines.Proxies() {
		if err := killed(t.Context(), c.Proxy(kind), machines.ProxyUnit(kind)); err != nil {
			t.Fatal(err)
		}
		settle(t, c, "after a kill of "+kind)
		load.flows()
		now := load.lost()
		const most = 300 // a second and a half of everything
		lost[i] += most
		for j, other := range machines.Proxies() {
			if now[j] > lost[j] {
				t.Errorf("after a kill of %s %d requests are lost behind %s, want at most %d", kind, now[j], other, lost[j])
			}
		}
		lost = now
	}
	load.end()
	unborn(t, c, births)
	again := send(t, c)
	again.nothingLost()
}
