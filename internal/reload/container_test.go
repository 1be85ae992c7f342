package reload

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// dockerCommand is a ContainerEngine that speaks to Docker by its command.
type dockerCommand struct{}

var _ ContainerEngine = dockerCommand{}

func (dockerCommand) Pid(ctx context.Context, name string) (int, error) {
	out, err := Run(ctx, "docker", "inspect", "--format", "{{.State.Pid}}", name)
	if err != nil {
		return 0, fmt.Errorf("%w: %s", err, out)
	}
	return strconv.Atoi(out)
}

func (dockerCommand) Signal(ctx context.Context, name, signal string) error {
	_, err := Run(ctx, "docker", "kill", "--signal", signal, name)
	return err
}

func (dockerCommand) Exec(ctx context.Context, name string, argv ...string) (string, error) {
	return Run(ctx, append([]string{"docker", "exec", name}, argv...)...)
}

// contain runs a command in a container with this machine's programs, and the
// fixture's directory at its own path. Its image is made of nothing.
func (f *fixture) contain(argv ...string) (name string) {
	f.t.Helper()
	docker := func(args ...string) {
		f.t.Helper()
		if out, err := Run(f.t.Context(), append([]string{"docker"}, args...)...); err != nil {
			f.t.Fatalf("docker %s: %v\n%s", args[0], err, out)
		}
	}
	name = "rollcall-reload-test-" + strings.ToLower(rand.Text()[:8])
	imported := exec.Command("docker", "import", "-", name)
	imported.Stdin = bytes.NewReader(make([]byte, 1024)) // the end of an archive
	if out, err := imported.CombinedOutput(); err != nil {
		f.t.Fatalf("docker import: %v\n%s", err, out)
	}
	f.t.Cleanup(func() {
		_, _ = Run(context.Background(), "docker", "rm", "--force", name)
		_, _ = Run(context.Background(), "docker", "rmi", name)
	})
	args := []string{"run", "--detach", "--name", name, "--network", "host"}
	for _, dir := range []string{"/usr", "/bin", "/lib", "/lib64", "/etc", "/sbin"} {
		if _, err := os.Stat(dir); err == nil {
			args = append(args, "--volume", dir+":"+dir+":ro")
		}
	}
	docker(append(append(args, "--volume", f.dir+":"+f.dir, "--tmpfs", "/var/log/nginx", name), argv...)...)
	return name
}

func (f *fixture) mountOnItself(path string) {
	f.t.Helper()
	if os.Getuid() != 0 && os.Getenv("CI") == "" {
		f.t.Skip("a mount needs root")
	}
	if err := unix.Mount(path, path, "", unix.MS_BIND, ""); err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() {
		if err := unix.Unmount(path, unix.MNT_DETACH); err != nil {
			f.t.Error(err)
		}
	})
}

func TestServerInAContainer(t *testing.T) {
	tests := []struct {
		name, kind string
		shell      bool // the server is a child of the container's first process
		mounted    bool // its file is a mount of its own, which cannot be replaced
		command    func(f *fixture) []string
	}{
		{name: "nginx by signal", kind: "nginx"},
		{name: "nginx by command", kind: "nginx", shell: true, command: func(f *fixture) []string { return []string{f.program, "-c", f.main, "-s", "reload"} }},
		{name: "nginx with a mounted file", kind: "nginx", mounted: true},
		{name: "haproxy by signal", kind: "haproxy", shell: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, tt.kind)
			write(t, f.main, string(f.config("g1")))
			if tt.mounted {
				f.mountOnItself(f.main)
			}
			child := f.childConfig()
			argv := child.Argv()
			if tt.shell {
				argv = append([]string{"/bin/sh", "-c", `"$@"; exit $?`, "sh"}, argv...)
			}
			c := ContainerConfig{Name: f.contain(argv...), Engine: dockerCommand{}, Programs: programs[tt.kind], ReloadSignal: child.ReloadSignal}
			if tt.command != nil {
				c.ReloadCommand = tt.command(f)
			}
			master := NewContainer(c)
			eventually(t, "it serves", func() bool { got, _ := get(t.Context(), "http://"+f.listen+"/"); return got == "g1" })
			var p Proxy
			var err error
			if tt.kind == "nginx" {
				p, err = NewNginx(NginxConfig{Main: f.main, Control: f.control, Program: f.program, Master: master, Run: master.Run})
			} else {
				p, err = NewHAProxy(HAProxyConfig{Main: f.main, Control: f.control, Program: f.program, Master: master, Run: master.Run})
			}
			if err != nil {
				t.Fatal(err)
			}
			tx := New(Config{Proxy: p, Logger: f.log, Timeouts: Timeouts{Confirm: 8 * time.Second}})
			defer tx.Close()
			before, _ := master.Process()
			f.apply(tx, "g2")
			f.serves("g2")
			f.extra = "\nnonsense_directive on;\n"
			_, err = tx.Apply(t.Context(), f.candidate("g3"))
			if out := outputOf(err); !strings.Contains(out, "nonsense_directive") || !strings.Contains(out, f.main) {
				t.Errorf("the check in the container: %v, output %q", err, out)
			}
			f.serves("g2")
			if after, ok := master.Process(); !ok || after != before {
				t.Errorf("master: %v, before %v", after, before)
			}
		})
	}
}

// A fakeContainers answers what it is told.
type fakeContainers struct {
	pid int
	err error
}

func (e fakeContainers) Pid(context.Context, string) (int, error)     { return e.pid, e.err }
func (e fakeContainers) Signal(context.Context, string, string) error { return e.err }
func (e fakeContainers) Exec(context.Context, string, ...string) (string, error) {
	return "words", e.err
}

func TestContainerWithoutAServer(t *testing.T) {
	away := errors.New("engine is away")
	tests := []struct {
		name   string
		engine fakeContainers
		want   error
		hint   string
	}{
		{"the engine is away", fakeContainers{err: away}, away, ""},
		{"it does not run", fakeContainers{}, ErrNotRunning, "web does not run"},
		{"out of sight", fakeContainers{pid: 4194305}, nil, "--pid=host"},
		{"another program", fakeContainers{pid: os.Getpid()}, ErrNotRunning, "runs nginx"},
	}
	for _, tt := range tests {
		c := NewContainer(ContainerConfig{Name: "web", Engine: tt.engine, Programs: []string{"nginx"}, ReloadSignal: unix.SIGHUP})
		if p, ok := c.Process(); ok {
			t.Errorf("%s: found %v", tt.name, p)
		}
		err := c.Reload(t.Context())
		if err == nil || tt.want != nil && !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.hint) {
			t.Errorf("%s: got %v, want %v with %q", tt.name, err, tt.want, tt.hint)
		}
	}
}
