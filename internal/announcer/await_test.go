package announcer

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rollcall/internal/discovery"
)

// A look is what etcd tells of a service at one time.
type look struct {
	revision  int64
	instances []*discovery.Instance
}

// script tells its values a second apart, then nothing more until ctx is done.
func script[T any](ctx context.Context, values []T, handle func(T)) error {
	for _, v := range values {
		handle(v)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Second):
		}
	}
	<-ctx.Done()
	return ctx.Err()
}

type acks = []*discovery.Acknowledgement

// waiter waits for scripted renderers and looks. Each time it asks anew for a service
// the script goes on where it was.
func waiter(renderers []acks, looks []look) *Waiter {
	told := 0
	return &Waiter{
		Prefix: "/services",
		Renderers: func(ctx context.Context, handle func([]*discovery.Acknowledgement)) error {
			return script(ctx, renderers, handle)
		},
		Services: func(ctx context.Context, _ string, handle func([]*discovery.Instance, int64)) error {
			return script(ctx, looks[min(told, max(len(looks)-1, 0)):], func(l look) {
				told++
				handle(l.instances, l.revision)
			})
		},
	}
}

func ack(id string, applied, drained int64, change ...func(*discovery.Acknowledgement)) *discovery.Acknowledgement {
	a := &discovery.Acknowledgement{ID: id, Node: "lb", Prefix: "/services", Applied: applied, Drained: drained}
	for _, f := range change {
		f(a)
	}
	return a
}

func covering(s ...string) func(*discovery.Acknowledgement) {
	return func(a *discovery.Acknowledgement) { a.Services = s }
}

func skipping(id string) func(*discovery.Acknowledgement) {
	return func(a *discovery.Acknowledgement) { a.Skipped = []string{id} }
}

func failing(text string) func(*discovery.Acknowledgement) {
	return func(a *discovery.Acknowledgement) { a.LastError = text }
}

func holding(ids ...string) func(*discovery.Acknowledgement) {
	return func(a *discovery.Acknowledgement) { a.Held = ids }
}

func finished(revision int64, busy ...string) func(*discovery.Acknowledgement) {
	return func(a *discovery.Acknowledgement) { a.Finished, a.Busy = revision, busy }
}

func elsewhere(a *discovery.Acknowledgement) { a.Prefix = "/applications" }

func running(name string, revision int64) *discovery.Instance {
	return &discovery.Instance{Service: "web", Name: name, Host: "10.0.0.5", Port: 80, Weight: 100, Revision: revision}
}

type waitCase struct {
	renderers []acks
	looks     []look
	want      int
	took      time.Duration
	err       string
}

func testWait(t *testing.T, cases map[string]waitCase, wait func(context.Context, *Waiter) (int, error)) {
	t.Helper()
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				defer cancel()
				began := time.Now()
				got, err := wait(ctx, waiter(tc.renderers, tc.looks))
				if tc.err != "" {
					if err == nil || err.Error() != tc.err {
						t.Errorf("got %v, want %s", err, tc.err)
					}
					return
				}
				if err != nil || got != tc.want {
					t.Errorf("got %d, %v, want %d", got, err, tc.want)
				}
				if took := time.Since(began); took != tc.took {
					t.Errorf("took %s, want %s", took, tc.took)
				}
			})
		})
	}
}

const late = ": context deadline exceeded"

