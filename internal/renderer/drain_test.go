package renderer

import (
	"context"
	"testing"
	"time"

	"rollcall/internal/reload"
)

// held are workers that are gone when release is closed.
func held(release chan struct{}) reload.Workers {
	return workers{wait: func(ctx context.Context) error {
		select {
		case <-release:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}}
}

func TestDrainedAfterTheOldWorkers(t *testing.T) {
	running(t, func(t *testing.T, g *rig) {
		release := make(chan struct{})
		waits := 0
		g.set(func(g *rig) {
			g.old = workers{wait: func(ctx context.Context) error {
				waits++
				return held(release).Wait(ctx)
			}}
		})
		g.offer(catalog(1, member("web/1", "10.0.0.1", 80)))
		after(time.Hour)
		if a := g.ack(); a.Applied != 1 || a.Drained != 0 {
			t.Errorf("applied %d, drained %d, want 1 and 0", a.Applied, a.Drained)
		}
		if waits != 1 {
			t.Errorf("%d waits for one revision, want 1", waits)
		}
		close(release)
		after(0)
		if a, s := g.ack(), g.Status(); a.Drained != 1 || s.Drained != 1 {
			t.Errorf("drained %d, in the status %d, want 1", a.Drained, s.Drained)
		}
	})
}

func TestWaitThatNeverEndsHoldsUpNothing(t *testing.T) {
	running(t, func(t *testing.T, g *rig) {
		never := make(chan struct{})
		g.set(func(g *rig) { g.old = held(never) })
		for n := range 3 * maxDraining {
			g.offer(catalog(int64(n+1), member("web/1", "10.0.0.1", uint16(n+1))))
			after(5 * time.Second)
			if a := g.ack(); a.Applied != int64(n+1) || a.Drained != 0 {
				t.Fatalf("applied %d, drained %d, want %d and 0", a.Applied, a.Drained, n+1)
			}
		}
		if got := len(g.draining); got != maxDraining {
			t.Errorf("%d waits, want %d", got, maxDraining)
		}
		close(never)
		after(checkInterval)
		if a := g.ack(); a.Drained != 3*maxDraining {
			t.Errorf("drained %d, want %d", a.Drained, 3*maxDraining)
		}
	})
}

// A restored etcd counts on from an earlier revision: what was proven before says
// nothing about the revisions to come.
func TestRevisionGoesBack(t *testing.T) {
	running(t, func(t *testing.T, g *rig) {
		before, since := make(chan struct{}), make(chan struct{})
		g.offer(catalog(90, member("web/1", "10.0.0.1", 90)))
		after(time.Second)
		g.set(func(g *rig) { g.old = held(before) })
		g.offer(catalog(100, member("web/1", "10.0.0.1", 100)))
		after(time.Second)
		if a := g.ack(); a.Applied != 100 || a.Drained != 90 {
			t.Fatalf("applied %d, drained %d, want 100 and 90", a.Applied, a.Drained)
		}
		g.set(func(g *rig) { g.old = held(since) })
		g.offer(catalog(50, member("web/1", "10.0.0.1", 50)))
		after(time.Second)
		if a := g.ack(); a.Applied != 50 || a.Drained != 0 {
			t.Errorf("applied %d, drained %d, want 50 and 0", a.Applied, a.Drained)
		}
		g.offer(catalog(200, member("web/1", "10.0.0.1", 200)))
		after(time.Second)
		close(before) // a wait of the other history
		after(time.Second)
		if a := g.ack(); a.Applied != 200 || a.Drained != 0 {
			t.Errorf("applied %d, drained %d, want 200 and 0", a.Applied, a.Drained)
		}
		close(since)
		after(time.Second)
		if a := g.ack(); a.Drained != 200 {
			t.Errorf("drained %d, want 200", a.Drained)
		}
	})
}

func TestRevisionGoesBackAndCannotBeServed(t *testing.T) {
	running(t, func(t *testing.T, g *rig) {
		g.offer(catalog(100, member("web/1", "10.0.0.1", 100)))
		after(time.Second)
		g.set(func(g *rig) { g.fail = reload.ErrNotRunning })
		g.offer(catalog(50, member("web/1", "10.0.0.1", 50)))
		after(time.Second)
		if a := g.ack(); a.Applied != 0 || a.Drained != 0 || a.Healthy {
			t.Errorf("acknowledged %+v, want nothing proven", a)
		}
	})
}

// What was proven of another history must not be said of this one, however long it takes
// until something is served of it.
func TestRevisionGoesBackWhileSomethingIsBeingServed(t *testing.T) {
	begun, end := make(chan struct{}), make(chan struct{})
	slow := false
	running(t, func(t *testing.T, g *rig) {
		g.offer(catalog(100, member("web/1", "10.0.0.1", 100)))
		after(time.Second)
		slow = true
		g.offer(catalog(101, member("web/1", "10.0.0.1", 101)))
		<-begun
		g.offer(catalog(50, member("web/1", "10.0.0.1", 50)))
		if a := g.ack(); a.Applied != 0 || a.Drained != 0 || !a.Holds("web/2") {
			t.Errorf("acknowledged %+v at once, want nothing proven", a)
		}
		g.offer(catalog(120, member("web/1", "10.0.0.1", 120)))
		var since int
		g.set(func(g *rig) { since = len(g.acks) })
		close(end)
		after(2 * time.Second)
		for _, a := range g.acks[since:] {
			if a.Applied != 0 && a.Applied != 120 {
				t.Errorf("acknowledged %+v, want revision 120 or nothing", a)
			}
		}
		if a := g.ack(); a.Applied != 120 || a.Drained != 120 {
			t.Errorf("acknowledged %+v in the end, want revision 120", a)
		}
	}, func(cfg *Config) {
		real := cfg.Applier.(applier)
		cfg.Applier = applier{func(ctx context.Context, c reload.Candidate) (reload.Outcome, error) {
			if slow {
				slow = false
				close(begun)
				<-end
			}
			return real.apply(ctx, c)
		}, real.check}
	})
}
