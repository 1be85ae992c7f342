package reload

import (
	"context"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// died clears up after a master.
func (s *Supervisor) died(ctx context.Context, c *child) {
	left := s.group(c.Pid)
	s.mu.Lock()
	s.child = nil
	s.mu.Unlock()
	if !s.configured() && len(left) == 0 {
		s.log.Info("server stopped: it has no configuration", "pid", c.Pid)
		return
	}
	s.log.Warn("server died", "pid", c.Pid, "workers", len(left))
	s.release(ctx, left)
}

// inherit clears up after a master that died together with the render that
// watched it. Its pid file still tells which group its workers are in.
func (s *Supervisor) inherit(ctx context.Context) {
	if s.cfg.PidFile == "" {
		return
	}
	pid, err := readPid(s.cfg.PidFile)
	if err != nil {
		return
	}
	if _, ok := findProcess(pid); ok {
		return
	}
	names := s.pidFile().Names
	left := slices.DeleteFunc(s.group(pid), func(p Process) bool { return !p.is(names...) })
	if len(left) > 0 {
		s.log.Warn("workers of a dead server found", "pid", pid, "workers", len(left))
		s.release(ctx, left)
	}
}

// group lists what lives in the process group that a master has led.
func (s *Supervisor) group(master int) []Process {
	return processes(func(p stat) bool { return p.pgid == master })
}

// release tells workers whose master was killed to finish. They go on serving and
// keep the ports: they have to stop accepting before the next master can listen.
func (s *Supervisor) release(ctx context.Context, left []Process) {
	if len(left) == 0 {
		return
	}
	s.mu.Lock()
	s.orphans = append(s.orphans, left...)
	s.mu.Unlock()
	among := listening(left[0].Pid)
	var accepting []*worker
	for _, p := range left {
		accepting = append(accepting, newWorker(p, 0, among))
	}
	if err := s.cfg.Finish(left); err != nil {
		s.log.Warn("orphaned workers could not be told to finish", "err", err)
		// Nor can it be seen what they hold, as in a container without SYS_PTRACE: they
		// would keep the port from every server to come.
		for _, w := range accepting {
			if !w.known() {
				_ = w.signal(unix.SIGKILL)
			}
		}
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
