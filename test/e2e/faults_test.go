package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"rollcall/internal/discovery/etcd"
	"rollcall/test/ports"
)

// Nothing answers at first. Both programs say so once, are not ready, and become
// so by themselves.
func TestEtcdAwayAtStart(t *testing.T) {
	t.Parallel()
	port := ports.Free(t)
	endpoint := "http://" + local(port)
	name := unique("early")
	runContainer(t, name, "v1", "-P", "--label", "rollcall.service=early")
	status := ports.Free(t)
	a := start(t, nil, testbed.announce, "--endpoints", endpoint, "--container", name, "--address", testbed.address,
		"--state-dir", t.TempDir(), "--listen", local(status), "--log-format", "text")
	b := launchRender(t, "nginx", endpoint, "--service", "early")
	for who, p := range map[string]*process{"announce": a, "render": b.process} {
		eventually(t, who+" says that etcd is away", func() error {
			if !strings.Contains(p.output(), "etcd does not answer") {
				return errors.New(p.output())
			}
			return nil
		})
	}
	for who, url := range map[string]string{"announce": "http://" + local(status), "render": b.status} {
		if code, _, body := get(url + "/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(body, "etcd") {
			t.Errorf("%s without etcd: /readyz gives %d %q, want 503 and the reason", who, code, body)
		}
	}
	server, err := etcd.StartServer(t.Context(), t.TempDir(), []string{endpoint})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	eventually(t, "announce is ready", func() error { return ready("http://" + local(status)) })
	eventually(t, "render is ready", func() error { return ready(b.status) })
	eventually(t, "the container is routed", func() error { return evenly(b.url, name) })
	for who, p := range map[string]*process{"announce": a, "render": b.process} {
		for _, what := range []string{"records", "lease", "drains", "acknowledgements"} {
			if n := strings.Count(p.output(), `msg="etcd does not answer; retrying" for=`+what); n > 1 {
				t.Errorf("%s says %d times that etcd is away for %s, want once", who, n, what)
			}
		}
	}
	// In order, while there is an etcd to withdraw from.
	a.signal(syscall.SIGTERM)
	a.wait()
}

// Docker is away at the start: an address on which nothing listens stands for it.
func TestDockerAwayAtStart(t *testing.T) {
	t.Parallel()
	endpoint := newEtcd(t)
	socket := filepath.Join(serverDir(t), "docker.sock")
	status := ports.Free(t)
	a := start(t, []string{"DOCKER_HOST=unix://" + socket}, testbed.announce, "--endpoints", endpoint, "--explicit",
		"--address", testbed.address, "--state-dir", t.TempDir(), "--listen", local(status), "--log-format", "text")
	eventually(t, "announce says that Docker is away", func() error {
		code, _, body := get("http://" + local(status) + "/readyz")
		if code != http.StatusServiceUnavailable || !strings.Contains(body, "docker") {
			return fmt.Errorf("%d %s", code, body)
		}
		return nil
	})
	// Docker comes: its real socket, under the other name.
	forward(t, socket, "/var/run/docker.sock")
	eventually(t, "announce is ready", func() error { return ready("http://" + local(status)) })
	a.signal(syscall.SIGTERM)
	if code := a.wait(); code != 0 {
		t.Errorf("announce exits with %d, want 0", code)
	}
}

