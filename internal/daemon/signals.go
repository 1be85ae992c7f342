package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
)

// A Stop says how the process was asked to end.
//
// TERM or INT ends Graceful: put everything in order, wait for what must be
// waited for. A second one ends Now: stop waiting. USR1 closes Keep, and only
// then ends Graceful: leave without undoing anything, because a successor takes
// over. Whoever sees Graceful done can therefore tell from Keep which of both it is.
type Stop struct {
	Graceful context.Context
	Now      context.Context
	Keep     <-chan struct{}
}

// Keeping reports whether what this process keeps in the world is to outlive it.
func (s Stop) Keeping() bool {
	select {
	case <-s.Keep:
		return true
	default:
		return false
	}
}

// Signals turns the signals that the process receives from now on into a Stop.
// The end of ctx counts as the first TERM. HUP is harmless. After a second TERM
// or INT the system's own action is back in force, so that a third one ends a
// process that hangs. USR1 is harmless too, unless the program keeps something that a
// successor can take over. Release gives all signals back; call it once, at the end.
func Signals(ctx context.Context, logger *slog.Logger, keeps bool) (stop Stop, release func()) {
	// Room for a burst: a signal that finds the channel full is lost.
	received := make(chan os.Signal, 16)
	// HUP is caught, not ignored: an ignored signal would stay ignored in child processes.
	signal.Notify(received, syscall.SIGTERM, syscall.SIGINT, syscall.SIGUSR1, syscall.SIGHUP)
	stop, finish := obey(ctx, logger, keeps, received, func() { signal.Reset(syscall.SIGTERM, syscall.SIGINT) })
	return stop, func() {
		signal.Stop(received)
		finish()
	}
}

// obey is Signals with the signals coming from a channel; surrender is called after the second TERM or INT.
func obey(ctx context.Context, logger *slog.Logger, keeps bool, received <-chan os.Signal, surrender func()) (Stop, func()) {
	graceful, endGraceful := context.WithCancelCause(ctx)
	// Not a child of ctx: when ctx ends there must be time left for an orderly stop.
	now, endNow := context.WithCancelCause(context.WithoutCancel(ctx))
	keep := make(chan struct{})
	quit, done := make(chan struct{}), make(chan struct{})

	go func() {
		defer close(done)
		kept := false
		for {
			var s os.Signal
			select {
			case s = <-received:
			case <-quit:
				return
			}
			asked := graceful.Err() != nil
			cause := fmt.Errorf("received signal: %s", s)
			switch {
			case s == syscall.SIGHUP, s == syscall.SIGUSR1 && !keeps:
				logger.Debug("signal ignored", "signal", s.String())
			case s == syscall.SIGUSR1 && !asked:
				logger.Info("signal received, leaving everything to a successor", "signal", s.String())
				kept = true
				close(keep)
				endGraceful(cause)
			case s == syscall.SIGUSR1:
				logger.Warn("signal came too late, already stopping", "signal", s.String(), "keep", kept)
			case !asked:
				logger.Info("signal received, stopping", "signal", s.String())
				endGraceful(cause)
			case now.Err() == nil:
				logger.Warn("second signal received, stopping at once", "signal", s.String())
				surrender() // first: a third signal must not be lost between the two
				endNow(cause)
			}
		}
	}()
	return Stop{Graceful: graceful, Now: now, Keep: keep}, func() {
		close(quit)
		<-done
		endGraceful(context.Canceled)
		endNow(context.Canceled)
	}
}
