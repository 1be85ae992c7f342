package daemon

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// state names what a Stop says: each of the three that has come about.
func state(s Stop) string {
	var parts []string
	if s.Keeping() {
		parts = append(parts, "keep")
	}
	if s.Graceful.Err() != nil {
		parts = append(parts, "graceful: "+context.Cause(s.Graceful).Error())
	}
	if s.Now.Err() != nil {
		parts = append(parts, "now: "+context.Cause(s.Now).Error())
	}
	return strings.Join(parts, ", ")
}

func TestObey(t *testing.T) {
	const (
		term = "graceful: received signal: terminated"
		usr1 = "keep, graceful: received signal: user defined signal 1"
	)
	for _, tc := range []struct {
		name          string
		signals       []os.Signal
		cancel        bool // ctx, before any signal
		want          string
		wantSurrender int
	}{
		{name: "nothing"},
		{name: "TERM", signals: []os.Signal{syscall.SIGTERM}, want: term},
		{name: "INT", signals: []os.Signal{syscall.SIGINT}, want: "graceful: received signal: interrupt"},
		{name: "TERM TERM", signals: []os.Signal{syscall.SIGTERM, syscall.SIGTERM}, want: term + ", now: received signal: terminated", wantSurrender: 1},
		{name: "TERM INT TERM", signals: []os.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGTERM}, want: term + ", now: received signal: interrupt", wantSurrender: 1},
		{name: "USR1", signals: []os.Signal{syscall.SIGUSR1}, want: usr1},
		{name: "USR1 USR1", signals: []os.Signal{syscall.SIGUSR1, syscall.SIGUSR1}, want: usr1},
		{name: "USR1 TERM", signals: []os.Signal{syscall.SIGUSR1, syscall.SIGTERM}, want: usr1 + ", now: received signal: terminated", wantSurrender: 1},
		{name: "TERM USR1: too late to keep", signals: []os.Signal{syscall.SIGTERM, syscall.SIGUSR1}, want: term},
		{name: "HUP", signals: []os.Signal{syscall.SIGHUP, syscall.SIGHUP}},
		{name: "HUP TERM", signals: []os.Signal{syscall.SIGHUP, syscall.SIGTERM}, want: term},
		{name: "context", cancel: true, want: "graceful: context canceled"},
		{name: "context TERM", cancel: true, signals: []os.Signal{syscall.SIGTERM}, want: "graceful: context canceled, now: received signal: terminated", wantSurrender: 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				received := make(chan os.Signal)
				surrendered := 0
				stop, release := obey(ctx, slog.New(slog.DiscardHandler), true, received, func() { surrendered++ })
				if tc.cancel {
					cancel()
				}
				for _, s := range tc.signals {
					received <- s
				}
				synctest.Wait()
				if got := state(stop); got != tc.want {
					t.Errorf("got %q, want %q", got, tc.want)
				}
				release()
				if surrendered != tc.wantSurrender {
					t.Errorf("surrendered %d times, want %d", surrendered, tc.wantSurrender)
				}
				if stop.Graceful.Err() == nil || stop.Now.Err() == nil {
					t.Error("contexts outlive release")
				}
			})
		})
	}
}

// Whoever wakes up because Graceful is done decides by Keep; Keep must be closed by then.
func TestObeyKeepsBeforeItStops(t *testing.T) {
	for range 200 {
		received := make(chan os.Signal, 1)
		stop, release := obey(t.Context(), slog.New(slog.DiscardHandler), true, received, func() {})
		received <- syscall.SIGUSR1
		<-stop.Graceful.Done()
		if !stop.Keeping() {
			t.Fatal("Graceful is done before Keep is closed")
		}
		release()
	}
}

const childEnv = "DAEMON_TEST_CHILD"

// child is a daemon that takes a minute to stop, in a process of its own: the
// tests run their own binary again to send it real signals.
func child() int {
	logger, err := NewLogger(os.Stderr, "debug", "auto")
	if err != nil {
		return 3
	}
	stop, release := Signals(context.Background(), logger, true)
	defer release()
	l := NewLifecycle(logger, NewNotifier(logger))
	l.OnStop("drain", time.Minute, func(ctx context.Context) error {
		if stop.Keeping() {
			fmt.Println("kept")
			return nil
		}
		fmt.Println("draining")
		<-ctx.Done()
		fmt.Println("hurried")
		return nil
	})
	fmt.Println("started")
	if err := l.Run(stop.Graceful, stop.Now); err != nil {
		return 1
	}
	if os.Getenv(childEnv) == "hang" {
		select {}
	}
	return 0
}

func TestSignalsToAProcess(t *testing.T) {
	type exchange struct {
		send syscall.Signal
		hear string // the line the child answers with; "" if it just ends
	}
	for _, tc := range []struct {
		name, mode string
		exchange   []exchange
		wantCode   int
		wantKilled syscall.Signal
	}{
		{name: "TERM TERM", mode: "run", exchange: []exchange{{syscall.SIGTERM, "draining"}, {syscall.SIGTERM, "hurried"}}},
		{name: "HUP INT INT", mode: "run", exchange: []exchange{{syscall.SIGHUP, ""}, {syscall.SIGINT, "draining"}, {syscall.SIGINT, "hurried"}}},
		{name: "USR1", mode: "run", exchange: []exchange{{syscall.SIGUSR1, "kept"}}},
		{name: "TERM TERM TERM", mode: "hang", exchange: []exchange{{syscall.SIGTERM, "draining"}, {syscall.SIGTERM, "hurried"}, {syscall.SIGTERM, ""}}, wantCode: -1, wantKilled: syscall.SIGTERM},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			exe, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(ctx, exe)
			// The race detector would sleep for a second at the child's exit.
			cmd.Env = append(os.Environ(), childEnv+"="+tc.mode, "GORACE=atexit_sleep_ms=0")
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewScanner(out)
			hear := func() string { lines.Scan(); return lines.Text() }

			got, want := []string{hear()}, []string{"started"}
			for _, e := range tc.exchange {
				if err := cmd.Process.Signal(e.send); err != nil {
					t.Fatal(err)
				}
				if e.hear != "" {
					got, want = append(got, hear()), append(want, e.hear)
				}
			}
			if lines.Scan() {
				t.Errorf("one more line than expected: %q", lines.Text())
			}
			_ = cmd.Wait() // the state says it all
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("lines (-want +got):\n%s", diff)
			}
			status := cmd.ProcessState.Sys().(syscall.WaitStatus)
			if code := cmd.ProcessState.ExitCode(); code != tc.wantCode || tc.wantKilled != 0 && status.Signal() != tc.wantKilled {
				t.Errorf("ended with %s, want code %d, signal %d", cmd.ProcessState, tc.wantCode, tc.wantKilled)
			}
		})
	}
}
