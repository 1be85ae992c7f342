package machines_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"rollcall/test/machines"
)

// A step is something that is done to the cluster while users send requests.
type step struct {
	name string
	do   func(ctx context.Context, c *machines.Cluster) error
	// gone are applications that are not there after it; all others are.
	gone []int
	// reborn are those whose records it deletes. Every other record stays, with its lease.
	reborn []int
	// late: it returns before all balancers have proven that they follow.
	late bool
}

// playAll does steps one after the other under one load. Each is blamed for what was lost by its
// end, and all together for what was in flight then.
func playAll(t *testing.T, c *machines.Cluster, steps []step, also ...string) {
	t.Helper()
	load := send(t, c)
	for _, s := range steps {
		t.Run(s.name, func(t *testing.T) { s.play(t, c, load, also) })
	}
	load.nothingLost()
}

// play does a step under load and checks all that stands in it, and that no request is lost.
func (s *step) play(t *testing.T, c *machines.Cluster, load *traffic, also []string) {
	t.Helper()
	births, lost := birthsOf(t, c), load.lost()
	if err := s.do(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	want := append(slices.Clone(also), everybody(c, s.gone...)...)
	right := func() error { return c.Serves(t.Context(), machines.Service, want, c.Machines) }
	var err error
	if s.late {
		err = machines.Poll(t.Context(), s.name+" is over", right)
	} else {
		err = right()
	}
	if err == nil {
		err = load.flowing(t.Context())
	}
	if err != nil {
		t.Error(err)
	}
	if now := load.lost(); !slices.Equal(now, lost) {
		t.Errorf("behind %v %v requests were lost before and %v are now", load.kinds, lost, now)
	}
	unborn(t, c, births, s.reborn...)
}

func birthsOf(t *testing.T, c *machines.Cluster) map[string]int64 {
	t.Helper()
	births, err := c.Births(t.Context(), machines.Service)
	if err != nil {
		t.Fatal(err)
	}
	return births
}

// unborn fails the test if a record was deleted since, whether or not it is there again. Those of
// some applications have to have been.
func unborn(t *testing.T, c *machines.Cluster, before map[string]int64, but ...int) {
	t.Helper()
	after := birthsOf(t, c)
	for name, revision := range before {
		if slices.ContainsFunc(but, func(a int) bool { return c.Instance(a) == name }) {
			if after[name] == revision {
				t.Errorf("the record of %s, of revision %d, was not deleted", name, revision)
			}
			continue
		}
		if after[name] != revision {
			t.Errorf("the record of %s, of revision %d, was deleted; the one of today is of revision %d", name, revision, after[name])
		}
	}
}

// systemctl gives a step's deed: one command of systemctl on the machine of an application.
func systemctl(application int, args ...string) func(context.Context, *machines.Cluster) error {
	return func(ctx context.Context, c *machines.Cluster) error {
		_, err := c.Home(application).Systemctl(ctx, args...)
		return err
	}
}

// What an operator does to the units in the course of a day costs nobody a request, and when
// systemctl has returned, it is done.
func TestPlannedSteps(t *testing.T) {
	c := good(t)
	abrupt(t, c, 1)
	abrupt(t, c, 3)
	playAll(t, c, []step{
		{name: "stop", do: stopAndLook, gone: []int{1}, reborn: []int{1}},
		{name: "start", do: systemctl(1, "start", machines.Web(1), machines.Sidekick(1)), reborn: []int{1}},
		{name: "restart", do: systemctl(3, "restart", machines.Web(3)), reborn: []int{3}, late: true},
		{name: "restart of a sidekick", do: restartSidekick, reborn: []int{5}},
		{name: "restart of the renderers", do: restartRenderers},
	})
}

// abrupt has an application killed when it is stopped: one that finishes its requests would hide
// that it was still sent some.
func abrupt(t *testing.T, c *machines.Cluster, application int) {
	t.Helper()
	m, dir := c.Home(application), "/etc/systemd/system/"+machines.Web(application)+".d"
	kill := fmt.Sprintf("[Service]\nExecStop=\nExecStop=/usr/bin/docker kill %s\n", machines.Container(application))
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		_, removed := m.Run(ctx, "rm", "-r", dir)
		_, reloaded := m.Systemctl(ctx, "daemon-reload")
		if err := errors.Join(removed, reloaded); err != nil {
			t.Error(err)
		}
	})
	if err := m.Write(t.Context(), dir+"/abrupt.conf", "644", kill); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Systemctl(t.Context(), "daemon-reload"); err != nil {
		t.Fatal(err)
	}
}

// stopAndLook stops an application; its sidekick is stopped first, and its container is gone.
func stopAndLook(ctx context.Context, c *machines.Cluster) error {
	m := c.Home(1)
	if _, err := m.Systemctl(ctx, "stop", machines.Web(1)); err != nil {
		return err
	}
	state, _ := m.Run(ctx, "systemctl", "is-active", machines.Web(1), machines.Sidekick(1)) // it fails when they are not
	if got := strings.Fields(state); !slices.Equal(got, []string{"inactive", "inactive"}) {
		return fmt.Errorf("after a stop of web@1 it and its sidekick are %v, want both inactive", got)
	}
	names, err := m.Run(ctx, "docker", "ps", "--all", "--filter", "name="+machines.Container(1), "--quiet")
	if err == nil && names != "" {
		err = errors.New("its container is still there")
	}
	return err
}

// restartSidekick leaves the container alone.
func restartSidekick(ctx context.Context, c *machines.Cluster) error {
	m := c.Home(5)
	inspect := func() (string, error) {
		return m.Run(ctx, "docker", "inspect", "--format", "{{.Id}}", machines.Container(5))
	}
	before, err := inspect()
	if err != nil {
		return err
	}
	if _, err := m.Systemctl(ctx, "restart", machines.Sidekick(5)); err != nil {
		return err
	}
	after, err := inspect()
	if err == nil && after != before {
		err = fmt.Errorf("the container was %s and is %s now", before, after)
	}
	return err
}

func restartRenderers(ctx context.Context, c *machines.Cluster) error {
	for _, kind := range machines.Proxies() {
		if _, err := c.Proxy(kind).Systemctl(ctx, "restart", machines.RenderUnit(kind)); err != nil {
			return err
		}
	}
	return nil
}
