package reload

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"golang.org/x/sys/unix"
)

// SupervisorConfig says which server to run, and how it wants to be spoken to.
type SupervisorConfig struct {
	Name   string          // for messages
	Argv   func() []string // the command, asked for at every start; it must stay in the foreground
	Config string          // its main configuration file; it is not started before that exists

	// PidFile is where the server writes its process id. A server that outlived the
	// render that started it is found there; empty: no server is taken over.
	PidFile string
	// Sockets are the unix sockets on which it listens. A server that was killed
	// leaves them behind, and none can listen on a path that exists.
	Sockets []string

	ReloadSignal unix.Signal   // nginx: SIGHUP; Apache: SIGUSR1
	StopSignal   unix.Signal   // to finish and end; nginx: SIGQUIT; Apache: SIGWINCH
	StopTimeout  time.Duration // how long requests may take to finish at the end; 30 s when zero
	// Finish tells workers that outlived their master to finish what they serve; when
	// nil they get the StopSignal.
	Finish func(orphans []Process) error

	Logger *slog.Logger
}

// A Supervisor is the master of a server that runs as a child of this process. It
// is started again when it dies, and outlives a killed render: the next one takes
// it over instead of starting a second one.
type Supervisor struct {
	cfg   SupervisorConfig
	log   *slog.Logger
	lines *lines
	kick  chan struct{} // start it now, whatever the backoff says

	mu      sync.Mutex
	child   *child        // nil while none runs
	last    attempt       // the latest one to start it
	changed chan struct{} // closed at the next attempt
	orphans []Process     // whose master died

	readers sync.WaitGroup
	pipes   []*os.File // what the readers read from
}

// An attempt says how a start went. The server may have died again since.
type attempt struct {
	err     error
	adopted bool
}

var _ Master = (*Supervisor)(nil)

// NewSupervisor prepares a supervisor; nothing is started before Run.
func NewSupervisor(c SupervisorConfig) *Supervisor {
	if c.StopTimeout <= 0 {
		c.StopTimeout = 30 * time.Second
	}
	log := c.Logger.With("server", c.Name)
	s := &Supervisor{cfg: c, log: log, lines: &lines{log: log}, kick: make(chan struct{}, 1), changed: make(chan struct{})}
	if c.Finish == nil {
		s.cfg.Finish = func(orphans []Process) error { return signalAll(orphans, c.StopSignal) }
	}
	return s
}

// Run keeps the server running until the context ends, and then stops it: first
// gracefully, for StopTimeout at most. It returns nil, or why it could not be stopped.
func (s *Supervisor) Run(ctx context.Context) error {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval, pause.Multiplier = 100*time.Millisecond, 10*time.Second, 2
	for failures := 0; ; failures++ {
		var wait time.Duration
		if failures > 1 { // the first restart is immediate
			wait = pause.NextBackOff()
		}
		kicked, err := s.due(ctx, wait)
		if err != nil {
			return s.end(nil)
		}
		began := time.Now()
		c, err := s.begin(ctx)
		if err != nil {
			s.log.Error("server could not be started", "err", err)
		} else {
			select {
			case <-c.gone:
			case <-ctx.Done():
				return s.end(c)
			}
			s.died(ctx, c)
		}
		if kicked || time.Since(began) > pause.MaxInterval {
			failures = 0
			pause.Reset()
		}
	}
}

// due waits until the server is to be started: kicked, or after the pause, but
// never before it has a configuration.
func (s *Supervisor) due(ctx context.Context, wait time.Duration) (kicked bool, err error) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-s.kick:
			kicked = true
		case <-timer.C:
		}
		if s.configured() && ctx.Err() == nil {
			return kicked, nil
		}
	}
}

func (s *Supervisor) configured() bool {
	_, err := os.Stat(s.cfg.Config)
	return err == nil
}

// begin takes over a server that runs already, or starts one. The lock is held
// while it starts, so that Reload knows that what it saw not running reads the
// files that were there when it looked.
func (s *Supervisor) begin(ctx context.Context) (c *child, err error) {
	s.mu.Lock()
	c = s.adopt()
	s.mu.Unlock()
	if c == nil {
		s.inherit(ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if c == nil {
		s.removeRemains()
		c, err = s.start()
	}
	s.child, s.last = c, attempt{err: err, adopted: c != nil && c.adopted}
	close(s.changed)
	s.changed = make(chan struct{})
	return c, err
}

// Process implements Master.
func (s *Supervisor) Process() (Process, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.child == nil || !s.child.alive() {
		return Process{}, false
	}
	return s.child.Process, true
}

// Reload implements Master. A server that does not run is started at once; one
// whose configuration was taken away is stopped.
func (s *Supervisor) Reload(ctx context.Context) error {
	s.lines.forget()
	if !s.configured() {
		return s.halt(ctx)
	}
	for {
		s.mu.Lock()
		c, changed := s.child, s.changed
		s.mu.Unlock()
		if c != nil {
			err := c.signalReady(ctx, s.cfg.ReloadSignal)
			if !errors.Is(err, os.ErrProcessDone) {
				return err
			}
		}
		select {
		case s.kick <- struct{}{}:
		default:
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("start %s: %w", s.cfg.Name, ctx.Err())
		}
		s.mu.Lock()
		last := s.last
		s.mu.Unlock()
		if !last.adopted { // what was taken over has read its files long ago
			return last.err
		}
	}
}

// halt stops a server that has no configuration any more.
func (s *Supervisor) halt(ctx context.Context) error {
	s.mu.Lock()
	c := s.child
	s.mu.Unlock()
	if c == nil {
		return nil
	}
	if err := c.signalReady(ctx, s.cfg.StopSignal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-c.gone:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("stop %s: %w", s.cfg.Name, ctx.Err())
	}
}

// Orphans implements Master.
func (s *Supervisor) Orphans() []Process {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.orphans = slices.DeleteFunc(s.orphans, func(p Process) bool { return !p.alive() })
	return slices.Clone(s.orphans)
}

// Words implements Master.
func (s *Supervisor) Words() string { return s.lines.String() }
