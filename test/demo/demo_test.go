package main

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestWrongOptions(t *testing.T) {
	o := options{proxy: "squid", port: 70000, rate: 1, bin: t.TempDir()}
	err := o.validate()
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		`proxy "squid" is none of nginx, apache and haproxy`, "port 70000 is not from 1 to 65535",
		"rate 1 is not from 10 to 2000 a second", "announce: no such file or directory; make demo builds it",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error lacks %q:\n%v", want, err)
		}
	}
}

func TestFreePorts(t *testing.T) {
	taken, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	preferred := taken.Addr().(*net.TCPAddr).Port
	ports, err := freePorts(preferred, 3)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(ports)
	if len(slices.Compact(ports)) != 3 || slices.Contains(ports, preferred) {
		t.Errorf("got %v, want three different ones without %d, which is taken", ports, preferred)
	}
	taken.Close()
	if ports, err := freePorts(preferred, 2); err != nil || ports[0] != preferred {
		t.Errorf("got %v, %v, want %d first, which is free", ports, err, preferred)
	}
}

func TestInstanceOf(t *testing.T) {
	list := `[{"service":"hello","instance":"drained","routed_by":[]},{"service":"hello","instance":"core-01-web-1","container":"c0ffee"}]`
	for _, tt := range []struct{ container, want string }{
		{"c0ffee", "core-01-web-1"},
		{"c0ffee0123456789", "core-01-web-1"}, // a record may hold the short id
		{"beef", ""},
	} {
		if got, err := instanceOf(list, tt.container); err != nil || got != tt.want {
			t.Errorf("instance of %s is %q, %v, want %q", tt.container, got, err, tt.want)
		}
	}
	if _, err := instanceOf("SERVICE INSTANCE", "c0ffee"); err == nil || !strings.Contains(err.Error(), "read announce list") {
		t.Errorf("a table is read as JSON: %v", err)
	}
}

func TestMachineAddress(t *testing.T) {
	for _, tt := range []struct{ name, inspect, want string }{
		{"gateway", "127.0.0.1 nosuchbridge", "127.0.0.1"},
		{"gateway of another machine, bridge is here", "192.0.2.7 lo", "127.0.0.1"},
		{"no gateway told", "lo", "127.0.0.1"},
		{"IPv6 first", "2001:db8::1 127.0.0.1 lo", "127.0.0.1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fakeDocker(t, "echo '"+tt.inspect+"'")
			if got, err := machineAddress(t.Context()); err != nil || got != tt.want {
				t.Errorf("got %q, %v, want %q", got, err, tt.want)
			}
		})
	}
}

// Ctrl-C does not cut off what the engine would finish by itself; a hurry does.
func TestCreateFinishes(t *testing.T) {
	made := filepath.Join(t.TempDir(), "made")
	started := made + "-started"
	fakeDocker(t, "touch "+started+"; while [ ! -e "+made+"-go ]; do sleep 0.01; done; touch "+made+"; echo id")
	patience, hurry := context.WithCancel(t.Context())
	defer hurry()
	d := newDemo(patience, options{}, newTeller(io.Discard))

	ctx, interrupt := context.WithCancel(t.Context())
	go func() {
		waitFor(started)
		interrupt()
		_ = os.WriteFile(made+"-go", nil, 0o600)
	}()
	_, err := d.create(ctx, "run")
	if !errors.Is(err, context.Canceled) || d.late.Load() {
		t.Errorf("got %v, late %v, want an end by interruption, but nothing cut off", err, d.late.Load())
	}
	if _, err := os.Stat(made); err != nil {
		t.Errorf("the command was cut off: %v", err)
	}

	for _, f := range []string{started, made, made + "-go"} {
		if err := os.Remove(f); err != nil {
			t.Fatal(err)
		}
	}
	go func() {
		waitFor(started)
		hurry()
	}()
	if _, err := d.create(t.Context(), "run"); err == nil || !d.late.Load() {
		t.Errorf("got %v, late %v, want a command that was cut off", err, d.late.Load())
	}
}

func TestCommandSaysWhatFailed(t *testing.T) {
	fakeDocker(t, "echo 'Error: no such network' >&2; exit 3")
	_, err := docker(t.Context(), "network", "inspect", "bridge")
	want := "docker network inspect bridge: exit status 3\nError: no such network"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// Everything that was started is stopped, the last first, whatever fails.
func TestCleanupInReverse(t *testing.T) {
	d := newDemo(t.Context(), options{}, newTeller(io.Discard))
	var order []string
	for _, what := range []string{"first", "second", "third"} {
		d.onStop(what, func(context.Context) error {
			order = append(order, what)
			if what == "second" {
				return errors.New("cannot")
			}
			return nil
		})
	}
	err := d.cleanup()
	if got := strings.Join(order, " "); got != "third second first" {
		t.Errorf("stopped %s, want third second first", got)
	}
	if err == nil || err.Error() != "second: cannot" {
		t.Errorf("got %v, want second: cannot", err)
	}
	if err := d.cleanup(); err != nil || len(order) != 3 {
		t.Errorf("stopped again: %v, %v", order, err)
	}
}

func TestSignals(t *testing.T) {
	interrupted, patience, release := signals()
	defer release()
	for _, tt := range []struct {
		which string
		ctx   context.Context
	}{{"first", interrupted}, {"second", patience}} {
		if tt.ctx.Err() != nil {
			t.Errorf("ended before the %s signal", tt.which)
		}
		if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		select {
		case <-tt.ctx.Done():
		case <-time.After(5 * time.Second):
			t.Fatalf("the %s signal was not seen", tt.which)
		}
	}
}

func TestTeller(t *testing.T) {
	for _, tt := range []struct {
		name string
		live bool
		want string
	}{
		{"file", false, "✓ built  (0.0 s)\nhello\n✗ killing\n✓ no beginning\n"},
		{"terminal", true, "… building\r\x1b[K✓ built  (0.0 s)\nhello\n… killing\r\x1b[K✗ killing\n✓ no beginning\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out strings.Builder
			tell := newTeller(&out)
			tell.live = tt.live
			tell.begin("building")
			tell.end(true, "built")
			tell.say("hello")
			tell.begin("killing")
			tell.abandon()
			tell.abandon()
			tell.end(true, "no beginning")
			if out.String() != tt.want {
				t.Errorf("got %q, want %q", out.String(), tt.want)
			}
		})
	}
}

// fakeDocker puts a script in the place of the docker command.
func fakeDocker(t *testing.T, script string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "docker"), []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

// waitFor waits until a file is there, or for five seconds.
func waitFor(path string) {
	_ = poll(context.Background(), 5*time.Second, path, func(context.Context) (bool, error) {
		_, err := os.Stat(path)
		return err == nil, nil
	})
}

func alive(pid int) bool {
	_, err := os.Stat("/proc/" + strconv.Itoa(pid))
	return err == nil
}
