package reload

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A ContainerEngine acts on containers by name or id.
type ContainerEngine interface {
	// Pid gives the first process, as this machine counts; 0 when the container does not run.
	Pid(ctx context.Context, container string) (int, error)
	// Signal sends a signal, such as "SIGHUP", to the first process.
	Signal(ctx context.Context, container, signal string) error
	// Exec runs a command in the container, and gives what it printed.
	Exec(ctx context.Context, container string, argv ...string) (output string, err error)
}

// ContainerConfig says in which container a server runs.
type ContainerConfig struct {
	Name         string // of the container, or its id
	Engine       ContainerEngine
	Programs     []string    // names of the server's program: "apache2", "httpd"
	ReloadSignal unix.Signal // nginx: SIGHUP; Apache: SIGUSR1; HAProxy: SIGUSR2
	// ReloadCommand is run in the container instead of the signal, such as "nginx -s reload".
	ReloadCommand []string
}

// A Container is the master of a server that runs in a container. Its processes have
// to be in sight: this process runs outside of containers, or in one with --pid=host.
type Container struct {
	cfg ContainerConfig

	mu    sync.Mutex
	known Process // the master, last time; it is asked about again when it is gone
}

var _ Master = (*Container)(nil)

// NewContainer asks for nothing yet: the container need not exist.
func NewContainer(c ContainerConfig) *Container { return &Container{cfg: c} }

// Run is a Runner in the container: the server's own check sees the program and the
// files that the server will.
func (c *Container) Run(ctx context.Context, argv ...string) (string, error) {
	return c.cfg.Engine.Exec(ctx, c.cfg.Name, argv...)
}

// Process implements Master.
func (c *Container) Process() (Process, bool) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	p, err := c.find(ctx)
	return p, err == nil
}

// find gives the master: the first process of the container that runs the server's
// program, its init or below it.
func (c *Container) find(ctx context.Context) (Process, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known.Pid > 0 && c.known.alive() {
		return c.known, nil
	}
	pid, err := c.cfg.Engine.Pid(ctx, c.cfg.Name)
	if err != nil {
		return Process{}, err
	}
	if pid == 0 {
		return Process{}, fmt.Errorf("%w: container %s does not run", ErrNotRunning, c.cfg.Name)
	}
	first, ok := findProcess(pid)
	if !ok {
		return Process{}, fmt.Errorf("process %d of container %s is not in sight (hint: run render on the same machine, and outside of containers or with --pid=host)", pid, c.cfg.Name)
	}
	generation := []Process{first}
	for len(generation) > 0 {
		for _, p := range generation {
			if p.is(c.cfg.Programs...) {
				c.known = p
				return p, nil
			}
		}
		parents := generation
		generation = processes(func(s stat) bool {
			return slices.ContainsFunc(parents, func(p Process) bool { return p.Pid == s.ppid })
		})
	}
	return Process{}, fmt.Errorf("%w: no process of container %s runs %s", ErrNotRunning, c.cfg.Name, strings.Join(c.cfg.Programs, " or "))
}

// Reload implements Master.
func (c *Container) Reload(ctx context.Context) error {
	p, err := c.find(ctx)
	if err != nil {
		return err
	}
	if len(c.cfg.ReloadCommand) > 0 {
		if out, err := c.Run(ctx, c.cfg.ReloadCommand...); err != nil {
			return &ServerError{Err: err, Output: out}
		}
		return nil
	}
	err = p.signalReady(ctx, c.cfg.ReloadSignal)
	switch {
	case errors.Is(err, unix.EPERM): // of another user; the engine may
		if pid, asked := c.cfg.Engine.Pid(ctx, c.cfg.Name); asked != nil || pid != p.Pid {
			return fmt.Errorf("signal process %d of container %s: %w (hint: run render as root, or reload by a command in the container)", p.Pid, c.cfg.Name, err)
		}
		return c.cfg.Engine.Signal(ctx, c.cfg.Name, unix.SignalName(c.cfg.ReloadSignal))
	case errors.Is(err, os.ErrProcessDone):
		return fmt.Errorf("%w: process %d of container %s has ended", ErrNotRunning, p.Pid, c.cfg.Name)
	}
	return err
}

// Orphans implements Master; when the first process ends, so does the container.
func (c *Container) Orphans() []Process { return nil }

// Words implements Master: the container's log is not ours.
func (c *Container) Words() string { return "" }
