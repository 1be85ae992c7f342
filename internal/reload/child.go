package reload

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A child is one run of the supervised server.
type child struct {
	Process
	adopted bool          // another render started it
	gone    chan struct{} // closed when it has ended
}

// start runs the server in a process group of its own: a signal to render's group,
// such as Ctrl-C, must not end it before it has finished what it serves, and its
// workers can be found by the group when it dies.
func (s *Supervisor) start() (*child, error) {
	argv := s.cfg.Argv()
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", s.cfg.Name, err)
	}
	defer w.Close()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = w, w
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		r.Close()
		return nil, fmt.Errorf("start %s: %w", s.cfg.Name, err)
	}
	// Not yet waited for, so it is in /proc, if only as a zombie.
	st, err := readStat(cmd.Process.Pid)
	if err != nil {
		st.Pid = cmd.Process.Pid
	}
	c := &child{Process: st.Process, gone: make(chan struct{})}
	go func() {
		defer close(c.gone)
		if err := cmd.Wait(); err != nil {
			s.log.Debug("server ended", "pid", c.Pid, "err", err)
		}
	}()
	s.listen(r)
	s.log.Info("server started", "pid", c.Pid)
	return c, nil
}

// listen reads what a server prints, for as long as any of its processes lives.
func (s *Supervisor) listen(r *os.File) {
	s.pipes = append(s.pipes, r)
	s.readers.Go(func() {
		s.lines.read(r)
		s.mu.Lock()
		defer s.mu.Unlock()
		r.Close()
		s.pipes = slices.DeleteFunc(s.pipes, func(p *os.File) bool { return p == r })
	})
}

// adopt takes over a server that outlived the render which started it: it is of
// the same program and was given the same configuration. Nil if there is none.
func (s *Supervisor) adopt() *child {
	if s.cfg.PidFile == "" {
		return nil
	}
	p, ok := s.pidFile().Process()
	if !ok || !strings.Contains(p.title()+" ", " "+s.cfg.Config+" ") {
		return nil
	}
	c := &child{Process: p, adopted: true, gone: make(chan struct{})}
	go func() {
		defer close(c.gone)
		_ = p.wait(context.Background())
	}()
	// Its output still goes into the dead render's pipe, where it would be lost. The
	// kernel gives out another reading end of it, pipes being files in /proc.
	stderr := procPath(p.Pid, "fd/2")
	if link, err := os.Readlink(stderr); err == nil && strings.HasPrefix(link, "pipe:") {
		r, err := os.OpenFile(stderr, os.O_RDONLY|unix.O_NONBLOCK, 0)
		if err == nil {
			s.listen(r)
		} else {
			s.log.Warn("server taken over cannot be heard", "pid", p.Pid, "err", err)
		}
	}
	s.log.Info("running server taken over", "pid", p.Pid)
	return c
}

// removeRemains removes what a killed server has left and the next one would
// stumble over: its unix sockets, and a pid file that names it. Apache takes a
// zombie that nobody has waited for yet for a running server.
func (s *Supervisor) removeRemains() {
	var remains []string
	for _, path := range s.cfg.Sockets {
		if info, err := os.Lstat(path); err == nil && info.Mode()&os.ModeSocket != 0 {
			remains = append(remains, path)
		}
	}
	if _, runs := s.pidFile().Process(); s.cfg.PidFile != "" && !runs {
		remains = append(remains, s.cfg.PidFile)
	}
	for _, path := range remains {
		if err := removeIfThere(path); err != nil {
			s.log.Warn("what a dead server left could not be removed", "path", path, "err", err)
		}
	}
}

// pidFile names the server, whoever started it.
func (s *Supervisor) pidFile() PidFile {
	name := s.cfg.Argv()[0]
	if path, err := exec.LookPath(name); err == nil {
		name = path
	}
	if real, err := filepath.EvalSymlinks(name); err == nil {
		name = real
	}
	return PidFile{Path: s.cfg.PidFile, Names: []string{filepath.Base(name)}}
}

// end stops the server, and whatever is left of earlier ones.
func (s *Supervisor) end(c *child) error {
	defer s.silence()
	ctx, cancel := context.WithTimeout(context.Background(), s.cfg.StopTimeout)
	defer cancel()
	left := s.Orphans()
	if c != nil {
		s.log.Info("server is being stopped", "pid", c.Pid, "timeout", s.cfg.StopTimeout)
		if err := c.signalReady(ctx, s.cfg.StopSignal); err != nil && !errors.Is(err, os.ErrProcessDone) {
			s.log.Warn("server could not be told to finish", "err", err)
		}
		left = append(left, c.Process)
	}
	if waitAll(ctx, left) != nil {
		s.log.Warn("server did not finish in time", "timeout", s.cfg.StopTimeout)
	}
	for _, sig := range []unix.Signal{unix.SIGTERM, unix.SIGKILL} {
		if c != nil {
			left = append(left, s.group(c.Pid)...)
		}
		if left = slices.DeleteFunc(left, func(p Process) bool { return !p.alive() }); len(left) == 0 {
			break
		}
		_ = signalAll(left, sig)
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		err := waitAll(ctx, left)
		cancel()
		if err != nil && sig == unix.SIGKILL {
			return fmt.Errorf("stop %s: %d processes survived SIGKILL", s.cfg.Name, len(left))
		}
	}
	if c != nil {
		<-c.gone
	}
	return nil
}

// silence ends the readers: nothing is left that could be heard.
func (s *Supervisor) silence() {
	s.mu.Lock()
	s.child = nil
	for _, r := range s.pipes {
		_ = r.SetReadDeadline(time.Unix(1, 0))
	}
	s.mu.Unlock()
	s.readers.Wait()
}

// waitAll returns when all are gone, or with the context's error.
func waitAll(ctx context.Context, ps []Process) error {
	for _, p := range ps {
		if err := p.wait(ctx); err != nil {
			return err
		}
	}
	return nil
}

func signalAll(ps []Process, sig unix.Signal) error {
	var errs []error
	for _, p := range ps {
		if err := p.signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
