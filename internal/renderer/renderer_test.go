package renderer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rollcall/internal/discovery"
	"rollcall/internal/reload"
)

// What a transaction writes is seen as a touch of the files; the look that follows must
// not serve what a storm has brought meanwhile.
func TestOwnWritesDoNotHurryAStorm(t *testing.T) {
	running(t, func(t *testing.T, g *rig) {
		for n := range 10_000 {
			g.offer(catalog(int64(n+1), member("web/1", "10.0.0.1", uint16(n+1))))
			<-time.After(time.Millisecond)
		}
		after(2 * time.Second)
		if got := g.applies(); got > 20 {
			t.Errorf("10,000 changes in 10 s made %d configurations, want 20 at most", got)
		}
	}, func(c *Config) {
		touched, in, by := make(chan struct{}, 1), c.Inputs.(files), c.Applier.(applier)
		c.Inputs = files{in.load, touched}
		c.Applier = applier{func(ctx context.Context, c reload.Candidate) (reload.Outcome, error) {
			out, err := by.apply(ctx, c)
			if out.Changed {
				token(touched)
			}
			<-time.After(100 * time.Millisecond)
			return out, err
		}, by.check}
	})
}

func TestStormIsBounded(t *testing.T) {
	running(t, func(t *testing.T, g *rig) {
		const changes = 10_000
		for n := range changes {
			g.offer(catalog(int64(n+1), member("web/1", "10.0.0.1", uint16(n+1))))
			if n == 0 {
				after(0)
				if got := g.applies(); got != 1 {
					t.Errorf("the first change made %d configurations at once, want 1", got)
				}
			}
			<-time.After(time.Millisecond)
		}
		after(time.Second)
		// 20, 40, … 640 ms, then one a second.
		if got := g.applies(); got < 10 || got > 20 {
			t.Errorf("%d changes in 10 s made %d configurations, want 10 to 20", changes, got)
		}
		for n := 1; n < len(g.at); n++ {
			if gap := g.at[n].Sub(g.at[n-1]); gap > 1100*time.Millisecond {
				t.Errorf("configurations %d and %d are %s apart, want a second at most", n-1, n, gap)
			}
		}
		if want := "web: 10.0.0.1:10000\n"; !strings.Contains(g.content(), want) {
			t.Errorf("got %q, want the last catalog's %q", g.content(), want)
		}
		if got := g.ack().Applied; got != changes {
			t.Errorf("applied %d, want %d", got, changes)
		}
	})
}

func TestLoneChangeIsNotDelayed(t *testing.T) {
	running(t, func(t *testing.T, g *rig) {
		g.offer(catalog(1, member("web/1", "10.0.0.1", 1)))
		after(checkInterval - 1) // the next moment is the periodic check
		after(1)
		before := g.applies()
		g.offer(catalog(2, member("web/1", "10.0.0.1", 2)))
		after(0)
		if got := g.applies(); got != before+1 {
			t.Errorf("a change after a check made %d configurations at once, want 1", got-before)
		}
	})
}

func TestFailureIsRetried(t *testing.T) {
	running(t, func(t *testing.T, g *rig) {
		refused := func(output string) error {
			return &reload.StepError{Step: reload.StepValidate, Err: errors.New("exit status 1"), Output: output}
		}
		g.set(func(g *rig) { g.fail = refused("12:00:01 unknown directive") })
		g.offer(catalog(5, member("web/1", "10.0.0.1", 80)))
		after(0)
		if a := g.ack(); a.Healthy || a.Applied != 0 || a.LastError != "validate: exit status 1" {
			t.Errorf("acknowledged %+v, want no revision and the error", a)
		}
		if err := g.Ready(); err == nil || err.Error() != "validate: exit status 1" {
			t.Errorf("Ready gives %v, want the error", err)
		}
		after(5 * time.Second)
		few := g.applies()
		if few < 3 || few > 12 {
			t.Errorf("%d attempts in 5 s, want a few", few)
		}
		g.set(func(g *rig) { g.fail = refused("12:00:09 unknown directive") }) // the same but for the time
		after(time.Minute)
		if got := g.logged("configuration is not in service"); got != 1 {
			t.Errorf("one reason is logged %d times, want once", got)
		}
		g.set(func(g *rig) { g.fail = refused("12:00:09 no such file") })
		after(time.Minute)
		if got := g.logged("configuration is not in service"); got != 2 {
			t.Errorf("two reasons are logged %d times, want twice", got)
		}

		before := g.applies()
		g.set(func(g *rig) { g.fail = nil })
		g.offer(catalog(6, member("web/1", "10.0.0.1", 81)))
		after(20 * time.Millisecond)
		if got := g.applies(); got <= before {
			t.Error("a new change waits for the retry")
		}
		if a := g.ack(); !a.Healthy || a.Applied != 6 || a.LastError != "" {
			t.Errorf("acknowledged %+v, want revision 6 and no error", a)
		}
		if err := g.Ready(); err != nil {
			t.Errorf("Ready gives %v, want nil", err)
		}
		if s := g.Status(); s.Error != "" || !s.ErrorSince.IsZero() || s.Retry != nil || s.Running.Generation != s.Desired.Generation {
			t.Errorf("status %+v still tells of the failure", s)
		}
	})
}

