package e2e

import (
	"errors"
	"net"
	"strings"
	"syscall"
	"testing"
)

// A port that somebody else listens on: no server's own check looks, and Apache would
// die of it. The old configuration stays, whoever holds the port is named, and once it
// is free all goes on although nothing has changed.
func TestPortIsTaken(t *testing.T) {
	onEach(t, func(t *testing.T, proxy string) {
		occupy := func(t *testing.T) (l net.Listener, words []string) {
			t.Helper()
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = l.Close() })
			return l, []string{"listen on " + l.Addr().String(), "address already in use", "e2e.test, pid "}
		}
		t.Run("once", func(t *testing.T) {
			t.Parallel()
			endpoint := newEtcd(t)
			put(t, endpoint, "/services/web/a", serveName(t, "a"))
			s := newServer(t, proxy)
			args := s.args(endpoint, "--service", "web", "--once")
			if p := start(t, nil, testbed.render, args...); p.wait() != 0 {
				t.Fatal(p.output())
			}
			before := s.fragment(t)
			taken, words := occupy(t)
			args = append(args, "--listen", taken.Addr().String())
			p := start(t, nil, testbed.render, args...)
			if code := p.wait(); code != 1 {
				t.Errorf("with a port that is taken render exits with %d, want 1", code)
			}
			for _, want := range words {
				if !strings.Contains(p.output(), want) {
					t.Errorf("output lacks %q:\n%s", want, p.output())
				}
			}
			if err := errors.Join(holds(s.output(), before), evenly(s.url, "a")); err != nil {
				t.Error(err)
			}
			_ = taken.Close()
			p = start(t, nil, testbed.render, args...)
			switch code := p.wait(); {
			case proxy != "apache":
				if code != 0 {
					t.Errorf("with the port free:\n%s", p.output())
				}
			case code != 1 || !strings.Contains(p.output(), "does not listen on "+taken.Addr().String()): // only its own configuration can have it listen
				t.Errorf("Apache, which is not told to listen there: exit code %d\n%s", code, p.output())
			}
		})
		t.Run("daemon", func(t *testing.T) {
			t.Parallel()
			endpoint := newEtcd(t)
			put(t, endpoint, "/services/web/a", serveName(t, "a"))
			first := startRender(t, proxy, endpoint, "--service", "web")
			first.signal(syscall.SIGKILL)
			first.wait()
			taken, words := occupy(t)
			b := &balancer{
				process: start(t, nil, testbed.render, append(first.cmd.Args[1:], "--listen", taken.Addr().String())...),
				url:     first.url, status: first.status,
			}
			for _, want := range words {
				b.says(t, want)
			}
			if err := evenly(b.url, "a"); err != nil {
				t.Errorf("the old configuration: %v", err)
			}
			_ = taken.Close()
			eventually(t, "it serves once the port is free", func() error {
				return errors.Join(ready(b.status), evenly("http://"+taken.Addr().String(), "a"), evenly(b.url, "a"))
			})
			if n := strings.Count(b.output(), `msg="configuration is not in service`); n != 1 {
				t.Errorf("the log says %d times why, want once", n)
			}
		})
	})
}

// The server takes the configuration, and does not say that it serves it. What served
// before does so again, on disk too. Apache's trial start finds out before that.
func TestUnconfirmed(t *testing.T) {
	onEach(t, func(t *testing.T, proxy string) {
		endpoint := newEtcd(t)
		put(t, endpoint, "/services/web/a", serveName(t, "a"))
		template, good := ownTemplate(t, proxy)
		s := newServer(t, proxy)
		args := s.args(endpoint, "--service", "web", "--template", template, "--once")
		if p := start(t, nil, testbed.render, args...); p.wait() != 0 {
			t.Fatal(p.output())
		}
		before := s.fragment(t)
		bad := strings.ReplaceAll(good, "{{$.Generation}}", "another-{{$.Generation}}")
		if bad == good {
			t.Fatal("the template does not answer with its generation")
		}
		replace(t, template, bad)
		p := start(t, nil, testbed.render, args...)
		if code := p.wait(); code != 1 {
			t.Errorf("render exits with %d, want 1", code)
		}
		step := "confirm: "
		if proxy == "apache" {
			step = "trial start"
		}
		if !strings.Contains(p.output(), step) {
			t.Errorf("it does not say what is wrong:\n%s", p.output())
		}
		if err := errors.Join(holds(s.output(), before), evenly(s.url, "a")); err != nil {
			t.Error(err)
		}
		replace(t, template, good)
		put(t, endpoint, "/services/web/b", serveName(t, "b"))
		if p := start(t, nil, testbed.render, args...); p.wait() != 0 {
			t.Error(p.output())
		}
		if err := evenly(s.url, "a", "b"); err != nil {
			t.Error(err)
		}
	})
}
