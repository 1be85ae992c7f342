package check

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestSetLeavesTheUnchangedAlone(t *testing.T) {
	running(t, func(t *testing.T, r *rig) {
		all := map[string]Target{"web": web, "gone": {spec(), endpoint(1)}}
		r.Set(all)
		const times = 300
		for n := range times {
			other := Target{spec(), endpoint(2 + n%2)}
			r.Set(map[string]Target{"web": web, "other": other})
			after(web.Spec.Interval / 10)
			r.want("web", "up")
			r.want("other", "up")
			r.want("gone", "unknown: not checked")
			r.wantTargets(0, 2, 0)
		}
		// A check that began again, or lost its turn, would have been asked more or less often.
		if got := len(r.probesOf(web)); got < times/11 || got > times/9+1 {
			t.Errorf("asked %d times in %d intervals", got, times/10)
		}
	})
}

func TestSetBeginsAgainWithWhatChanged(t *testing.T) {
	for name, other := range map[string]Target{
		"address": {web.Spec, endpoint(1)},
		"spec":    {spec(func(s *Spec) { s.Fall = 1 }), web.Addr},
	} {
		t.Run(name, func(t *testing.T) {
			running(t, func(t *testing.T, r *rig) {
				r.Set(map[string]Target{"web": web})
				after(time.Minute)
				asked := len(r.probesOf(web))
				r.fails(errRefused)
				r.Set(map[string]Target{"web": other})
				r.want("web", "unknown: not asked yet")
				r.wantTargets(1, 0, 0)
				after(web.Spec.Interval / 2)
				r.want("web", "unknown: connection refused")
				r.answers(nil)
				after(time.Minute)
				r.want("web", "up")
				r.wantChanges(2)
				if got := len(r.probesOf(web)); got != asked {
					t.Errorf("the old target was asked %d times more", got-asked)
				}
			})
		})
	}
}

func TestSetEndsWhatIsMissing(t *testing.T) {
	running(t, func(t *testing.T, r *rig) {
		cut := make(chan error, 1)
		r.answers(func(ctx context.Context, _ Target) error {
			<-ctx.Done()
			cut <- ctx.Err()
			return nil // a success that comes too late
		})
		r.Set(map[string]Target{"web": web})
		synctest.Wait()
		r.Set(map[string]Target{})
		if err := <-cut; !errors.Is(err, context.Canceled) {
			t.Errorf("the probe's context: %v", err)
		}
		after(time.Hour)
		r.want("web", "unknown: not checked")
		r.wantChanges(0)
		r.wantTargets(0, 0, 0)
		if got := len(r.probesOf(web)); got != 1 {
			t.Errorf("asked %d times, want once", got)
		}
	})
}

func TestSetOfAnotherCannotHearTheOld(t *testing.T) {
	running(t, func(_ *testing.T, r *rig) {
		old := make(chan struct{})
		r.answers(func(_ context.Context, t Target) error {
			if t == web {
				<-old // deaf to its context
				return nil
			}
			return errRefused
		})
		r.Set(map[string]Target{"web": web})
		synctest.Wait()
		r.Set(map[string]Target{"web": {web.Spec, endpoint(1)}})
		synctest.Wait()
		close(old)
		synctest.Wait()
		r.want("web", "unknown: connection refused")
		r.wantChanges(0)
	})
}