func TestDrained(t *testing.T) {
	testWait(t, map[string]waitCase{
		"no renderer":            {renderers: []acks{nil}},
		"one that has":           {renderers: []acks{{ack("r1", 7, 7)}}, want: 1},
		"one that will":          {renderers: []acks{{ack("r1", 6, 5)}, {ack("r1", 7, 6)}, {ack("r1", 7, 7)}}, want: 1, took: 2 * time.Second},
		"all of them":            {renderers: []acks{{ack("r1", 7, 7), ack("r2", 7, 6)}, {ack("r1", 7, 7), ack("r2", 8, 8)}}, want: 2, took: time.Second},
		"one dies":               {renderers: []acks{{ack("r1", 7, 7), ack("r2", 7, 6)}, {ack("r1", 7, 7)}}, want: 1, took: time.Second},
		"the last one dies":      {renderers: []acks{{ack("r2", 7, 6)}, {}}, took: time.Second},
		"others do not count":    {renderers: []acks{{ack("r1", 0, 0, covering("api")), ack("r2", 0, 0, elsewhere), ack("r3", 7, 7, covering("web"))}}, want: 1},
		"nobody covers it":       {renderers: []acks{{ack("r1", 0, 0, covering("api"))}}},
		"two services, two ends": {renderers: []acks{{ack("r1", 6, 6, covering("web")), ack("r2", 4, 4, covering("db"))}, {ack("r1", 7, 7, covering("web")), ack("r2", 4, 4, covering("db"))}}, want: 2, took: time.Second},
		"the deadline": {
			renderers: []acks{{ack("r1", 7, 6, failing("nginx: [emerg]\nno \x1b[2Jmemory")), ack("r2", 7, 7), ack("r3", 1, 1)}},
			err:       "not confirmed by r1 on lb, which has drained revision 6 of 7 (nginx: [emerg] no  [2Jmemory); r3 on lb, which has applied revision 1 of 7" + late,
		},
		"a long error": {
			renderers: []acks{{ack("r1", 7, 6, failing(strings.Repeat("é", 1000)))}},
			err:       "not confirmed by r1 on lb, which has drained revision 6 of 7 (" + strings.Repeat("é", 150) + "…)" + late,
		},
		"one that holds it":               {renderers: []acks{{ack("r1", 7, 7, holding("web/b", "web/a"))}, {ack("r1", 7, 7, holding("web/b"))}}, want: 1, took: time.Second},
		"one that does not tell all held": {renderers: []acks{{ack("r1", 7, 7, func(a *discovery.Acknowledgement) { a.MoreHeld = true })}, {ack("r1", 7, 7)}}, want: 1, took: time.Second},
		"held by one of another prefix":   {renderers: []acks{{ack("r1", 7, 7, holding("web/a"), elsewhere)}}},
		"held at the deadline": {
			renderers: []acks{{ack("r1", 7, 7, holding("web/a"))}},
			err:       "not confirmed by r1 on lb, which still holds web/a, of which it does not know that it is gone for good" + late,
		},
		"etcd is away":             {err: "not confirmed by etcd, which does not answer" + late},
		"finished, nobody is busy": {renderers: []acks{{ack("r1", 7, 2, finished(7))}}, want: 1},
		"another's is running":     {renderers: []acks{{ack("r1", 7, 2, finished(7, "web/b", "db/a"))}}, want: 1},
		"its own is running":       {renderers: []acks{{ack("r1", 7, 2, finished(7, "web/a"))}, {ack("r1", 7, 2, finished(7))}}, want: 1, took: time.Second},
		"one of two finishes":      {renderers: []acks{{ack("r1", 7, 7), ack("r2", 7, 2, finished(6))}, {ack("r1", 7, 7), ack("r2", 7, 2, finished(7))}}, want: 2, took: time.Second},
		"requests run on at the deadline": {
			renderers: []acks{{ack("r1", 7, 2, finished(7, "web/a", "web/x"))}},
			err:       "not confirmed by r1 on lb, which still has requests running to web/a, web/x" + late,
		},
		"not all that are busy are named": {
			renderers: []acks{{ack("r1", 7, 2, finished(7, "api/a"), func(a *discovery.Acknowledgement) { a.MoreBusy = true })}},
			err:       "not confirmed by r1 on lb, which still has requests running to more instances than it can name, and perhaps to web/a" + late,
		},
		"what the dead were sent is over": {renderers: []acks{{ack("r1", 4, 0, covering("db"), finished(4, "db/a"))}}, want: 1},
		"it is not": {
			renderers: []acks{{ack("r1", 4, 0, covering("db"), finished(3))}},
			err:       "not confirmed by r1 on lb, which has drained revision 3 of 4" + late,
		},
	}, func(ctx context.Context, w *Waiter) (int, error) {
		return w.Drained(ctx, map[string]int64{"web/x": 5, "web/a": 7}, map[string]int64{"db": 4})
	})
}