func TestFailureKeepsWhatServes(t *testing.T) {
	running(t, func(t *testing.T, g *rig) {
		g.offer(catalog(1, member("web/1", "10.0.0.1", 80)))
		after(0)
		applied := g.ack()
		g.set(func(g *rig) { g.fail = errors.New("no") })
		g.offer(catalog(2, member("web/1", "10.0.0.1", 81)))
		after(time.Second)
		if a := g.ack(); a.Applied != 1 || a.Generation != applied.Generation || a.Healthy {
			t.Errorf("acknowledged %+v, want what serves and its trouble", a)
		}
		s := g.Status()
		if s.Running.Revision != 1 || s.Desired.Revision != 2 || s.Error != "no" {
			t.Errorf("status %+v, want 1 running and 2 desired", s)
		}
	})
}

func TestAcknowledgedAfterApply(t *testing.T) {
	var entered, leave chan struct{} // made in the bubble
	var acks []discovery.Acknowledgement
	slow := func(cfg *Config) {
		cfg.Applier = applier{apply: func(context.Context, reload.Candidate) (reload.Outcome, error) {
			entered <- struct{}{}
			<-leave
			return reload.Outcome{Old: gone()}, nil
		}}
		cfg.Acknowledger = acknowledger{func(a discovery.Acknowledgement) { acks = append(acks, a) }}
	}
	running(t, func(t *testing.T, g *rig) {
		entered, leave = make(chan struct{}), make(chan struct{})
		g.offer(catalog(7, member("web/1", "10.0.0.1", 80)))
		<-entered
		after(time.Second)
		if s := g.Status(); s.Desired.Revision != 7 || s.Desired.Generation == "" || s.Running.Generation != "" {
			t.Errorf("status %+v, want revision 7 desired and nothing running", s)
		}
		if len(acks) != 0 {
			t.Errorf("acknowledged %+v before Apply returned", acks)
		}
		if g.Ready() == nil {
			t.Error("ready before anything is served")
		}
		close(leave)
		after(0)
		if len(acks) == 0 || acks[0].Applied != 7 || acks[0].ID != "me" || acks[0].Node != "node" || acks[0].Proxy != "nginx" {
			t.Errorf("acknowledged %+v, want revision 7", acks)
		}
	}, slow)
}

func TestRevisionThatChangesNothing(t *testing.T) {
	running(t, func(t *testing.T, g *rig) {
		g.offer(catalog(1, member("web/1", "10.0.0.1", 80)))
		after(time.Minute)
		info, err := os.Stat(g.output)
		if err != nil {
			t.Fatal(err)
		}
		content := g.content()
		g.offer(catalog(1000, member("web/1", "10.0.0.1", 80)))
		after(0)
		if a := g.ack(); a.Applied != 1000 || a.Drained != 1000 {
			t.Errorf("applied %d, drained %d, want 1000", a.Applied, a.Drained)
		}
		again, err := os.Stat(g.output)
		if err != nil || g.content() != content || !again.ModTime().Equal(info.ModTime()) {
			t.Errorf("the file changed, from %q to %q", content, g.content())
		}
		if got := g.Status().Reloads; got != 1 {
			t.Errorf("%d reloads, want 1", got)
		}
	})
}

