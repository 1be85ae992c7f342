package check

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"
)

// within says whether a pause is as wanted, ±10 %.
func within(got, want time.Duration) bool {
	return got >= want*9/10 && got <= want*11/10
}

// pauses gives what is between the beginnings of probes.
func pauses(at []time.Time) []time.Duration {
	var all []time.Duration
	for n := 1; n < len(at); n++ {
		all = append(all, at[n].Sub(at[n-1]))
	}
	return all
}

func TestQuickUntilItAnswers(t *testing.T) {
	running(t, func(t *testing.T, r *rig) {
		r.fails(errRefused)
		r.Set(map[string]Target{"web": web})
		began := time.Now()
		after(time.Minute)
		probes := r.probesOf(web)
		for n, d := range pauses(probes) {
			want := min(10*time.Millisecond<<min(n, 20), web.Spec.Interval/4)
			if probes[n].Sub(began) >= time.Duration(web.Spec.Fall)*web.Spec.Interval {
				want = web.Spec.Interval // it is down by now
			}
			if !within(d, want) {
				t.Errorf("pause %d, after %s, is %s, want %s", n, probes[n].Sub(began), d, want)
			}
		}
	})
}

func TestAtOnceWhenItAnswers(t *testing.T) {
	running(t, func(_ *testing.T, r *rig) {
		began := time.Now()
		const start = 200 * time.Millisecond
		r.answers(func(context.Context, Target) error {
			if time.Since(began) < start {
				return errRefused
			}
			return nil
		})
		r.Set(map[string]Target{"web": web})
		after(2 * start)
		r.want("web", "up")
	})
}

func TestSteadyPaceSpreads(t *testing.T) {
	running(t, func(t *testing.T, r *rig) {
		all := map[string]Target{}
		for n := range 50 {
			all[fmt.Sprint(n)] = Target{spec(), endpoint(n)}
		}
		r.Set(all)
		after(30 * time.Second)
		r.fails(errRefused) // who goes down is in no hurry either
		after(30 * time.Second)
		r.wantTargets(0, 0, len(all))
		last := map[time.Time]bool{}
		for _, target := range all {
			at := r.probesOf(target)
			for n, d := range pauses(at) {
				if !within(d, target.Spec.Interval) {
					t.Errorf("pause %d is %s", n, d)
				}
			}
			last[at[len(at)-1]] = true
		}
		if len(last) < 40 {
			t.Errorf("50 targets that began together are asked at %d different times after a minute", len(last))
		}
	})
}

func TestSlowProbesStretchTheInterval(t *testing.T) {
	running(t, func(t *testing.T, r *rig) {
		slow := Target{spec(func(s *Spec) { s.Interval, s.Timeout = time.Second, 30*time.Second }), endpoint(0)}
		r.answers(func(context.Context, Target) error {
			time.Sleep(10 * time.Second)
			return nil
		})
		r.Set(map[string]Target{"slow": slow}) // the rig sees to it that probes do not overlap
		after(time.Minute)
		got := pauses(r.probesOf(slow))
		if len(got) < 4 {
			t.Fatalf("pauses %v", got)
		}
		for _, d := range got {
			if !within(d-10*time.Second, time.Second) {
				t.Errorf("%s from one probe to the next, want 11s", d)
			}
		}
	})
}

func TestManyAreNoStorm(t *testing.T) {
	running(t, func(t *testing.T, r *rig) {
		r.answers(func(context.Context, Target) error {
			time.Sleep(20 * time.Millisecond)
			return nil
		})
		all := map[string]Target{}
		for n := range 1000 {
			all[fmt.Sprint(n)] = Target{spec(), endpoint(n)}
		}
		r.Set(all)
		after(time.Second)
		r.wantTargets(0, 1000, 0)
		r.wantChanges(1000)
		after(20 * time.Second)
		var asked []int
		r.mu.Lock()
		for _, at := range r.asked {
			asked = append(asked, len(at))
		}
		r.mu.Unlock()
		// Nobody waits for a turn longer than others do.
		if lo, hi := slices.Min(asked), slices.Max(asked); len(asked) != 1000 || lo < 8 || hi > 12 {
			t.Errorf("%d targets were asked between %d and %d times", len(asked), lo, hi)
		}
		if r.most != maxProbes {
			t.Errorf("%d probes at once, want %d", r.most, maxProbes)
		}
	})
}

// Endpoints that never answer, however many and however patiently they are asked, do not
// keep another from being asked.
func TestHangingProbesDelayNobody(t *testing.T) {
	running(t, func(t *testing.T, r *rig) {
		patient := spec(func(s *Spec) { s.Timeout = time.Minute })
		all := map[string]Target{}
		for n := range 1000 {
			all[fmt.Sprint(n)] = Target{patient, endpoint(n)}
		}
		r.answers(func(ctx context.Context, t Target) error {
			if t.Spec == patient {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		})
		r.Set(all)
		after(10 * time.Millisecond)
		all["web"] = web
		r.Set(all)
		after((1000/maxProbes + 1) * turn)
		if state, err := r.State("web"); state != Up {
			t.Errorf("it is %s: %v", state, err)
		}
	})
}