func TestNothingWasWithdrawn(t *testing.T) {
	w := &Waiter{Prefix: "/services"} // asks nobody
	if n, err := w.Drained(t.Context(), nil, nil); n != 0 || err != nil {
		t.Errorf("got %d, %v", n, err)
	}
}

// What comes after the proof, while the watch is being stopped, does not change it.
func TestProofIsNotTakenBack(t *testing.T) {
	w := &Waiter{Prefix: "/services", Renderers: func(ctx context.Context, handle func([]*discovery.Acknowledgement)) error {
		handle(acks{ack("r1", 7, 7)})
		handle(acks{ack("r1", 7, 7), ack("r2", 7, 6)})
		return ctx.Err()
	}}
	if n, err := w.Drained(t.Context(), map[string]int64{"web/a": 7}, nil); n != 1 || err != nil {
		t.Errorf("got %d, %v, want 1", n, err)
	}
}

func TestRouted(t *testing.T) {
	here := []look{{9, []*discovery.Instance{running("a", 5), running("b", 9)}}}
	testWait(t, map[string]waitCase{
		"no renderer":             {looks: here, renderers: []acks{nil}},
		"one that does":           {looks: here, renderers: []acks{{ack("r1", 5, 0)}}, want: 1},
		"another instance's":      {looks: here, renderers: []acks{{ack("r1", 5, 0, skipping("web/b"))}}, want: 1},
		"one that will":           {looks: here, renderers: []acks{{ack("r1", 4, 4)}, {ack("r1", 5, 4)}}, want: 1, took: time.Second},
		"one that does not cover": {looks: here, renderers: []acks{{ack("r1", 0, 0, covering("api")), ack("r2", 5, 5)}}, want: 1},
		"announced later":         {looks: append([]look{{4, nil}, {5, []*discovery.Instance{running("b", 5)}}}, here...), renderers: []acks{{ack("r1", 9, 9)}}, want: 1, took: 2 * time.Second},
		"never announced":         {looks: []look{{4, nil}}, renderers: []acks{{ack("r1", 9, 9)}}, err: "web/a is not announced" + late},
		"etcd is away":            {err: "etcd does not tell of service web" + late},
		"skipped":                 {looks: here, renderers: []acks{{ack("r1", 9, 9, skipping("web/a"))}}, err: "not confirmed by r1 on lb, which cannot route to web/a at 10.0.0.5:80" + late},
		"behind":                  {looks: here, renderers: []acks{{ack("r1", 4, 4)}}, err: "not confirmed by r1 on lb, which has applied revision 4 of 5" + late},
		"replaced meanwhile": {
			looks:     []look{{5, []*discovery.Instance{running("a", 5)}}, {9, []*discovery.Instance{running("a", 9)}}},
			renderers: []acks{{ack("r1", 8, 8)}, {ack("r1", 9, 9)}}, want: 1, took: time.Second,
		},
		"withdrawn meanwhile": {
			looks:     []look{{5, []*discovery.Instance{running("a", 5)}}, {6, nil}},
			renderers: []acks{{ack("r1", 6, 6)}}, err: "web/a is not announced" + late,
		},
		"weight 0": {looks: []look{{5, []*discovery.Instance{weightless("a", 5)}}}, err: "web/a has weight 0: no balancer sends it anything"},
		"weight 0 comes while it is waited for": {
			looks:     []look{{5, []*discovery.Instance{running("a", 5)}}, {6, []*discovery.Instance{weightless("a", 6)}}},
			renderers: []acks{{ack("r1", 6, 6)}}, err: "web/a has weight 0: no balancer sends it anything",
		},
	}, func(ctx context.Context, w *Waiter) (int, error) { return w.Routed(ctx, "web", "a") })
}

