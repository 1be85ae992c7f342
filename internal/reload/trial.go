package reload

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A trial is a start of Apache with the whole configuration, beside the running
// server and without touching anything of it. Its own check accepts configurations
// of which a graceful restart then kills the whole server: whether a key fits and
// opens, or a logger runs, is only found out by starting one. It says nothing about
// the ports, since it has to listen on others.
type trial struct {
	a     *Apache
	w     *whole
	dir   string // for what a server writes while it runs
	moved *movedPorts
}

// try starts the staged configuration and gives the server's words if that fails.
// That a configuration was once tried says nothing about the next time: ports,
// keys and directories change without it.
func (a *Apache) try(ctx context.Context, root string, staged Staged) error {
	const tries = 3
	for n := 1; ; n++ {
		err := a.tryOnce(ctx, root, staged)
		said, ok := errors.AsType[*ServerError](err)
		if !ok || !strings.Contains(said.Output, "AH00072") { // could not bind
			return err
		}
		// Between the choice of a port and its use somebody else may have taken it.
		if n == tries {
			said.Err = fmt.Errorf("%w (hint: a Listen in a file whose Include holds a variable cannot be moved aside)", said.Err)
			return said
		}
	}
}

func (a *Apache) tryOnce(ctx context.Context, root string, staged Staged) error {
	t := &trial{a: a, moved: &movedPorts{to: map[string]string{}, listen: map[string]bool{}}}
	defer t.moved.release()
	d := apacheDialect(root)
	d.edit = t.edit
	t.w = newWhole(d, a.main, staged)
	defer t.w.remove()
	t.dir = filepath.Join(filepath.Dir(a.main), t.w.mark+"trial")
	if a.elsewhere {
		t.dir = "/tmp" // what is beside the main file may be read-only there
	} else {
		t.sweep()
	}
	path, err := t.w.path()
	if err == nil {
		err = t.moved.err
	}
	if err == nil && !a.elsewhere {
		defer os.RemoveAll(t.dir)
		err = os.Mkdir(t.dir, 0o755)
	}
	if err != nil {
		return fmt.Errorf("trial start: %w", err)
	}
	t.moved.release()
	argv := t.argv(a.programFor(t.w), path)
	var words string
	if a.elsewhere {
		words, err = t.startElsewhere(ctx, argv)
	} else {
		words, err = t.startHere(ctx, argv, staged.Generation)
	}
	if err == nil {
		return nil
	}
	return &ServerError{Err: fmt.Errorf("trial start of %s: %w", a.main, err), Output: t.moved.real(t.w.real(words))}
}

func (t *trial) pidFile() string { return filepath.Join(t.dir, t.w.mark+"pid") }

// argv gives the command. What is set after the configuration was read is set for good.
func (t *trial) argv(program, path string) []string {
	argv := []string{program, "-f", path}
	for _, directive := range []string{
		`PidFile "` + escapeQuotes(t.pidFile()) + `"`,
		`DefaultRuntimeDir "` + escapeQuotes(t.dir) + `"`,
		"Mutex default",
		"ErrorLog /dev/stderr",
		"StartServers 1",
	} {
		argv = append(argv, "-c", directive)
	}
	return argv
}

// startHere starts the server and asks it what it serves.
func (t *trial) startHere(ctx context.Context, argv []string, generation string) (words string, err error) {
	var out tail
	cmd := exec.Command(argv[0], append(argv[1:], "-DFOREGROUND")...)
	cmd.Stdout, cmd.Stderr = &out, &out
	// Without a terminal nobody can be asked for the passphrase of a key.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		return "", err
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // its state says the same
	}()
	err = t.watch(ctx, cmd, ended, generation)
	// Told to end it removes what it holds of the kernel's: semaphores, shared memory.
	killGroup(cmd.Process.Pid, ended)
	return out.String(), err
}

// watch returns when the server has started or ended.
func (t *trial) watch(ctx context.Context, cmd *exec.Cmd, ended <-chan struct{}, generation string) error {
	const first, most = 2 * time.Millisecond, 50 * time.Millisecond
	for pause := first; ; pause = min(2*pause, most) {
		answered, err := t.serves(ctx, generation)
		if answered {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ended:
			return fmt.Errorf("ended at its start: %s", cmd.ProcessState)
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", err, ctx.Err())
		}
	}
}

// serves asks the server for its generation. One that is configured to tell none has
// started when it has written its pid file: all that can fail has been done then.
func (t *trial) serves(ctx context.Context, generation string) (answered bool, err error) {
	address, ok := t.moved.listens(t.a.control.address)
	if !ok {
		_, err := os.Stat(t.pidFile())
		return err == nil, err
	}
	got, err := endpoint{"tcp", address}.generation(ctx)
	if err != nil {
		return false, err
	}
	if got.Generation != generation {
		err = fmt.Errorf("it serves generation %q, not %q", got.Generation, generation)
	}
	return true, err
}

// startElsewhere starts the server where only commands reach, such as in a container.
// It can be told to stop once it has written its pid file, which it does when all
// that can fail has been done.
func (t *trial) startElsewhere(ctx context.Context, argv []string) (words string, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type end struct {
		words string
		err   error
	}
	ended := make(chan end, 1)
	go func() {
		words, err := t.a.run(ctx, append(argv[:len(argv):len(argv)], "-DFOREGROUND")...)
		ended <- end{words, err}
	}()
	stopped := false
	for {
		select {
		case e := <-ended:
			if stopped {
				return "", nil
			}
			return e.words, fmt.Errorf("ended at its start: %w", errors.Join(e.err, ctx.Err()))
		case <-time.After(50 * time.Millisecond):
		}
		if !stopped {
			out, err := t.a.run(ctx, append(argv[:len(argv):len(argv)], "-k", "stop")...)
			stopped = err == nil && !strings.Contains(out, "not running")
		}
	}
}

// sweep ends a trial that outlived the render which started it.
func (t *trial) sweep() {
	master := ApachePidFile(t.pidFile())
	if p, ok := master.Process(); ok && strings.Contains(p.title(), t.w.mark) {
		if s, err := readStat(p.Pid); err == nil && s.pgid != unix.Getpgrp() {
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				_ = p.wait(context.Background())
			}()
			killGroup(s.pgid, ended)
		}
	}
	_ = os.RemoveAll(t.dir)
}

// killGroup ends a process group whose first process tells when it is gone.
func killGroup(pgid int, ended <-chan struct{}) {
	_ = unix.Kill(-pgid, unix.SIGTERM)
	timer := time.NewTimer(3 * time.Second)
	defer timer.Stop()
	select {
	case <-ended:
		_ = unix.Kill(-pgid, unix.SIGKILL) // what has not heard
	case <-timer.C:
		left := sharedMemory(pgid)
		_ = unix.Kill(-pgid, unix.SIGKILL)
		<-ended
		for _, path := range left {
			_ = os.Remove(path)
		}
	}
}

// sharedMemory lists the memory that a process group shares by name. It stays when a
// server is killed, a piece for each of its balancers.
func sharedMemory(pgid int) (paths []string) {
	for _, p := range processes(func(s stat) bool { return s.pgid == pgid }) {
		maps, err := os.ReadFile(procPath(p.Pid, "maps"))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(maps)) {
			if at := strings.Index(line, "/dev/shm/ShM."); at > 0 {
				paths = append(paths, strings.TrimSpace(line[at:]))
			}
		}
	}
	return paths
}
