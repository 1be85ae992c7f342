package e2e

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"rollcall/test/ports"
)

// A supervisor hears what a unit of Type=notify tells systemd.
type supervisor struct {
	socket string

	mu    sync.Mutex
	heard []string
}

func newSupervisor(t *testing.T) *supervisor {
	t.Helper()
	// The path of a socket must be short.
	dir, err := os.MkdirTemp("", "rollcall-notify-")
	if err != nil {
		t.Fatal(err)
	}
	s := &supervisor{socket: filepath.Join(dir, "notify")}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: s.socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() {
		_ = conn.Close()
		<-done
		_ = os.RemoveAll(dir)
	})
	go func() {
		defer close(done)
		buffer := make([]byte, 8192)
		for {
			n, err := conn.Read(buffer)
			if err != nil {
				return
			}
			s.mu.Lock()
			s.heard = append(s.heard, string(buffer[:n]))
			s.mu.Unlock()
		}
	}()
	return s
}

// hears says whether a message that contains the words has come.
func (s *supervisor) hears(words string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, message := range s.heard {
		if strings.Contains(message, words) {
			return nil
		}
	}
	return fmt.Errorf("no word of %q in %q", words, s.heard)
}

// sidekick starts a container and the announcer of it, as systemd would.
func sidekick(t *testing.T, endpoint string, args ...string) (web, status string, s *supervisor, a *process) {
	t.Helper()
	web = unique("web")
	runContainer(t, web, "v1", "-P")
	status, s, a = sidekickOf(t, endpoint, web, args...)
	return web, status, s, a
}

func sidekickOf(t *testing.T, endpoint, web string, args ...string) (status string, s *supervisor, a *process) {
	t.Helper()
	s = newSupervisor(t)
	port := local(ports.Free(t))
	a = start(t, []string{"NOTIFY_SOCKET=" + s.socket}, testbed.announce, append([]string{
		"--endpoints", endpoint, "--address", testbed.address, "--state-dir", t.TempDir(), "--listen", port, "--log-format", "text",
		"--container", web, "--service", "website", "--ttl", "60s",
	}, args...)...)
	return "http://" + port, s, a
}

// server gives the master of the nginx that a render supervises.
func (b *balancer) server(t *testing.T) *os.Process {
	t.Helper()
	var found *os.Process
	eventually(t, "nginx's master is found", func() error {
		lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", b.cmd.Process.Pid))
		if err != nil {
			return err
		}
		for _, list := range lists {
			children, _ := os.ReadFile(list) // a thread may have ended
			for _, child := range strings.Fields(string(children)) {
				pid, err := strconv.Atoi(child)
				if err != nil {
					return err
				}
				if line, _ := os.ReadFile("/proc/" + child + "/cmdline"); strings.HasPrefix(string(line), "nginx: master") {
					found, err = os.FindProcess(pid)
					return err
				}
			}
		}
		return errors.New("no child is nginx's master")
	})
	return found
}

// A sidekick is ready when its container is routed to, and not before.
func TestReadyWhenRouted(t *testing.T) {
	t.Parallel()
	endpoint := newEtcd(t)
	b := startRender(t, "nginx", endpoint, "--service", "website", "--set", "dynamic=off", "--timeout", "5s") // workers need no master
	r := record(t, endpoint, "website")
	master := b.server(t)
	if err := master.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	// Or nothing could end it.
	t.Cleanup(func() { _ = master.Signal(syscall.SIGCONT) })

	web, status, s, a := sidekick(t, endpoint, "--wait-routed", "10m")
	r.holds(t, "it is announced", "website/"+web)
	waiting := "routed: not every balancer is known to route to website/" + web + " yet"
	eventually(t, "systemd is told what it waits for", func() error { return s.hears("STATUS=Not ready: " + waiting) })
	b.says(t, `"instances": 1`) // render has it, and nginx not
	if err := s.hears("READY=1"); err == nil {
		t.Errorf("ready before it is routed to:\n%s", a.output())
	}
	if err := ready(status); err == nil || !strings.Contains(err.Error(), waiting) {
		t.Errorf("/readyz says %v, want %s", err, waiting)
	}

	if err := master.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is ready", func() error { return s.hears("READY=1") })
	if err := evenly(b.url, web); err != nil {
		t.Errorf("it is ready and not routed to: %v", err)
	}
	if err := ready(status); err != nil {
		t.Error(err)
	}
	if !strings.Contains(a.output(), `msg="routed by every renderer" instances=[website/`+web+"]") {
		t.Errorf("it does not say so:\n%s", a.output())
	}
	a.signal(syscall.SIGTERM)
	if code := a.wait(); code != 0 || !strings.Contains(a.output(), "confirmed_by=1") {
		t.Errorf("exit code %d after TERM:\n%s", code, a.output())
	}
}

