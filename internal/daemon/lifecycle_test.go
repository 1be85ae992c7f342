package daemon

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A bench is a lifecycle on a bubble's clock whose parts write down what they do.
type bench struct {
	*Lifecycle
	journal       journal
	did           []string
	stop, hurry   context.CancelFunc
	graceful, now context.Context
	began         time.Time
}

func newBench(t *testing.T) *bench {
	b := &bench{began: time.Now()}
	b.Lifecycle = NewLifecycle(b.journal.logger(), b.journal.notifier(0))
	b.graceful, b.stop = context.WithCancel(t.Context())
	b.now, b.hurry = context.WithCancel(t.Context())
	t.Cleanup(func() { b.stop(); b.hurry() })
	return b
}

func (b *bench) loop(name string, result error) {
	b.Go(name, func(ctx context.Context) error {
		<-ctx.Done()
		b.did = append(b.did, name)
		return result
	})
}

func (b *bench) step(name string, result error) {
	b.OnStop(name, time.Second, func(context.Context) error {
		b.did = append(b.did, name)
		return result
	})
}

// run runs the lifecycle and gives its error's text and the time it took.
func (b *bench) run() (string, time.Duration) {
	err := b.Run(b.graceful, b.now)
	text := ""
	if err != nil {
		text = err.Error()
	}
	return text, time.Since(b.began)
}

func TestLifecycleStopsInReverse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.loop("status", nil)
		b.step("etcd", nil)
		b.loop("watch", context.Canceled) // how most loops end
		b.step("drain", nil)
		if err := b.Check(); err != nil {
			t.Errorf("Check while running: %v", err)
		}
		time.AfterFunc(time.Hour, b.stop)
		got, took := b.run()
		if got != "" || took != time.Hour {
			t.Errorf("got %q after %s, want no error after 1h", got, took)
		}
		if diff := cmp.Diff([]string{"drain", "watch", "etcd", "status"}, b.did); diff != "" {
			t.Errorf("order (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{
			"STOPPING=1\nSTATUS=Stopping: drain\nEXTEND_TIMEOUT_USEC=2000000",
			"STATUS=Stopping: watch\nEXTEND_TIMEOUT_USEC=11000000",
			"STATUS=Stopping: etcd\nEXTEND_TIMEOUT_USEC=2000000",
			"STATUS=Stopping: status\nEXTEND_TIMEOUT_USEC=11000000",
		}, b.journal.messages()); diff != "" {
			t.Errorf("told systemd (-want +got):\n%s", diff)
		}
		if err := b.Check(); err == nil || err.Error() != "stopping" {
			t.Errorf("Check after the stop: got %v, want stopping", err)
		}
		if diff := cmp.Diff([]string{`level=INFO msg=stopping cause="context canceled"`}, b.journal.lines()); diff != "" {
			t.Errorf("log (-want +got):\n%s", diff)
		}
	})
}

func TestLifecycleStopsWhenALoopEnds(t *testing.T) {
	for _, tc := range []struct {
		name   string
		result error
		want   string
	}{
		{"with an error", errDown, "watch: connection refused"},
		{"without", nil, "watch: ended unexpectedly"},
		{"with a cancellation that was not its own", context.Canceled, "watch: context canceled"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				b.step("etcd", nil)
				b.Go("watch", func(context.Context) error {
					time.Sleep(time.Minute)
					return tc.result
				})
				b.loop("render", nil)
				got, took := b.run()
				if got != tc.want || took != time.Minute {
					t.Errorf("got %q after %s, want %q after 1m", got, took, tc.want)
				}
				if diff := cmp.Diff([]string{"render", "etcd"}, b.did); diff != "" {
					t.Errorf("order (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestLifecycleJoinsErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		errTwoLines := errors.New("not drained:\nrenderer a")
		b.step("etcd", errDown)
		b.step("drain", errTwoLines)
		b.loop("render", errors.New("disk full"))
		b.Go("watch", func(context.Context) error { return errors.New("broken") })
		err := b.Run(b.graceful, b.now)
		want := "4 errors:\n  watch: broken\n  stop render: disk full\n  stop drain: not drained:\n  renderer a\n  stop etcd: connection refused"
		if err == nil || err.Error() != want {
			t.Errorf("got %v\nwant %s", err, want)
		}
		if !errors.Is(err, errDown) || !errors.Is(err, errTwoLines) {
			t.Error("an error is not found in the joined one")
		}
	})
}

func TestLifecycleBounds(t *testing.T) {
	deaf := func(until chan struct{}) func(context.Context) error {
		return func(context.Context) error { <-until; return nil }
	}
	polite := func(ctx context.Context) error {
		<-ctx.Done()
		return fmt.Errorf("waiting for renderers: %w", ctx.Err())
	}
	for _, tc := range []struct {
		name  string
		hurry time.Duration // after the start; 0 means never
		add   func(b *bench, until chan struct{})
		want  string
		took  time.Duration
	}{
		{
			"polite", 0, func(b *bench, _ chan struct{}) { b.OnStop("drain", 30*time.Second, polite) },
			"stop drain: waiting for renderers: context deadline exceeded", 30 * time.Second,
		},
		{
			"deaf", 0, func(b *bench, until chan struct{}) { b.OnStop("drain", 30*time.Second, deaf(until)) },
			"stop drain: not done within 30s", 31 * time.Second,
		},
		{
			"deaf loop", 0, func(b *bench, until chan struct{}) { b.Go("watch", deaf(until)) },
			"stop watch: not done within 10s", 11 * time.Second,
		},
		{"each its own", 0, func(b *bench, until chan struct{}) {
			b.OnStop("etcd", 5*time.Second, deaf(until))
			b.OnStop("drain", 30*time.Second, polite)
		}, "2 errors:\n  stop drain: waiting for renderers: context deadline exceeded\n  stop etcd: not done within 5s", 36 * time.Second},
		{
			"polite, in a hurry", 3 * time.Second, func(b *bench, _ chan struct{}) { b.OnStop("drain", 30*time.Second, polite) },
			"stop drain: waiting for renderers: context canceled", 3 * time.Second,
		},
		{
			"deaf, in a hurry", 3 * time.Second, func(b *bench, until chan struct{}) { b.OnStop("drain", 30*time.Second, deaf(until)) },
			"stop drain: abandoned", 4 * time.Second,
		},
		{"the rest, in a hurry", 3 * time.Second, func(b *bench, _ chan struct{}) {
			b.loop("status", nil)
			b.OnStop("etcd", 5*time.Second, polite)
			b.OnStop("drain", 30*time.Second, polite)
		}, "2 errors:\n  stop drain: waiting for renderers: context canceled\n  stop etcd: waiting for renderers: context canceled", 3 * time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				until := make(chan struct{})
				tc.add(b, until)
				b.stop()
				if tc.hurry > 0 {
					time.AfterFunc(tc.hurry, b.hurry)
				}
				got, took := b.run()
				close(until)
				if got != tc.want || took != tc.took {
					t.Errorf("got %q after %s\nwant %q after %s", got, took, tc.want, tc.took)
				}
			})
		})
	}
}

// A start that fails half-way leaves nothing behind.
func TestLifecycleStopAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.loop("status", nil)
		b.step("etcd", nil)
		if err := b.Stop(b.now); err != nil {
			t.Errorf("Stop: %v", err)
		}
		if got := strings.Join(b.did, " "); got != "etcd status" {
			t.Errorf("stopped %q, want etcd status", got)
		}
	})
}