func TestPeriodicCheckMendsTheFile(t *testing.T) {
	running(t, func(t *testing.T, g *rig) {
		g.offer(catalog(1, member("web/1", "10.0.0.1", 80)))
		after(0)
		want := g.content()
		if err := os.WriteFile(g.output, []byte("by hand\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		after(checkInterval)
		if got := g.content(); got != want {
			t.Errorf("got %q, want %q again", got, want)
		}
		g.offer(catalog(2, member("web/1", "10.0.0.1", 81)))
		after(time.Minute)
		edited := `changed by somebody else; putting it back" file=` + g.output
		if got := g.logged(edited); got != 1 {
			t.Errorf("logged %d times, want once", got)
		}

		// Also when it takes several attempts, and when it happens again.
		if err := os.WriteFile(g.output, []byte("by hand\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		g.set(func(g *rig) { g.fail = errors.New("no") })
		after(time.Minute)
		g.set(func(g *rig) { g.fail = nil })
		after(time.Minute)
		if got := g.logged(edited); got != 2 || g.content() == "by hand\n" {
			t.Errorf("logged %d times with %q on disk, want twice", got, g.content())
		}
	})
}

func TestSkippedIsBoundedAndNamed(t *testing.T) {
	running(t, func(t *testing.T, g *rig) {
		var members []*discovery.Instance
		long := strings.Repeat("x", 60) + "." + strings.Repeat("x", 60)
		for n := range 2000 {
			members = append(members, member(fmt.Sprintf("web/%s%04d", long, n), "10.0.0.1", 80, func(i *discovery.Instance) { i.Proto = "udp" }))
		}
		g.offer(catalog(1, members...))
		after(time.Minute)
		ack := g.ack()
		text, err := ack.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := discovery.DecodeAcknowledgement(ack.Key(), []byte(text)); err != nil {
			t.Errorf("nobody can read the acknowledgement: %v", err)
		}
		if len(ack.Skipped) == 0 || len(g.Status().Skipped) != 2000 {
			t.Errorf("acknowledgement names %d, status %d, want some and 2000", len(ack.Skipped), len(g.Status().Skipped))
		}
		if got := g.logged("cannot be routed to"); got != 1 {
			t.Errorf("logged %d times, want once", got)
		}
	})
}

func TestReloadThatFailsDoesNotSpin(t *testing.T) {
	running(t, func(t *testing.T, g *rig) {
		g.set(func(g *rig) {
			g.fail = &reload.StepError{Step: reload.StepConfirm, Err: errors.New("no worker has taken over")}
		})
		for n := range 6000 {
			g.offer(catalog(int64(n+1), member("web/1", "10.0.0.1", 80)))
			<-time.After(10 * time.Millisecond)
		}
		if got := g.applies(); got > 100 {
			t.Errorf("%d attempts in a minute of changes that change nothing", got)
		}
		before := g.applies()
		after(time.Hour)
		if got := g.applies() - before; got > 800 {
			t.Errorf("%d attempts in an hour, want one every ten seconds or so", got)
		}
	})
}

func TestLateChangeWaitsAtMostMaxWait(t *testing.T) {
	running(t, func(t *testing.T, g *rig) {
		for n := range 5000 {
			g.offer(catalog(int64(n+1), member("web/1", "10.0.0.1", uint16(n+1))))
			<-time.After(time.Millisecond)
		}
		began, revision := time.Now(), int64(6000)
		g.offer(catalog(revision, member("late/1", "10.0.0.1", 80)))
		for g.ack().Applied < revision {
			revision := revision + int64(time.Since(began)/time.Millisecond)
			g.offer(catalog(revision, member("late/1", "10.0.0.1", 80), member("web/1", "10.0.0.1", uint16(revision))))
			after(time.Millisecond)
		}
		if took := time.Since(began); took > 1010*time.Millisecond {
			t.Errorf("a change in a storm is served after %s, want a second at most", took)
		}
	})
}

func TestOldWorkersBoundThePace(t *testing.T) {
	running(t, func(t *testing.T, g *rig) {
		g.set(func(g *rig) { g.old = workers{wait: held(make(chan struct{})).Wait, n: 16} })
		for n := range 3000 {
			g.offer(catalog(int64(n+1), member("web/1", "10.0.0.1", uint16(n+1))))
			<-time.After(10 * time.Millisecond)
		}
		if got := g.applies(); got < 7 || got > 9 { // four seconds apart
			t.Errorf("%d configurations in 30 s with 16 old ones, want 8", got)
		}
		if got := g.Status().OldWorkers; got != 16 {
			t.Errorf("%d old workers, want 16", got)
		}
		g.set(func(g *rig) { g.old = gone() })
		after(6 * time.Second)
		if got := g.ack().Applied; got != 3000 {
			t.Errorf("applied %d, want the last", got)
		}
	})
}

func TestLookAtWhatIsTheSameRendersNothing(t *testing.T) {
	running(t, func(t *testing.T, g *rig) {
		g.offer(catalog(1, member("web/1", "10.0.0.1", 80)))
		after(0)
		first := g.serving()
		after(time.Minute)
		g.edit(g.load)
		if g.serving() != first || g.applies() < 7 {
			t.Errorf("rendered anew in %d looks", g.applies())
		}
		g.offer(catalog(2))
		after(time.Second)
		if got := g.content(); !strings.Contains(got, "web:\n") {
			t.Errorf("got %q, want the emptied service", got)
		}
		after(rememberFor + checkInterval)
		if got := g.content(); strings.Contains(got, "web:") {
			t.Errorf("got %q, want it forgotten although nothing else changes", got)
		}
	})
}

// What an earlier run left, and this one found as it should be, was changed by nobody.
func TestTakenOverFileIsNobodysEdit(t *testing.T) {
	output := filepath.Join(t.TempDir(), "out.conf")
	for range 2 {
		running(t, func(t *testing.T, g *rig) {
			g.offer(catalog(1, member("web/1", "10.0.0.1", 80)))
			after(time.Second)
			if g.ack().Applied != 1 {
				t.Error("revision 1 is not served")
			}
		}, func(cfg *Config) { cfg.Outputs = []string{output} })
	}
	running(t, func(t *testing.T, g *rig) {
		for n := range 3 {
			g.offer(catalog(int64(n+1), member("web/1", "10.0.0.1", uint16(80+n))))
			after(time.Second)
		}
		if got := g.logged("changed by somebody else"); g.ack().Applied != 3 || got != 0 {
			t.Errorf("applied %d, logged %d times, want 3 and never", g.ack().Applied, got)
		}
	}, func(cfg *Config) { cfg.Outputs = []string{output} })
}