// A balancer that stays behind is named, and is no reason to call the container failed.
func TestReadyAtTheDeadline(t *testing.T) {
	t.Parallel()
	endpoint := newEtcd(t)
	record(t, endpoint, "website").stuck(t, "lb-1-nginx-1234")
	_, status, s, a := sidekick(t, endpoint, "--wait-routed", "2s", "--drain-timeout", "1s")
	eventually(t, "it is ready all the same", func() error { return s.hears("READY=1") })
	if err := ready(status); err != nil {
		t.Error(err)
	}
	if want := "level=WARN msg=\"ready, although not every balancer is known to route to what is here\" reasons=\"not confirmed by lb-1-nginx-1234 on lb-1, which has applied revision 1 of"; !strings.Contains(a.output(), want) {
		t.Errorf("no %s in\n%s", want, a.output())
	}
}

func TestReadyAndWithdrawnWithoutRenderers(t *testing.T) {
	t.Parallel()
	web, _, s, a := sidekick(t, newEtcd(t), "--wait-routed", "10m", "--drain-timeout", "10m")
	eventually(t, "it is ready", func() error { return s.hears("READY=1") })
	a.signal(syscall.SIGTERM)
	code := a.wait()
	for _, want := range []string{
		`there is nobody to wait for" instances=[website/` + web + "] uncovered=[website]",
		"msg=withdrawn records=1 confirmed_by=0", `note="no renderer covers them, so there was nobody to wait for"`,
	} {
		if code != 0 || !strings.Contains(a.output(), want) {
			t.Errorf("exit code %d, want 0 and %s in\n%s", code, want, a.output())
		}
	}
}

// An instance that is ill is not announced, and not waited for longer than the limit.
func TestReadyAlthoughIll(t *testing.T) {
	t.Parallel()
	web := unique("web")
	runContainer(t, web, "v1", "-P")
	url := "http://" + at(t, web, "8080/tcp")
	eventually(t, "it answers", func() error {
		if code, _, body := get(url); code != 200 {
			return errors.New(body)
		}
		return nil
	})
	post(t, url+"/sick")
	_, s, a := sidekickOf(t, newEtcd(t), web, "--wait-routed", "2s", "--check", "http://:8080/healthz")
	eventually(t, "it is ready all the same", func() error { return s.hears("READY=1") })
	if want := `reasons="website/` + web + " is not announced: check "; !strings.Contains(a.output(), want) {
		t.Errorf("no %s in\n%s", want, a.output())
	}
}

// Who was killed is waited for until its lease has ended, and no longer.
func TestStopAfterARenderWasKilled(t *testing.T) {
	t.Parallel()
	endpoint := newEtcd(t)
	b := startRender(t, "nginx", endpoint, "--service", "website")
	master := b.server(t)
	t.Cleanup(func() { _ = master.Signal(syscall.SIGTERM) }) // nobody else ends it
	_, _, s, a := sidekick(t, endpoint, "--wait-routed", "10m", "--drain-timeout", "10m")
	eventually(t, "it is ready", func() error { return s.hears("READY=1") })
	b.signal(syscall.SIGKILL)
	b.wait()
	began := time.Now()
	a.signal(syscall.SIGTERM)
	if code := a.wait(); code != 0 || !strings.Contains(a.output(), "confirmed_by=0") {
		t.Errorf("exit code %d:\n%s", code, a.output())
	}
	if took := time.Since(began); took > 30*time.Second { // the lease is of ten
		t.Errorf("it took %s", took)
	}
}

// Of two balancers the one that is stuck is named, and only that.
func TestStopNamesWhoIsStuck(t *testing.T) {
	t.Parallel()
	endpoint := newEtcd(t)
	b := startRender(t, "nginx", endpoint, "--service", "website")
	web, _, s, a := sidekick(t, endpoint, "--wait-routed", "10m", "--drain-timeout", "3s")
	eventually(t, "it is ready", func() error { return s.hears("READY=1") })
	record(t, endpoint, "website").stuck(t, "lb-1-nginx-1234")
	a.signal(syscall.SIGTERM)
	code := a.wait()
	want := "stop withdrawal: not confirmed by lb-1-nginx-1234 on lb-1, which has applied revision 1 of"
	_, said, _ := strings.Cut(a.output(), "announce: ")
	if code != 1 || !strings.HasPrefix(said, want) || !strings.HasSuffix(said, ": not within 3s\n") || strings.Contains(said, ";") {
		t.Errorf("exit code %d, want 1 and %s in\n%s", code, want, a.output())
	}
	if err := b.without(web); err == nil {
		t.Error("requests are answered without an instance")
	}
}
