package daemon

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// listen opens a socket as systemd does and makes it this process's NOTIFY_SOCKET.
func listen(t *testing.T) (next func() string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	return func() string {
		t.Helper()
		if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 4096)
		n, err := conn.Read(buf)
		if err != nil {
			t.Fatalf("no message: %v", err)
		}
		return string(buf[:n])
	}
}

func TestNotifierSpeaksToSystemd(t *testing.T) {
	next := listen(t)
	var j journal
	n := NewNotifier(j.logger())
	for _, step := range []struct {
		do   func()
		want string
	}{
		{func() { n.Ready([]string{"etcd: connection refused", "docker: gone"}) }, "STATUS=Not ready: etcd: connection refused"},
		{func() { n.Ready(nil) }, "READY=1\nSTATUS=Ready"},
		{func() { n.Ready([]string{"etcd: a\nMAINPID=1\tb"}) }, "STATUS=Not ready: etcd: a MAINPID=1 b"},
		{func() { n.Ready(nil) }, "STATUS=Ready"},
		{func() { n.stop("drain", 31*time.Second) }, "STOPPING=1\nSTATUS=Stopping: drain\nEXTEND_TIMEOUT_USEC=31000000"},
		{func() { n.Ready(nil); n.stop("etcd", 1500*time.Millisecond) }, "STATUS=Stopping: etcd\nEXTEND_TIMEOUT_USEC=1500000"},
	} {
		step.do()
		if got := next(); got != step.want {
			t.Errorf("got %q, want %q", got, step.want)
		}
	}
	if got := j.lines(); len(got) > 0 {
		t.Errorf("logged %q, want nothing", got)
	}
}

func TestNotifierIsNothingWithoutSystemd(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	t.Setenv("WATCHDOG_USEC", "")
	var j journal
	n := NewNotifier(j.logger())
	n.Ready(nil)
	n.stop("drain", time.Second)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := n.Watchdog(ctx, func() error { return errors.New("asked although nobody wants to know") }); err != nil {
		t.Errorf("Watchdog: %v", err)
	}
	if got := j.lines(); len(got) > 0 {
		t.Errorf("logged %q, want nothing", got)
	}
}

func TestNotifierLogsABrokenSocketOnce(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "missing"))
	var j journal
	n := NewNotifier(j.logger())
	n.Ready(nil)
	n.Ready([]string{"etcd: gone"})
	got := j.lines()
	if len(got) != 1 || !strings.HasPrefix(got[0], `level=WARN msg="systemd cannot be notified" err="dial unixgram`) {
		t.Errorf("logged %q, want one line", got)
	}
}

func TestNotifierReadsTheWatchdogInterval(t *testing.T) {
	for _, tc := range []struct {
		usec string
		want time.Duration
		line string
	}{
		{"30000000", 30 * time.Second, ""},
		{"", 0, ""},
		{"soon", 0, `level=WARN msg="watchdog is off" err="error converting WATCHDOG_USEC: strconv.Atoi: parsing \"soon\": invalid syntax"`},
	} {
		t.Setenv("WATCHDOG_USEC", tc.usec)
		t.Setenv("WATCHDOG_PID", "")
		var j journal
		n := NewNotifier(j.logger())
		if n.watchdog != tc.want {
			t.Errorf("WATCHDOG_USEC=%s: got %s, want %s", tc.usec, n.watchdog, tc.want)
		}
		if got := strings.Join(j.lines(), "\n"); got != tc.line {
			t.Errorf("WATCHDOG_USEC=%s: logged %q, want %q", tc.usec, got, tc.line)
		}
	}
}

func TestWatchdog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		var stuck fault
		n := j.notifier(20 * time.Second)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- n.Watchdog(ctx, stuck.check) }()
		expect := func(when string, want int) {
			t.Helper()
			synctest.Wait()
			if diff := cmp.Diff(strings.Repeat("WATCHDOG=1 ", want), strings.Join(append(j.messages(), ""), " ")); diff != "" {
				t.Errorf("%s (-want +got):\n%s", when, diff)
			}
		}
		expect("at once", 1)
		time.Sleep(9 * time.Second)
		expect("before half the interval", 0)
		time.Sleep(time.Second)
		expect("at half the interval", 1)
		time.Sleep(time.Minute)
		expect("in a minute", 6)

		stuck.set(errors.New("loop stuck for 1m0s"))
		time.Sleep(time.Minute)
		expect("while stuck", 0)
		stuck.set(nil)
		time.Sleep(10 * time.Second)
		expect("when it moves again", 1)
		n.stop("drain", time.Minute)
		j.messages()
		time.Sleep(10 * time.Second)
		expect("while stopping", 1)

		if diff := cmp.Diff([]string{`level=ERROR msg="not alive, watchdog is not answered" err="loop stuck for 1m0s"`}, j.lines()); diff != "" {
			t.Errorf("log (-want +got):\n%s", diff)
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Watchdog: %v", err)
		}
	})
}

func TestStatusText(t *testing.T) {
	for _, tc := range []struct{ in, want string }{
		{"Ready", "Ready"},
		{"ünï", "ünï"},
		{"a\r\nREADY=1\x00\u2028b", "a  READY=1  b"},
		{strings.Repeat("é", 200), strings.Repeat("é", 200)},
		{strings.Repeat("é", 201), strings.Repeat("é", 199) + "…"},
	} {
		if got := statusText(tc.in); got != tc.want {
			t.Errorf("statusText(%q) = %q, want %q", tc.in, got, tc.want)
		}
	}
}
