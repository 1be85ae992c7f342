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
func (s *Supervisor) adopt() (*child, error) {
	if s.cfg.PidFile == "" {
		return nil, nil
	}
	program, err := exec.LookPath(s.cfg.Argv()[0])
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", s.cfg.Name, err)
	}
	if real, err := filepath.EvalSymlinks(program); err == nil {
		program = real
	}
	p, ok := PidFile{Path: s.cfg.PidFile, Names: []string{filepath.Base(program)}}.Process()
	if !ok || p.program() != program || !strings.Contains(p.title()+" ", " "+s.cfg.Config+" ") {
		return nil, nil
	}
	c := &child{Process: p, adopted: true, gone: make(chan struct{})}
	go func() {
		defer close(c.gone)
		_ = p.wait(context.Background())
	}()
	// Its output still goes into the dead render's pipe, where it would be lost. The
	// kernel gives out another reading end of it, pipes being files in /proc.
	if r, err := os.OpenFile(procPath(p.Pid, "fd/2"), os.O_RDONLY|unix.O_NONBLOCK, 0); err == nil {
		if info, err := r.Stat(); err == nil && info.Mode()&os.ModeNamedPipe != 0 {
			s.listen(r)
		} else {
			r.Close()
		}
	}
	s.log.Info("running server taken over", "pid", p.Pid)
	return c, nil
}

// removeSockets removes the unix sockets that a killed server has left.
func (s *Supervisor) removeSockets() {
	for _, path := range s.cfg.Sockets {
		info, err := os.Lstat(path)
		if err != nil || info.Mode()&os.ModeSocket == 0 {
			continue
		}
		if err := os.Remove(path); err != nil {
			s.log.Warn("socket of a dead server could not be removed", "path", path, "err", err)
		}
	}
}

// died clears up after a master. Its workers, if it was killed, go on serving and
// keep the ports: they are told to finish, and have to stop accepting before the
// next master can listen.
func (s *Supervisor) died(ctx context.Context, c *child) {
	left := s.group(c)
	s.mu.Lock()
	s.child = nil
	s.orphans = append(s.orphans, left...)
	s.mu.Unlock()
	if !s.configured() && len(left) == 0 {
		s.log.Info("server stopped: it has no configuration", "pid", c.Pid)
		return
	}
	s.log.Warn("server died", "pid", c.Pid, "workers", len(left))
	if len(left) == 0 {
		return
	}
	held := listening(left[0].Pid)
	var accepting []*worker
	for _, p := range left {
		w := &worker{Process: p}
		if open, err := p.open(held); err == nil {
			w.listeners = open
		}
		accepting = append(accepting, w)
	}
	if err := s.cfg.Finish(left); err != nil {
		s.log.Warn("orphaned workers could not be told to finish", "err", err)
	}
	const timeout = 3 * time.Second
	for _, sig := range []unix.Signal{unix.SIGTERM, unix.SIGKILL} {
		if accepting = untilClosed(ctx, accepting, timeout); len(accepting) == 0 || ctx.Err() != nil {
			return
		}
		for _, w := range accepting {
			_ = w.signal(sig)
		}
	}
	untilClosed(ctx, accepting, timeout)
}

// untilClosed waits until workers accept no more connections, and gives those that still do.
func untilClosed(ctx context.Context, ws []*worker, timeout time.Duration) []*worker {
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		ws = slices.DeleteFunc(ws, func(w *worker) bool { return !w.accepting() })
		if len(ws) == 0 {
			return nil
		}
		select {
		case <-tick.C:
		case <-timer.C:
			return ws
		case <-ctx.Done():
			return ws
		}
	}
}

// group lists what lives in the server's process group.
func (s *Supervisor) group(c *child) []Process {
	return processes(func(p stat) bool { return p.pgid == c.Pid })
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
	if workers(left).Wait(ctx) != nil {
		s.log.Warn("server did not finish in time", "timeout", s.cfg.StopTimeout)
	}
	for _, sig := range []unix.Signal{unix.SIGTERM, unix.SIGKILL} {
		if c != nil {
			left = append(left, s.group(c)...)
		}
		if left = slices.DeleteFunc(left, func(p Process) bool { return !p.alive() }); len(left) == 0 {
			break
		}
		_ = signalAll(left, sig)
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		err := workers(left).Wait(ctx)
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

func signalAll(ps []Process, sig unix.Signal) error {
	var errs []error
	for _, p := range ps {
		if err := p.signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
