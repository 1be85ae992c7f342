package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"rollcall/test/ports"
)

// A command of the operator's that hangs is killed with all it started; the old
// configuration serves on, and why is said until it hangs no more.
func TestHangingCommands(t *testing.T) {
	t.Parallel()
	for _, flag := range []string{"--validate", "--reload"} {
		t.Run(flag, func(t *testing.T) {
			t.Parallel()
			endpoint := newEtcd(t)
			put(t, endpoint, "/services/web/a", serveName(t, "a"))
			s := newServer(t, "nginx")
			hang, child := filepath.Join(s.dir, "hang"), filepath.Join(s.dir, "child")
			works := "true"
			if flag == "--reload" {
				works = "/usr/sbin/nginx -c " + s.main() + " -s reload"
			}
			command := fmt.Sprintf("if [ -e %s ]; then sleep 1000 & echo $! >> %s; wait; fi; %s", hang, child, works)
			status := local(ports.Free(t))
			b := &balancer{url: s.url, status: "http://" + status}
			b.process = start(t, nil, testbed.render, s.args(endpoint, "--service", "web", "--status-listen", status,
				"--shell", flag, command, "--timeout", "1s")...)
			eventually(t, "it is served", func() error { return errors.Join(ready(b.status), evenly(b.url, "a")) })

			replace(t, hang, "")
			put(t, endpoint, "/services/web/b", serveName(t, "b"))
			eventually(t, "why is said", func() error {
				if got := b.state(t).Error; !strings.HasPrefix(got, strings.TrimPrefix(flag, "--")) || !strings.Contains(got, "killed") {
					return errors.New(got)
				}
				return nil
			})
			children, err := os.ReadFile(child) // of the retries, too
			if err != nil {
				t.Fatal(err)
			}
			pid, _, _ := strings.Cut(string(children), "\n")
			eventually(t, "its child is dead", func() error {
				stat, err := os.ReadFile("/proc/" + pid + "/stat")
				if err == nil && !strings.Contains(string(stat), ") Z ") {
					return errors.New(string(stat))
				}
				return nil
			})
			if err := evenly(b.url, "a"); err != nil {
				t.Errorf("while it hangs: %v", err)
			}
			if err := os.Remove(hang); err != nil {
				t.Fatal(err)
			}
			eventually(t, "all goes on", func() error { return errors.Join(ready(b.status), evenly(b.url, "a", "b")) })
		})
	}
}

// The server's program is being replaced by the package manager, or gone.
func TestProgramIsGone(t *testing.T) {
	onEach(t, func(t *testing.T, proxy string) {
		endpoint := newEtcd(t)
		put(t, endpoint, "/services/web/a", serveName(t, "a"))
		name := map[string]string{"apache": "apache2"}[proxy]
		if name == "" {
			name = proxy
		}
		binary, err := os.ReadFile("/usr/sbin/" + name)
		if err != nil {
			t.Fatal(err)
		}
		dir := serverDir(t)
		program := filepath.Join(dir, name)
		if err := os.WriteFile(program, binary, 0o755); err != nil {
			t.Fatal(err)
		}
		s := newServer(t, proxy)
		status := local(ports.Free(t))
		b := &balancer{url: s.url, status: "http://" + status}
		b.process = start(t, []string{"PATH=" + dir + ":" + os.Getenv("PATH")}, testbed.render, s.args(endpoint, "--service", "web", "--status-listen", status)...)
		eventually(t, "it is served", func() error { return errors.Join(ready(b.status), evenly(b.url, "a")) })

		if err := os.Rename(program, program+".away"); err != nil {
			t.Fatal(err)
		}
		put(t, endpoint, "/services/web/b", serveName(t, "b"))
		b.says(t, program+": no such file or directory")
		b.says(t, "hint: is it still installed?")
		// Where members change while the server runs, nobody needs the program for that; this
		// nginx has not loaded the module.
		served := []string{"a", "b"}
		if proxy == "nginx" {
			served = served[:1]
		}
		eventually(t, "what can be served is", func() error { return evenly(b.url, served...) })
		if err := os.Rename(program+".away", program); err != nil {
			t.Fatal(err)
		}
		eventually(t, "all goes on", func() error { return errors.Join(ready(b.status), evenly(b.url, "a", "b")) })
	})
}