func weightless(name string, revision int64) *discovery.Instance {
	i := running(name, revision)
	i.Weight = 0
	return i
}

func TestRoutedSeveral(t *testing.T) {
	testWait(t, map[string]waitCase{
		"both": {looks: []look{{5, []*discovery.Instance{running("a", 5)}}, {9, []*discovery.Instance{running("a", 5), running("b", 9), running("c", 10)}}}, renderers: []acks{{ack("r1", 9, 9)}}, want: 1, took: time.Second},
		"one":  {looks: []look{{5, []*discovery.Instance{running("a", 5)}}}, err: "web/b is not announced" + late},
	}, func(ctx context.Context, w *Waiter) (int, error) { return w.Routed(ctx, "web", "a", "b") })
}

func TestRoutedServiceMeansAllOfIt(t *testing.T) {
	here := []look{{9, []*discovery.Instance{running("a", 5), running("b", 9)}}}
	testWait(t, map[string]waitCase{
		"all":        {looks: here, renderers: []acks{{ack("r1", 5, 5)}, {ack("r1", 9, 9)}}, want: 1, took: time.Second},
		"one is not": {looks: here, renderers: []acks{{ack("r1", 9, 9, skipping("web/b"))}}, err: "not confirmed by r1 on lb, which cannot route to web/b at 10.0.0.5:80" + late},
		"none":       {looks: []look{{9, nil}}, err: "web is not announced" + late},
		"one of weight 0 does not count": {
			looks:     []look{{9, []*discovery.Instance{running("a", 5), weightless("b", 9)}}},
			renderers: []acks{{ack("r1", 5, 5)}}, want: 1,
		},
		"all of weight 0": {looks: []look{{9, []*discovery.Instance{weightless("a", 5)}}}, err: "all of web has weight 0: no balancer sends it anything"},
	}, func(ctx context.Context, w *Waiter) (int, error) { return w.Routed(ctx, "web") })
}

func TestGone(t *testing.T) {
	here, away := look{5, []*discovery.Instance{running("a", 5), running("b", 4)}}, look{7, []*discovery.Instance{running("b", 4)}}
	for name, tc := range map[string]struct {
		waitCase
		since, seen int64
	}{
		"goes":                   {waitCase{looks: []look{here, away}, renderers: []acks{{ack("r1", 7, 6)}, {ack("r1", 7, 7)}}, want: 1, took: 2 * time.Second}, 0, 7},
		"goes, unlike before":    {waitCase{looks: []look{here, away}, renderers: []acks{{ack("r1", 7, 7)}}, want: 1, took: time.Second}, 3, 7},
		"went":                   {waitCase{looks: []look{away}, renderers: []acks{{ack("r1", 5, 5)}, {ack("r1", 6, 6)}}, want: 1, took: time.Second}, 6, 0},
		"went, not yet drained":  {waitCase{looks: []look{away}, renderers: []acks{{ack("r1", 6, 5)}}, err: "not confirmed by r1 on lb, which has drained revision 5 of 6" + late}, 6, 0},
		"went, and is held":      {waitCase{looks: []look{away}, renderers: []acks{{ack("r1", 6, 6, holding("web/a"))}, {ack("r1", 6, 6, holding("web/ab"))}}, want: 1, took: time.Second}, 6, 0},
		"stays":                  {waitCase{looks: []look{here}, err: "web/a is still announced" + late}, 6, 0},
		"nobody knows since":     {waitCase{looks: []look{away}, renderers: []acks{{ack("r1", 9, 9)}}, err: "web/a: it is not announced"}, 0, 0},
		"etcd is away":           {waitCase{err: "etcd does not tell of service web" + late}, 0, 0},
		"goes, with no renderer": {waitCase{looks: []look{here, away}, renderers: []acks{nil}, took: time.Second}, 0, 7},
	} {
		var seen int64
		testWait(t, map[string]waitCase{name: tc.waitCase}, func(ctx context.Context, w *Waiter) (int, error) {
			return w.Gone(ctx, "web", "a", Gone{Since: tc.since, Seen: func(revision int64) error {
				seen = revision
				return nil
			}})
		})
		if seen != tc.seen {
			t.Errorf("%s: seen at %d, want %d", name, seen, tc.seen)
		}
	}
}

