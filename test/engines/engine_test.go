package engines

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// An engine is one of the two, with its command line.
type engine struct {
	name    string
	program []string // the command line, with what it needs before its verbs
	env     []string
	socket  string
	serve   []string // the daemon
	*process
}

// newDocker starts a dockerd with its own containerd.
func newDocker() (*engine, error) {
	config := "/run/daemon.json" // the machine's own may contradict the flags
	if err := os.WriteFile(config, []byte("{}"), 0o644); err != nil {
		return nil, err
	}
	e := &engine{
		name: "docker", socket: "/run/docker.sock",
		program: []string{"docker", "--host", "unix:///run/docker.sock"},
		serve: []string{
			"dockerd", "--config-file", config, "--host", "unix:///run/docker.sock", "--storage-driver", "vfs", "--log-level", "warn",
			"--exec-opt", "native.cgroupdriver=cgroupfs", "--cgroup-parent", testbed.cgroups,
		},
	}
	if err := e.begin(); err != nil {
		return nil, err
	}
	_, err := e.run("import", "-c", `ENTRYPOINT ["/server"]`, "-c", "EXPOSE 8080", testbed.image, "server:1")
	return e, err
}

// newPodman starts the service that answers as Docker does. Its containers do not need
// it. The limits are what a machine allows that has no more to give, and runc what
// copes with every kind of cgroups.
func newPodman() (*engine, error) {
	e := &engine{
		name: "podman", socket: "/run/podman.sock", program: []string{"podman"},
		env:   []string{"CONTAINERS_CONF=/run/containers.conf", "CONTAINERS_STORAGE_CONF=/run/storage.conf"},
		serve: []string{"podman", "system", "service", "--time", "0", "unix:///run/podman.sock"},
	}
	for file, text := range map[string]string{
		"/run/containers.conf": `
			[containers]
			default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
			[network]
			network_config_dir = "/run/podman-networks"
			[engine]
			runtime = "runc"
			cgroup_manager = "cgroupfs"
			events_logger = "file"`,
		"/run/storage.conf": `
			[storage]
			driver = "vfs"
			graphroot = "/var/lib/podman"
			runroot = "/run/podman"`,
	} {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	if err := e.begin(); err != nil {
		return nil, err
	}
	_, err := e.run("import", "-q", "-c", `ENTRYPOINT ["/server"]`, "-c", "EXPOSE 8080", testbed.image, "server:1")
	return e, err
}

// begin starts the daemon, and returns when it answers.
func (e *engine) begin(flags ...string) error {
	var err error
	if e.process, err = launch(e.env, e.serve[0], append(e.serve[1:len(e.serve):len(e.serve)], flags...)...); err != nil {
		return err
	}
	deadline := time.After(patience)
	for {
		// The command line of podman does not ask the service.
		conn, err := net.Dial("unix", e.socket)
		if err == nil {
			_ = conn.Close()
			if _, err = e.run("ps"); err == nil {
				return nil
			}
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-e.done:
			return fmt.Errorf("%s ended:\n%s", e.name, e.output())
		case <-deadline:
			return fmt.Errorf("%s does not answer: %w\n%s", e.name, err, e.output())
		}
	}
}

// end stops the daemon.
func (e *engine) end() {
	if e.process != nil {
		e.process.end(syscall.SIGTERM)
	}
}

// run has the engine's command line do something.
func (e *engine) run(args ...string) (string, error) {
	return command(e.env, e.program[0], append(e.program[1:len(e.program):len(e.program)], args...)...)
}

// do is run for a test that cannot go on without.
func (e *engine) do(t *testing.T, args ...string) string {
	t.Helper()
	out, err := e.run(args...)
	if err != nil {
		t.Fatalf("%v\nthe engine said:\n%s", err, e.output())
	}
	return out
}

// container starts a container that is removed at the end of the test.
func (e *engine) container(t *testing.T, name string, args ...string) {
	t.Helper()
	all := []string{"run", "-d", "--name", name, "--env", "NAME=" + name, "--env", "LISTEN=:8080"}
	if e.name == "podman" {
		all = append(all, "--cgroup-parent", "/"+testbed.cgroups)
	}
	t.Cleanup(func() { _, _ = e.run("rm", "-f", name) })
	e.do(t, append(append(all, args...), "server:1")...)
}

// network makes a network that is removed at the end of the test.
func (e *engine) network(t *testing.T, name string) {
	t.Helper()
	e.do(t, "network", "create", name)
	t.Cleanup(func() {
		if _, err := e.run("network", "rm", name); err != nil {
			t.Error(err)
		}
	})
}

// inspect gives one thing that the engine says of a container.
func (e *engine) inspect(t *testing.T, name, format string) string {
	t.Helper()
	return e.do(t, "inspect", "--format", format, name)
}

// slay kills a container's process, past the engine.
func (e *engine) slay(t *testing.T, pid string) {
	t.Helper()
	n, err := strconv.Atoi(pid)
	if err != nil || n <= 1 {
		t.Fatalf("process %q of a container", pid)
	}
	if err := syscall.Kill(n, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

// truth is where every container that runs is reached, as the engine itself says: what
// has to be in etcd. A container that is paused does not count, nor one without ports.
func (e *engine) truth() (map[string]string, error) {
	ids, err := e.run("ps", "-q", "--no-trunc", "--filter", "status=running")
	if err != nil || ids == "" {
		return map[string]string{}, err
	}
	out, err := e.run(append([]string{"inspect"}, strings.Fields(ids)...)...)
	if err != nil {
		return nil, err
	}
	var containers []struct {
		ID              string
		NetworkSettings struct {
			Ports map[string][]struct{ HostPort string }
		}
	}
	if err := json.Unmarshal([]byte(out), &containers); err != nil {
		return nil, err
	}
	truth := map[string]string{}
	for _, c := range containers {
		if bound := c.NetworkSettings.Ports["8080/tcp"]; len(bound) > 0 {
			truth[c.ID] = net.JoinHostPort(machine, bound[0].HostPort)
		}
	}
	return truth, nil
}

// onEngines runs a test on each engine, side by side. Tests on one engine follow each other.
func onEngines(t *testing.T, test func(t *testing.T, e *engine)) {
	for _, e := range []*engine{testbed.docker, testbed.podman} {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			test(t, e)
		})
	}
}

// stateDir is a directory that a container may look into.
func stateDir(t *testing.T) (dir, sick string) {
	t.Helper()
	dir = t.TempDir()
	return dir, filepath.Join(dir, "sick")
}

// published gives the machine's port of a container.
func (e *engine) published(t *testing.T, name string) string {
	t.Helper()
	return e.inspect(t, name, `{{(index (index .NetworkSettings.Ports "8080/tcp") 0).HostPort}}`)
}

// address gives the address of a container that has one network.
func (e *engine) address(t *testing.T, name string) string {
	t.Helper()
	return e.inspect(t, name, `{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}`)
}

// checked are the flags of a HEALTHCHECK. Podman leaves the interval to systemd, which
// is not there.
func (e *engine) checked() []string {
	interval := "200ms"
	if e.name == "podman" {
		interval = "disable"
	}
	return []string{"--health-cmd", "healthy", "--health-retries", "1", "--health-interval", interval}
}

// check stands for the timer that systemd would have for podman.
func (e *engine) check(name string) {
	if e.name == "podman" {
		_, _ = e.run("healthcheck", "run", name) // it fails when the check does
	}
}
