package machines

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// A Machine is a container whose first process is systemd.
type Machine struct {
	Name    string     // its host name: m1, m2, …
	Address netip.Addr // where the host and the others reach it

	container string // as the host's Docker engine knows it
	network   *network
}

func newMachine(prefix string, n *network, i int) *Machine {
	name := fmt.Sprintf("m%d", i+1)
	return &Machine{Name: name, Address: n.address(i), container: prefix + "-" + name, network: n}
}

// create starts the machine and waits until systemd is up.
func (m *Machine) create(ctx context.Context, image string) error {
	// An engine inside needs nearly every right, but a host that lacks CAP_SYS_RESOURCE
	// itself refuses all of --privileged.
	_, err := docker(ctx, "run", "--detach", "--name", m.container, "--hostname", m.Name,
		"--network", m.network.name, "--ip", m.Address.String(),
		"--cap-add", "ALL", "--cap-drop", "SYS_RESOURCE", "--cgroupns", "private",
		"--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined", "--security-opt", "systempaths=unconfined",
		"--tmpfs", "/run", "--tmpfs", "/run/lock", "--tmpfs", "/tmp:exec", "--volume", "/var/lib/docker",
		"--stop-signal", "SIGRTMIN+3", image)
	if err != nil {
		return err
	}
	return m.booted(ctx)
}

// remove ends the machine and all it kept. It may never have been started.
func (m *Machine) remove(ctx context.Context) error {
	_, err := docker(ctx, "rm", "--force", "--volumes", m.container)
	if err != nil && strings.Contains(err.Error(), "No such container") {
		return nil
	}
	return err
}

// booted waits until systemd has started what it was to start.
func (m *Machine) booted(ctx context.Context) error {
	return Poll(ctx, m.Name+" has booted", func() error {
		// A unit that failed is for whoever looks at units: the machine is up all the same.
		state, err := m.Run(ctx, "systemctl", "is-system-running")
		if state = strings.TrimSpace(state); state == "running" || state == "degraded" {
			return nil
		}
		return errors.Join(fmt.Errorf("systemd says it is %q", state), err)
	})
}

// Run runs a command on the machine as root and gives what it printed, also beside an
// error, which holds what it wrote on standard error.
func (m *Machine) Run(ctx context.Context, args ...string) (stdout string, err error) {
	return docker(ctx, append([]string{"exec", m.container}, args...)...)
}

// Write puts a file on the machine, whole, with its directories.
func (m *Machine) Write(ctx context.Context, path, mode, content string) error {
	const script = `mkdir -p "${1%/*}" && cat >"$1.new" && chmod "$2" "$1.new" && mv "$1.new" "$1"`
	_, err := command(ctx, strings.NewReader(content), "docker", "exec", "-i", m.container, "sh", "-c", script, "sh", path, mode)
	return err
}

// Systemctl runs systemctl; of a unit that fails, the error holds what it logged last.
func (m *Machine) Systemctl(ctx context.Context, args ...string) (stdout string, err error) {
	out, err := m.Run(ctx, append([]string{"systemctl"}, args...)...)
	if err != nil && len(args) > 1 {
		said, _ := m.Run(ctx, "journalctl", "--no-pager", "--lines=20", "--unit="+args[len(args)-1])
		err = fmt.Errorf("%s: %w\n%s", m.Name, err, said)
	}
	return out, err
}

// Journal gives what a unit has logged since the machine's last start.
func (m *Machine) Journal(ctx context.Context, unit string) (string, error) {
	return m.Run(ctx, "journalctl", "--no-pager", "--boot", "--output=short-precise", "--unit="+unit)
}

// ProcessKill kills the main process of a unit with kill -9.
func (m *Machine) ProcessKill(ctx context.Context, unit string) error {
	_, err := m.Systemctl(ctx, "kill", "--signal=KILL", "--kill-who=main", unit)
	return err
}

// Kill ends the machine without a word to anything on it: a loss of power.
func (m *Machine) Kill(ctx context.Context) error {
	_, err := docker(ctx, "kill", m.container)
	return err
}

// Start boots a machine that was stopped or killed, and waits until it is up.
func (m *Machine) Start(ctx context.Context) error {
	if _, err := docker(ctx, "start", m.container); err != nil {
		return err
	}
	return m.booted(ctx)
}

// Stop stops everything on the machine in good order. It is an error if that takes a minute: what
// is left is killed then.
func (m *Machine) Stop(ctx context.Context) error {
	if _, err := docker(ctx, "stop", "--time", "60", m.container); err != nil {
		return err
	}
	const killed = "137"
	code, err := docker(ctx, "inspect", "--format", "{{.State.ExitCode}}", m.container)
	if err == nil && code == killed {
		err = fmt.Errorf("%s had not stopped after a minute, and was killed", m.Name)
	}
	return err
}
