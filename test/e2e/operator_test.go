package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"rollcall/test/ports"
)

// balancers are the servers that render knows.
var balancers = []string{"nginx", "apache", "haproxy"}

// onEach runs a test once for each server.
func onEach(t *testing.T, test func(t *testing.T, proxy string)) {
	t.Parallel()
	for _, proxy := range balancers {
		t.Run(proxy, func(t *testing.T) {
			t.Parallel()
			test(t, proxy)
		})
	}
}

// replace puts a file in the place of another, as an editor does.
func replace(t *testing.T, path, content string) {
	t.Helper()
	next := path + ".next"
	if err := os.WriteFile(next, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, path); err != nil {
		t.Fatal(err)
	}
}

// says waits until the status of a render holds a text.
func (b *balancer) says(t *testing.T, text string) {
	t.Helper()
	eventually(t, "the status says "+text, func() error {
		if _, _, status := get(b.status + "/status"); !strings.Contains(status, text) {
			return errors.New(status)
		}
		return nil
	})
}

// settled waits until the status of a render does not hold a text any more.
func (b *balancer) settled(t *testing.T, text string) {
	t.Helper()
	eventually(t, "the status does not say "+text, func() error {
		if _, _, status := get(b.status + "/status"); strings.Contains(status, text) {
			return errors.New(status)
		}
		return nil
	})
}

// metric gives the lines of a render's metrics that begin so.
func (b *balancer) metric(name string) string {
	_, _, all := get(b.status + "/metrics")
	var lines []string
	for line := range strings.Lines(all) {
		if strings.HasPrefix(line, name) {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return strings.Join(lines, "\n")
}

// ownTemplate makes a template of the operator's, which is the built-in one at first.
func ownTemplate(t *testing.T, proxy string) (path, text string) {
	t.Helper()
	builtin, err := os.ReadFile("../../internal/templates/" + proxy + ".tmpl")
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "own.tmpl")
	replace(t, path, string(builtin))
	return path, string(builtin)
}

// A good edit of a template is served without a restart. A bad one is refused, with
// its place, and keeps nobody from being routed.
func TestEditedTemplate(t *testing.T) {
	onEach(t, func(t *testing.T, proxy string) {
		endpoint := newEtcd(t)
		put(t, endpoint, "/services/web/a", serveName(t, "a"))
		template, builtin := ownTemplate(t, proxy)
		output := filepath.Join(serverDir(t), "balancer.conf")
		b := startRender(t, proxy, endpoint, "--service", "web", "--template", template, "--output", output)
		if err := evenly(b.url, "a"); err != nil {
			t.Fatal(err)
		}

		replace(t, template, builtin+"# edited\n")
		eventually(t, "a good edit is served", func() error {
			if text, err := os.ReadFile(output); err != nil || !strings.HasSuffix(string(text), "# edited\n") {
				return fmt.Errorf("%w\n%s", err, text)
			}
			return ready(b.status)
		})

		lines := strings.Count(builtin, "\n")
		for text, words := range map[string]string{
			"{{.Nothing}}\n":      fmt.Sprintf("own.tmpl:%d", lines+1),
			"{{if}}\n":            fmt.Sprintf("own.tmpl:%d", lines+1),
			"this is nonsense;\n": "this",
		} {
			replace(t, template, builtin+text)
			b.says(t, words)
			name := unique("later")
			put(t, endpoint, "/services/web/"+name, serveName(t, name))
			eventually(t, "who comes while the template is bad is routed to", func() error {
				return evenly(b.url, "a", name)
			})
			etcdctl(t, endpoint, "del", "/services/web/"+name)
			eventually(t, "who goes then is out", func() error { return evenly(b.url, "a") })
			replace(t, template, builtin)
			eventually(t, "a good template is good again", func() error { return ready(b.status) })
			b.settled(t, words)
		}
	})
}

// The operator's own fragments are part of the configuration; the server's words about
// them name the file and the line that the operator knows.
func TestDropIn(t *testing.T) {
	onEach(t, func(t *testing.T, proxy string) {
		endpoint := newEtcd(t)
		put(t, endpoint, "/services/web/a", serveName(t, "a"))
		dir, own := t.TempDir(), local(ports.Free(t))
		good := map[string]string{
			"nginx":   "server {\n    listen %[1]s;\n    return 200 mine;\n}\n",
			"apache":  "Listen %[1]s\n<VirtualHost %[1]s>\n    Redirect 200 /\n    ErrorDocument 200 mine\n</VirtualHost>\n",
			"haproxy": "frontend own\n    bind %[1]s\n    mode http\n    http-request return status 200 content-type text/plain string mine\n",
		}[proxy]
		ext := map[string]string{"nginx": ".conf", "apache": ".conf", "haproxy": ".cfg"}[proxy]
		path := filepath.Join(dir, "10-own"+ext)
		replace(t, filepath.Join(dir, "00-first"+ext), "# nothing\n")
		replace(t, path, fmt.Sprintf(good, own))
		b := startRender(t, proxy, endpoint, "--service", "web", "--drop-in", dir)
		mine := func() error {
			if code, _, body := get("http://" + own + "/"); code != http.StatusOK || strings.TrimSpace(body) != "mine" {
				return fmt.Errorf("%d %s", code, body)
			}
			return nil
		}
		eventually(t, "the fragment is served", mine)

		replace(t, path, fmt.Sprintf(good, own)+"\nnonsense here;\n")
		line := strings.Count(good, "\n") + 2
		b.says(t, path)
		_, _, status := get(b.status + "/status")
		if !strings.Contains(status, fmt.Sprintf("%s:%d", path, line)) && !strings.Contains(status, fmt.Sprintf("line %d of %s", line, path)) {
			t.Errorf("the status does not name line %d of %s:\n%s", line, path, status)
		}
		if err := errors.Join(mine(), evenly(b.url, "a")); err != nil {
			t.Errorf("with a bad fragment: %v", err)
		}
		put(t, endpoint, "/services/web/b", serveName(t, "b"))
		eventually(t, "who comes while the fragment is bad is routed to", func() error { return evenly(b.url, "a", "b") })
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		eventually(t, "a fragment that is removed is served no more", func() error {
			if code, _, _ := get("http://" + own + "/"); code != 0 {
				return fmt.Errorf("it answers %d", code)
			}
			return ready(b.status)
		})
	})
}
