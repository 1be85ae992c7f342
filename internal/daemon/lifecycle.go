package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-multierror"
)

const (
	// loopBound is how long a loop may take to return after its context is cancelled.
	loopBound = 10 * time.Second
	// lastWords is how long a step that ran out of time may take to say what it was waiting for.
	lastWords = time.Second
)

// A Lifecycle starts the parts of a daemon forward and stops them in reverse.
// Each part that was started is registered at once, with Go or OnStop, so that
// a start that fails half-way leaves nothing behind.
type Lifecycle struct {
	logger   *slog.Logger
	notifier *Notifier
	failed   chan struct{} // closed when the first loop has ended by itself

	mu       sync.Mutex
	steps    []step // what to stop, in the order in which it was started
	failures []error
	stopping bool
}

type step struct {
	name  string
	bound time.Duration
	stop  func(context.Context) error
}

// NewLifecycle starts with nothing to stop. The notifier is told what is being stopped.
func NewLifecycle(logger *slog.Logger, notifier *Notifier) *Lifecycle {
	return &Lifecycle{logger: logger, notifier: notifier, failed: make(chan struct{})}
}

// Go starts a loop. Its context is cancelled when its turn to stop has come; it
// then has ten seconds to return. A loop that returns before, with an error or
// without, stops the whole daemon with an error that names it.
func (l *Lifecycle) Go(name string, run func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		err := run(ctx)
		if ctx.Err() == nil {
			l.fail(name, err)
			err = nil
		}
		done <- err
	}()
	l.OnStop(name, loopBound, func(context.Context) error {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			return err
		}
		return nil
	})
}

// OnStop registers what stops a part that has just been started. Stop's context
// ends after the timeout, or at once when the daemon is told to hurry; a stop that
// returns late is left behind.
func (l *Lifecycle) OnStop(name string, timeout time.Duration, stop func(context.Context) error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.steps = append(l.steps, step{name, timeout, stop})
}

// Check is a condition for Readiness: it fails as soon as the daemon stops.
func (l *Lifecycle) Check() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stopping {
		return errors.New("stopping")
	}
	return nil
}

// Run waits until graceful is done or a loop has ended by itself, then stops
// everything as Stop does.
func (l *Lifecycle) Run(graceful, now context.Context) error {
	select {
	case <-graceful.Done():
		l.logger.Info("stopping", "cause", context.Cause(graceful).Error())
	case <-l.failed:
		l.logger.Error("stopping", "cause", "a part of the daemon has ended")
	}
	return l.Stop(now)
}

// Stop stops in reverse what has been started, each part within its own bound.
// When now is done, what is being stopped is told to hurry and the rest is given
// no time to wait. It returns everything that went wrong, loops that had ended
// by themselves first. Use it alone when a start fails half-way.
func (l *Lifecycle) Stop(now context.Context) error {
	var errs []error
	for {
		s, ok := l.pop()
		if !ok {
			break
		}
		bound := s.bound
		if now.Err() != nil {
			bound = 0
		}
		l.notifier.stop(s.name, bound+lastWords)
		began := time.Now()
		err := s.within(now)
		if err != nil {
			errs = append(errs, fmt.Errorf("stop %s: %w", s.name, err))
		}
		l.logger.Debug("stopped", "part", s.name, "took", time.Since(began))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	all := &multierror.Error{ErrorFormat: listErrors}
	return multierror.Append(all, append(l.failures, errs...)...).ErrorOrNil()
}

// pop takes the step that was registered last. One at a time, because what is
// being stopped may still have registered another.
func (l *Lifecycle) pop() (step, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stopping = true
	if len(l.steps) == 0 {
		return step{}, false
	}
	last := l.steps[len(l.steps)-1]
	l.steps = l.steps[:len(l.steps)-1]
	return last, true
}

// within runs a step's stop no longer than its bound, however deaf it is to its context.
func (s step) within(now context.Context) error {
	ctx, cancel := context.WithTimeout(now, s.bound)
	defer cancel()
	result := make(chan error, 1)
	go func() { result <- s.stop(ctx) }()
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
	}
	// What it has to say about what it was waiting for is worth a moment more.
	timer := time.NewTimer(lastWords)
	defer timer.Stop()
	select {
	case err := <-result:
		return err
	case <-timer.C:
	}
	if now.Err() != nil {
		return errors.New("abandoned")
	}
	return fmt.Errorf("not done within %s", s.bound)
}

// fail notes that a loop has ended by itself.
func (l *Lifecycle) fail(name string, err error) {
	if err == nil {
		err = errors.New("ended unexpectedly")
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failures = append(l.failures, fmt.Errorf("%s: %w", name, err))
	if len(l.failures) == 1 {
		close(l.failed)
	}
}

// listErrors shows one error as it is and several as a list.
func listErrors(errs []error) string {
	if len(errs) == 1 {
		return errs[0].Error()
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d errors:", len(errs))
	for _, err := range errs {
		fmt.Fprintf(&b, "\n  %s", strings.ReplaceAll(err.Error(), "\n", "\n  "))
	}
	return b.String()
}
