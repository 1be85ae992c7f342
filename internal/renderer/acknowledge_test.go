package renderer

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"rollcall/internal/discovery"
	"rollcall/internal/reload"
)

func kept(i *discovery.Instance) { i.Held = true }

func TestHeldInstancesAreServedAndNamed(t *testing.T) {
	running(t, func(t *testing.T, g *rig) {
		for n := range int64(3) {
			g.offer(catalog(n+1, member("web/1", "10.0.0.1", 80), member("web/2", "10.0.0.2", 80, kept), member("web/3", "no.such.host", 80, kept)))
			after(time.Minute)
		}
		if got := g.content(); !strings.Contains(got, "web: 10.0.0.1:80 10.0.0.2:80\n") {
			t.Errorf("got %q, want both servers", got)
		}
		if a, s := g.ack(), g.Status(); !slices.Equal(a.Held, []string{"web/2", "web/3"}) || !slices.Equal(s.Held, a.Held) || a.Drained != 3 {
			t.Errorf("acknowledged %+v, want web/2 held, and web/3, whose name may resolve yet", a)
		}
		if got := g.logged("although their records are gone"); got != 1 {
			t.Errorf("logged %d times, want once", got)
		}
	})
}

// To be let go is no event in etcd: what proves it is that the name is not given any more.
func TestWhoIsLetGoIsHeldUntilOldWorkersAreGone(t *testing.T) {
	running(t, func(t *testing.T, g *rig) {
		release := make(chan struct{})
		g.offer(catalog(1, member("web/1", "10.0.0.1", 80), member("web/2", "10.0.0.2", 80, kept)))
		after(time.Minute)
		g.set(func(g *rig) { g.old = held(release) })
		g.offer(catalog(1, member("web/1", "10.0.0.1", 80)))
		after(time.Minute)
		if got := g.content(); !strings.Contains(got, "web: 10.0.0.1:80\n") {
			t.Errorf("got %q, want one server", got)
		}
		if a, s := g.ack(), g.Status(); !slices.Equal(a.Held, []string{"web/2"}) || len(s.Held) > 0 {
			t.Errorf("acknowledged %q, and shown %q, while an old worker may be busy with it", a.Held, s.Held)
		}
		close(release)
		after(0)
		if a := g.ack(); len(a.Held) > 0 || a.Applied != 1 || a.Drained != 1 {
			t.Errorf("acknowledged %+v when the old worker is gone", a)
		}
	})
}

// Whoever is mourned is not routed to, and may be again: that is no proof, and no reload.
func TestMournedInstancesAreNamedUntilTheyAreProvenGone(t *testing.T) {
	running(t, func(t *testing.T, g *rig) {
		names := func(when string, revision int64, held ...string) {
			t.Helper()
			if a := g.ack(); a.Drained != revision || !slices.Equal(a.Held, held) {
				t.Errorf("%s: drained %d, held %q; want %d, %q", when, a.Drained, a.Held, revision, held)
			}
		}
		g.offer(catalog(1, member("web/1", "10.0.0.1", 80), member("web/2", "10.0.0.2", 80)))
		after(time.Second)
		mourning := catalog(2, member("web/1", "10.0.0.1", 80))
		mourning.Mourned = []string{"web/2"}
		g.offer(mourning)
		after(time.Second)
		names("lost", 2, "web/2")
		if s := g.Status(); len(s.Held) > 0 || s.Reloads != 2 {
			t.Errorf("shown %q held, %d reloads; want nobody, who is not routed to, and 2", s.Held, s.Reloads)
		}
		applies := g.applies()
		acquitted := *mourning
		acquitted.Mourned = nil
		g.offer(&acquitted)
		after(time.Second)
		names("found to be deleted", 2)
		if got := g.applies(); got != applies {
			t.Errorf("applied %d times for what changes nothing", got-applies)
		}

		g.offer(mourning)
		after(0)
		g.set(func(g *rig) { g.fail = errors.New("no server") })
		g.offer(catalog(2, member("web/1", "10.0.0.1", 80), member("web/2", "10.0.0.2", 80, kept)))
		after(time.Second)
		names("to be served again", 2, "web/2")
		g.set(func(g *rig) { g.fail = nil })
		after(time.Minute)
		names("served again", 2, "web/2")
		if !strings.Contains(g.content(), "10.0.0.2:80") {
			t.Errorf("%q is served", g.content())
		}
	})
}

