package check

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestUpDownUp(t *testing.T) {
	running(t, func(_ *testing.T, r *rig) {
		r.want("web", "unknown: not checked")
		r.answers(func(ctx context.Context, _ Target) error {
			<-ctx.Done()
			return ctx.Err()
		})
		r.Set(map[string]Target{"web": web})
		synctest.Wait()
		r.want("web", "unknown: not asked yet")
		r.wantTargets(1, 0, 0)
		r.Set(nil)
		synctest.Wait()

		r.answers(nil)
		r.Set(map[string]Target{"web": web})
		synctest.Wait()
		r.want("web", "up")
		r.wantChanges(1)
		r.wantTargets(0, 1, 0)

		r.fails(errRefused)
		after(2 * web.Spec.Interval) // one failure or two
		r.want("web", "up")
		after(2 * web.Spec.Interval)
		r.want("web", "down: connection refused")
		r.wantChanges(2)
		r.wantTargets(0, 0, 1)

		r.answers(nil)
		for before := len(r.probesOf(web)); len(r.probesOf(web)) == before; {
			after(web.Spec.Interval / 20)
		}
		r.want("web", "down: connection refused")
		after(2 * web.Spec.Interval)
		r.want("web", "up")
		r.wantChanges(3)
		r.wantTargets(0, 1, 0)
	})
}

func TestLogSaysChangesOnly(t *testing.T) {
	running(t, func(t *testing.T, r *rig) {
		r.Set(map[string]Target{"web": web})
		after(time.Minute)
		r.fails(errRefused)
		after(time.Minute)
		r.answers(nil)
		after(time.Minute)
		r.Set(nil)
		after(time.Minute)
		want := []string{
			`level=DEBUG msg="endpoint is up" id=web endpoint=10.0.0.5:32768`,
			`level=DEBUG msg="endpoint is down" id=web endpoint=10.0.0.5:32768 err="connection refused"`,
			`level=DEBUG msg="endpoint is up" id=web endpoint=10.0.0.5:32768`,
		}
		if diff := cmp.Diff(want, r.log.lines()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		r.wantChanges(3)
	})
}

func TestDownWithoutEverUp(t *testing.T) {
	running(t, func(_ *testing.T, r *rig) {
		r.fails(errRefused)
		r.Set(map[string]Target{"web": web})
		after(web.Spec.Interval * DefaultFall * 99 / 100)
		r.want("web", "unknown: connection refused")
		r.wantChanges(0)
		after(web.Spec.Interval * 3 / 2)
		r.want("web", "down: connection refused")
		r.wantChanges(1)
	})
}

func TestChangedMayCallBack(t *testing.T) {
	running(t, func(_ *testing.T, r *rig) {
		r.mu.Lock()
		r.changed = func() {
			r.want("web", "up")
			r.Set(map[string]Target{"web": web, "api": {spec(), endpoint(1)}})
		}
		r.mu.Unlock()
		r.Set(map[string]Target{"web": web})
		after(time.Minute)
		r.want("api", "up")
		r.wantChanges(2)
	})
}

func TestThisMachinesTroubleIsNotTheEndpoints(t *testing.T) {
	for _, trouble := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM} {
		t.Run(trouble.Error(), func(t *testing.T) {
			running(t, func(t *testing.T, r *rig) {
				r.Set(map[string]Target{"web": web})
				synctest.Wait()
				r.fails(fmt.Errorf("dial: %w", trouble))
				r.Set(map[string]Target{"web": web, "new": {spec(), endpoint(1)}})
				after(time.Hour)
				r.want("web", "up")
				r.want("new", "unknown: dial: "+trouble.Error())
				for result, ok := range map[string]func(float64) bool{
					"success": func(n float64) bool { return n == 1 },
					"failure": func(n float64) bool { return n == 0 },
					"error":   func(n float64) bool { return n > 1000 },
				} {
					if n := testutil.ToFloat64(r.probes.WithLabelValues(result)); !ok(n) {
						t.Errorf("%v probes with the result %s", n, result)
					}
				}
				r.fails(errRefused)
				after(time.Minute)
				r.want("web", "down: connection refused")
			})
		})
	}
}

func TestRunEndsWithItsProbes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.answers(func(ctx context.Context, _ Target) error {
			<-ctx.Done()
			time.Sleep(time.Second)
			return ctx.Err()
		})
		all := map[string]Target{}
		for n := range 3 * maxProbes { // some of them wait for their turn
			all[fmt.Sprint(n)] = Target{spec(), endpoint(n)}
		}
		r.Set(all)
		after(time.Minute)
		if len(r.asked) > 0 {
			t.Error("asked before Run")
		}
		ctx, cancel := context.WithTimeout(t.Context(), turn/2)
		defer cancel()
		if err := r.Run(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Run gives %v, want the context's error", err)
		}
		r.quiet()
		r.Set(nil)
		r.Set(all)
		after(time.Minute)
		if r.quiet(); r.most != maxProbes {
			t.Errorf("%d probes at once, want %d", r.most, maxProbes)
		}
		r.wantChanges(0)
		r.wantTargets(len(all), 0, 0)
	})
}