// Records that are not valid are named and counted; the good ones are served.
func TestBadRecords(t *testing.T) {
	t.Parallel()
	endpoint := newEtcd(t)
	backend := serveName(t, "good")
	put(t, endpoint, "/services/web/good", backend)
	bad := map[string]string{
		"/services/web/a":        "127.0.0.1:99999",
		"/services/web/b":        `{"host":"127.0.0.1; return 200 owned","port":80}`,
		"/services/web/c":        `{"host":"127.0.0.1","port":`,
		"/services/web/Upper":    backend,
		"/services/we b/d":       backend,
		"/services/web/e/f/g":    backend,
		"/services/web/h":        "http://user@127.0.0.1:80/",
		"/services/web/i":        `{"host":"127.0.0.1","port":80,"version":"1\n}\nserver { listen 1; }"}`,
		"/services/web/nowhere":  "name.invalid:80",
		"/services/lonely":       backend,
		"/services/web/half/way": "x",
	}
	for key, value := range bad {
		put(t, endpoint, key, value)
	}
	b := startRender(t, "nginx", endpoint, "--service", "web")
	eventually(t, "the good one is served alone", func() error { return evenly(b.url, "good") })
	_, _, status := get(b.status + "/status")
	for key := range bad {
		switch key {
		case "/services/web/nowhere":
			key = "name.invalid" // valid, but without an address
		case "/services/web/half/way":
			key = "/services/web/half" // the record that its fields make
		}
		if !strings.Contains(status, key) {
			t.Errorf("status does not name %s:\n%s", key, status)
		}
		// A directory that lacks fields may be about to be completed: no warning.
		if key != "/services/web/half" && !strings.Contains(b.output(), key) {
			t.Errorf("the log does not name %s", key)
		}
	}
	if n := strings.Count(b.output(), "key=/services/web/a "); n != 1 {
		t.Errorf("a refused record is named %d times in the log, want once", n)
	}
	_, _, metrics := get(b.status + "/metrics")
	if want := "rollcall_catalog_refused " + strconv.Itoa(len(bad)-1); !strings.Contains(metrics, want+"\n") {
		t.Errorf("metrics lack %q", want)
	}
}

// A template that fails, and one whose result the server refuses: the old
// configuration keeps serving, and the server's own words are told.
func TestBadTemplates(t *testing.T) {
	onEach(t, func(t *testing.T, proxy string) {
		endpoint := newEtcd(t)
		put(t, endpoint, "/services/web/good", serveName(t, "good"))
		s := newServer(t, proxy)
		args := s.args(endpoint, "--service", "web", "--once")
		if code := start(t, nil, testbed.render, args...).wait(); code != 0 {
			t.Fatalf("render --once exits with %d, want 0", code)
		}
		eventually(t, "it is served", func() error { return evenly(s.url, "good") })
		before := s.fragment(t)

		for text, words := range map[string]string{
			"{{.Nothing}}\n": "Nothing",
			"this is no configuration {{.Generation}}\n": map[string]string{
				"nginx":   "unexpected end of file",
				"apache":  "Invalid command 'this'",
				"haproxy": "unknown keyword 'this'",
			}[proxy],
		} {
			template := filepath.Join(t.TempDir(), "bad.tmpl")
			if err := os.WriteFile(template, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			p := start(t, nil, testbed.render, append(args, "--template", template)...)
			if code := p.wait(); code != 1 {
				t.Errorf("with template %q render --once exits with %d, want 1", text, code)
			}
			if !strings.Contains(p.output(), words) {
				t.Errorf("with template %q render does not say %q:\n%s", text, words, p.output())
			}
			if got := s.fragment(t); got != before {
				t.Errorf("with template %q the file changed to:\n%s", text, got)
			}
			if err := evenly(s.url, "good"); err != nil {
				t.Errorf("with template %q: %v", text, err)
			}
		}
	})
}

// Several mistakes are told at once, and how to put them right.
func TestMistakes(t *testing.T) {
	t.Parallel()
	p := start(t, []string{"RENDER_MIN_WAIT=soon"}, testbed.render, "nginx", "--listen", "nowhere", "--route", "x", "--endpoint", "y")
	if code := p.wait(); code != 2 {
		t.Errorf("exit code %d, want 2", code)
	}
	for _, want := range []string{"--endpoint", "did you mean --endpoints?"} {
		if !strings.Contains(p.output(), want) {
			t.Errorf("output lacks %q:\n%s", want, p.output())
		}
	}
	p = start(t, []string{"RENDER_MIN_WAIT=soon"}, testbed.render, "nginx", "--listen", "nowhere", "--route", "x")
	if code := p.wait(); code != 2 {
		t.Errorf("exit code %d, want 2", code)
	}
	for _, want := range []string{"RENDER_MIN_WAIT", "--listen", "--route", "hint: "} {
		if !strings.Contains(p.output(), want) {
			t.Errorf("output lacks %q:\n%s", want, p.output())
		}
	}
}
