package engines

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
)

// An announcement is an announce at work on one engine, and what it has written.
type announcement struct {
	*history
	*process
	e      *engine
	status string // URL
}

// ports are given out once each; in the world, nobody else listens.
type ports struct{ last atomic.Int32 }

// announce runs until the test ends, when nothing of it may be left.
func announce(t *testing.T, e *engine, args ...string) *announcement {
	t.Helper()
	a := &announcement{history: remember(t), e: e}
	listen := fmt.Sprintf("127.0.0.1:%d", 20000+testbed.ports.last.Add(1))
	a.status = "http://" + listen
	p, err := launch([]string{"DOCKER_HOST=unix://" + e.socket}, testbed.announce, append([]string{
		"--endpoints", testbed.etcd, "--prefix", strings.TrimSuffix(a.prefix, "/"), "--address", machine,
		"--state-dir", t.TempDir(), "--listen", listen, "--log-format", "text",
	}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	a.process = p
	t.Cleanup(func() {
		p.end(syscall.SIGTERM)
		if code := p.cmd.ProcessState.ExitCode(); code != 0 {
			t.Errorf("announce exits with %d, want 0", code)
		}
		if t.Failed() {
			t.Logf("announce:\n%s\n%s:\n%s", p.output(), e.name, e.output())
		}
	})
	return a
}

// ready waits until announce says that all is well.
func (a *announcement) ready(t *testing.T) {
	t.Helper()
	eventually(t, "announce is ready", func() error {
		code, body, err := get(a.status + "/readyz")
		if err == nil && code != http.StatusOK {
			err = fmt.Errorf("%d %s", code, body)
		}
		return err
	})
}

// away waits until announce says that the engine does not answer.
func (a *announcement) away(t *testing.T) {
	t.Helper()
	eventually(t, "announce says that the engine is away", func() error {
		code, body, err := get(a.status + "/readyz")
		if err == nil && (code != http.StatusServiceUnavailable || !strings.Contains(body, "docker")) {
			err = fmt.Errorf("%d %s", code, body)
		}
		return err
	})
}

// right waits until etcd has exactly what the engine runs, and the containers answer there.
func (a *announcement) right(t *testing.T, when string) {
	t.Helper()
	eventually(t, when+": etcd and engine agree", func() error { return a.agree(a.e) })
	now, _ := a.now()
	for key := range now {
		_, name, _ := strings.Cut(key, "/"+node(t)+"-")
		a.answers(t, name)
	}
}

// there waits until a container is announced somewhere, and answers there.
func (a *announcement) there(t *testing.T, name, endpoint string) {
	t.Helper()
	eventually(t, name+" is announced", func() error {
		if r, ok := a.of(name); !ok || r.endpoint() != endpoint {
			return fmt.Errorf("got %+v, want %s", r, endpoint)
		}
		return nil
	})
	a.answers(t, name)
}

// gone waits until a container is not announced.
func (a *announcement) gone(t *testing.T, name string) {
	t.Helper()
	eventually(t, name+" is not announced", func() error {
		if r, ok := a.of(name); ok {
			return fmt.Errorf("got %+v", r)
		}
		return nil
	})
}

// answers checks that the container is where its record says.
func (a *announcement) answers(t *testing.T, name string) {
	t.Helper()
	eventually(t, name+" answers", func() error {
		r, ok := a.of(name)
		if !ok {
			return errors.New("no record")
		}
		_, body, err := get("http://" + r.endpoint() + "/")
		if err == nil && body != name {
			err = fmt.Errorf("%q answers", body)
		}
		return err
	})
}

// get sends one request on a connection of its own.
func get(url string) (code int, body string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience/4)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	req.Close = true
	res, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return res.StatusCode, string(b), err
}

// node is what announce calls this machine.
func node(t *testing.T) string {
	t.Helper()
	name, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	name, _, _ = strings.Cut(name, ".")
	return strings.ToLower(name)
}
