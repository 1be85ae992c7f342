package reload

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A Master is the process that reads a server's configuration and starts its
// workers: a Supervisor's child, or the one that a PidFile names.
type Master interface {
	// Process gives the master; ok is false when none runs.
	Process() (p Process, ok bool)
	// Reload makes the running master read its files again, or ErrNotRunning.
	Reload(ctx context.Context) error
	// Orphans lists processes that outlived a master and may still serve what it had read.
	Orphans() []Process
	// Words gives what the server has said since the last Reload, at most 4 KiB;
	// "" when nobody listens to it.
	Words() string
}

// A server is what the drivers have in common: it knows which processes serve an
// older configuration than the last one the master was told to read.
type server struct {
	name    string
	master  Master
	control endpoint
	// titled is set when the title of a worker tells whether it accepts connections.
	titled bool
	// isWorker tells workers from the master's other children.
	isWorker func(child Process) bool
	// refused recognizes words after which the master will not serve what it has read.
	refused func(words string) bool

	mu   sync.Mutex
	old  []*worker
	nth  int     // how often the master was told
	told Process // the master when it was told last; zero before
	at   uint64  // when that was, in the unit of Process.Start
	sure bool    // what told was told has been confirmed
	late bool    // it was not in the time there was, and may happen yet
}

func (s *server) Name() string { return s.name }

func (s *server) Running(ctx context.Context) (Serving, error) { return s.control.generation(ctx) }

func (s *server) Reload(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.grown(ctx)
	s.remember(func(Process) bool { return true })
	before, _ := s.master.Process()
	now := bootTicks()
	if err := s.master.Reload(ctx); err != nil {
		return s.words(fmt.Errorf("reload %s: %w", s.name, err))
	}
	// A worker that was started between the look and the signal is as old as the
	// others; one that is as young as the signal may be new.
	s.remember(func(p Process) bool { return p.Start < now })
	s.nth++
	var ok bool
	if s.told, ok = s.master.Process(); !ok && before.alive() {
		s.told = before
	}
	s.at, s.sure, s.late = now, false, false
	return nil
}

// grown waits until a master has started its workers that we have not told anything yet, or
// whose last reload is late. One that is told to reload before that starts those of the
// configuration it has read and right after them those of the next: nobody could tell them
// apart, and the former accept connections for a while. It gives up on a master that starts
// none.
func (s *server) grown(ctx context.Context) {
	const long, ticks = 3 * time.Second, 10 // workers are started within less than that, 100 ms
	ctx, cancel := context.WithTimeout(ctx, long)
	defer cancel()
	for {
		m, ok := s.master.Process()
		if !ok || m == s.told && !s.late {
			return
		}
		newest, oldest := uint64(0), uint64(1)
		if m == s.told {
			oldest = s.at
		}
		for _, p := range s.workersOf(m) {
			newest = max(newest, p.Start)
		}
		if newest >= oldest && newest+ticks < bootTicks() {
			return
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			return
		}
	}
}

// remember adds the workers that match to those that are older than the next generation.
func (s *server) remember(match func(Process) bool) {
	var among sockets
	for _, p := range s.children() {
		switch {
		case !match(p):
		case s.titled:
			s.old = append(s.old, &worker{Process: p, nth: s.nth, titled: true})
		default:
			if among == nil {
				among = listening(p.Pid)
			}
			s.old = append(s.old, newWorker(p, s.nth, among))
		}
	}
	s.old = alive(s.old)
}

// children lists the workers of the master and those that outlived one.
func (s *server) children() []Process {
	found := slices.DeleteFunc(s.master.Orphans(), func(p Process) bool { return !s.isWorker(p) })
	if m, ok := s.master.Process(); ok {
		found = append(found, s.workersOf(m)...)
	}
	return found
}

func (s *server) workersOf(m Process) []Process {
	found := childrenOf(m)
	return slices.DeleteFunc(found, func(p Process) bool { return !s.isWorker(p) })
}

// patience is for how many looks, about a second, it has to stand that the server
// refuses or does not run: its words may be the last about the configuration
// before, and it may be about to be taken over.
const patience = 20

// Confirm implements Proxy.
func (s *server) Confirm(ctx context.Context, generation string) (Workers, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	const first, most = 2 * time.Millisecond, 50 * time.Millisecond
	hopeless := 0
	for pause := first; ; pause = min(2*pause, most) {
		if now, ok := s.master.Process(); ok && (s.told == (Process{}) || s.sure && s.told != now) {
			s.meet(now)
		}
		err := s.serving(ctx, generation)
		if err == nil {
			s.adopt()
			s.sure, s.late = true, false
			return s.finishing(), nil
		}
		if errors.Is(err, ErrNotRunning) || s.refused(s.master.Words()) {
			hopeless++
		}
		if errors.Is(err, errDied) || hopeless > patience {
			return nil, s.words(err)
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			s.late = !s.sure && hopeless == 0
			return nil, s.words(fmt.Errorf("%w: %w", err, ctx.Err()))
		}
	}
}

// meet looks at a master that somebody else has told what to serve, or started
// again: of its workers, those that accept no connections are older, and so is
// what another master left behind.
func (s *server) meet(master Process) {
	known := s.old
	s.old = nil
	s.remember(func(Process) bool { return true })
	left := s.master.Orphans()
	for _, w := range s.old {
		if slices.Contains(left, w.Process) || w.known() && !w.accepting() {
			known = append(known, w)
		}
	}
	s.old = alive(known)
	s.told, s.sure = master, false
}

// adopt takes in what a reload of somebody else's has left behind: workers that accept no
// connections, and go on with what they have begun.
func (s *server) adopt() {
	known := s.old
	s.old = nil
	s.remember(func(p Process) bool {
		return !slices.ContainsFunc(known, func(w *worker) bool { return w.Process == p })
	})
	for _, w := range s.old {
		if w.known() && !w.accepting() {
			known = append(known, w)
		}
	}
	s.old = alive(known)
}

var errDied = errors.New("server died")

// serving says what is missing until all that accept connections serve the generation.
func (s *server) serving(ctx context.Context, generation string) error {
	now, ok := s.master.Process()
	if s.told == (Process{}) {
		return fmt.Errorf("confirm %s: %w", s.name, ErrNotRunning)
	}
	// That it cannot be found is not enough: HAProxy empties its pid file to write it anew.
	if ok && now != s.told || !ok && !s.told.alive() {
		return fmt.Errorf("confirm %s: %w while it read its files", s.name, errDied)
	}
	accepting := 0
	for _, w := range s.old {
		if w.accepting() {
			accepting++
		}
	}
	if accepting > 0 {
		return fmt.Errorf("confirm %s: %d workers with an older configuration still accept connections", s.name, accepting)
	}
	// Asked last, so that no older worker can have been the one that answers.
	got, err := s.control.generation(ctx)
	if err != nil {
		return fmt.Errorf("confirm %s: %w", s.name, err)
	}
	if got.Generation != generation {
		return fmt.Errorf("confirm %s: it serves generation %q, not %q", s.name, got.Generation, generation)
	}
	return nil
}

// finishing gives the older workers that are still alive.
func (s *server) finishing() Workers {
	s.old = alive(s.old)
	return finishing(slices.Clone(s.old))
}

// words adds what the server has said to an error.
func (s *server) words(err error) error {
	if said := s.master.Words(); said != "" {
		return &ServerError{Err: err, Output: said}
	}
	return err
}

// bootTicks gives the time in the unit of Process.Start. Linux has 100 ticks in a
// second in /proc, whatever the kernel's own clock.
func bootTicks() uint64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		return 0
	}
	return uint64(t.Nano()) / 1e7
}