func TestHeldIsBoundedAndSaysSo(t *testing.T) {
	running(t, func(t *testing.T, g *rig) {
		many := func(held int) (list []*discovery.Instance) {
			for n := range 3000 {
				i := member(fmt.Sprintf("web/instance-%05d", n), "10.0.0.1", uint16(n+1))
				i.Held = n < held
				list = append(list, i)
			}
			return list
		}
		for n, held := range []int{500, 3000, 0} {
			g.offer(catalog(int64(n+1), many(held)...))
			after(time.Second)
			a := g.ack()
			text, err := a.Encode()
			if err != nil || len(text) > 64<<10 {
				t.Errorf("%d bytes, %v: want what readers accept", len(text), err)
			}
			if all := len(a.Held) == held; a.MoreHeld == all || a.MoreHeld != (held > 1000) || len(g.Status().Held) != held || a.Applied != int64(n+1) {
				t.Errorf("%d of %d are named at %d, more: %v", len(a.Held), held, a.Applied, a.MoreHeld)
			}
		}
	})
}

func TestStaleCatalogIsServedAndNotAcknowledged(t *testing.T) {
	running(t, func(t *testing.T, g *rig) {
		c := catalog(100, member("web/1", "10.0.0.1", 80))
		c.Stale = true
		g.offer(c)
		after(time.Minute)
		if len(g.acks) > 0 || !strings.Contains(g.content(), "10.0.0.1:80") || !g.Status().Stale || g.Ready() != nil {
			t.Errorf("acknowledged %+v, want service and no word", g.acks)
		}
		g.set(func(g *rig) { g.fail = reload.ErrNotRunning })
		after(time.Minute)
		if len(g.acks) > 0 || g.Ready() == nil {
			t.Errorf("acknowledged %+v, want no word of trouble either", g.acks)
		}
		g.set(func(g *rig) { g.fail = nil })
		g.offer(catalog(50, member("web/1", "10.0.0.2", 80))) // another history than the cache's
		after(time.Second)
		if a := g.ack(); a.Applied != 50 || a.Drained != 50 || g.Status().Stale {
			t.Errorf("acknowledged %+v, want revision 50", a)
		}
	})
}

// What a killed render left in place may be newer than the cache.
func TestStaleCatalogReplacesNothing(t *testing.T) {
	running(t, func(t *testing.T, g *rig) {
		const left = "# left by an earlier run\n"
		if err := os.WriteFile(g.output, []byte(left), 0o600); err != nil {
			t.Fatal(err)
		}
		c := catalog(100, member("web/1", "10.0.0.1", 80))
		c.Stale = true
		g.offer(c)
		after(time.Minute)
		if s := g.Status(); g.content() != left || g.applies() != 0 || !s.Stale || s.Desired.Revision != 0 {
			t.Errorf("%q is in place, %d applied, status %+v; want what was left", g.content(), g.applies(), s)
		}
		if got := g.logged("what an earlier run left stays"); got != 1 {
			t.Errorf("said %d times, want once", got)
		}
		g.offer(catalog(101, member("web/1", "10.0.0.2", 80)))
		after(time.Second)
		if a := g.ack(); a.Applied != 101 || !strings.Contains(g.content(), "10.0.0.2:80") {
			t.Errorf("acknowledged %+v with %q in place", a, g.content())
		}
	})
}

// … but where files are missing, or empty, there is nothing to lose.
func TestStaleCatalogIsServedWhereAFileIsEmpty(t *testing.T) {
	running(t, func(t *testing.T, g *rig) {
		if err := os.WriteFile(g.output, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		c := catalog(100, member("web/1", "10.0.0.1", 80))
		c.Stale = true
		g.offer(c)
		after(time.Second)
		if !strings.Contains(g.content(), "10.0.0.1:80") {
			t.Errorf("%q is in place", g.content())
		}
	})
}

// What the workers of an earlier run are busy with, nobody knows any more.
func TestNothingIsGoneBeforeAnythingIsDrained(t *testing.T) {
	running(t, func(t *testing.T, g *rig) {
		release := make(chan struct{})
		g.set(func(g *rig) { g.old, g.fail = held(release), errors.New("no server") })
		g.offer(catalog(3, member("web/1", "10.0.0.1", 80)))
		after(time.Second)
		if a := g.ack(); a.Healthy || !a.Holds("web/2") {
			t.Errorf("acknowledged %+v, while what is served is what an earlier run left", a)
		}
		g.set(func(g *rig) { g.fail = nil })
		after(time.Minute)
		if a := g.ack(); a.Applied != 3 || !a.Holds("web/2") {
			t.Errorf("acknowledged %+v, while a worker of an earlier run is left", a)
		}
		close(release)
		after(0)
		if a := g.ack(); a.Drained != 3 || a.Holds("web/2") {
			t.Errorf("acknowledged %+v, want nothing held", a)
		}
	})
}