func TestHeld(t *testing.T) {
	more := func(a *discovery.Acknowledgement) { a.MoreHeld = true }
	for _, tc := range []struct {
		renderers acks
		held      bool
		silent    []string
	}{
		{renderers: acks{ack("r1", 7, 7), ack("r2", 7, 7, holding("web/b", "web/a"))}, held: true},
		{renderers: acks{ack("r1", 7, 7, holding("web/ab", "api/a")), ack("r2", 7, 7, holding("web/a"), elsewhere)}},
		{renderers: acks{ack("r1", 7, 7, more), ack("r2", 7, 7), ack("r3", 7, 7, more, elsewhere)}, silent: []string{"r1 on lb"}},
		{renderers: acks{ack("r1", 7, 7, more, holding("web/a"))}, held: true},
	} {
		synctest.Test(t, func(t *testing.T) {
			held, silent, err := waiter([]acks{tc.renderers}, nil).Held(t.Context(), "web", "a")
			if held != tc.held || !slices.Equal(silent, tc.silent) || err != nil {
				t.Errorf("got %t, %q, %v, want %t, %q", held, silent, err, tc.held, tc.silent)
			}
		})
	}
}

func TestGoneProvesNothingOfTheUnknown(t *testing.T) {
	_, err := waiter([]acks{nil}, []look{{7, nil}}).Gone(t.Context(), "web", "", Gone{})
	if !errors.Is(err, ErrNotAnnounced) || err.Error() != "web: it is not announced" {
		t.Errorf("got %v", err)
	}
}

func TestGoneStopsWhenTheEndCannotBeNoted(t *testing.T) {
	down := errors.New("etcd is down")
	synctest.Test(t, func(t *testing.T) {
		looks := []look{{5, []*discovery.Instance{running("a", 5)}}, {7, nil}}
		_, err := waiter([]acks{nil}, looks).Gone(t.Context(), "web", "a", Gone{Seen: func(int64) error { return down }})
		if !errors.Is(err, down) {
			t.Errorf("got %v, want %v", err, down)
		}
	})
}

// The order may be obeyed before anybody could look a second time: it is given only
// when the instance has been seen, so that its end is seen too.
func TestGoneOrdersTheEndOfWhatIsThere(t *testing.T) {
	here, away := look{5, []*discovery.Instance{running("a", 5)}}, look{7, nil}
	down := errors.New("etcd is down")
	for name, tc := range map[string]struct {
		looks  []look
		answer error
		orders int
		want   error
	}{
		"there":          {[]look{here, here, away}, nil, 1, nil},
		"not there":      {[]look{away}, nil, 0, ErrNotAnnounced},
		"order not kept": {[]look{here, away}, down, 1, down},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				orders := 0
				_, err := waiter([]acks{{ack("r1", 7, 7)}}, tc.looks).Gone(t.Context(), "web", "a", Gone{Order: func() error {
					orders++
					return tc.answer
				}})
				if orders != tc.orders || !errors.Is(err, tc.want) {
					t.Errorf("got %d orders and %v, want %d and %v", orders, err, tc.orders, tc.want)
				}
			})
		})
	}
}
