package daemon

import (
	"context"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// Parts are what a program puts itself together with.
type Parts struct {
	Stop      Stop
	Lifecycle *Lifecycle
	Readiness *Readiness
	Metrics   *prometheus.Registry // has Go's own and the process's

	logger   *slog.Logger
	notifier *Notifier
}

// Run is the life of a daemon. Start starts everything, forward, and registers each
// part with the lifecycle as soon as it is there; then Run waits for a signal, or for
// a part that ends by itself, and stops all in reverse. Keeps says whether there is
// something that USR1 leaves to a successor.
func Run(ctx context.Context, logger *slog.Logger, keeps bool, start func(*Parts) error) error {
	stop, release := Signals(ctx, logger, keeps)
	defer release()
	notifier := NewNotifier(logger)
	p := &Parts{
		Stop: stop, Lifecycle: NewLifecycle(logger, notifier), Readiness: NewReadiness(logger),
		Metrics: prometheus.NewRegistry(), logger: logger, notifier: notifier,
	}
	p.Metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	p.Readiness.Add("lifecycle", p.Lifecycle.Check)
	// First, so that it ends last: systemd counts while the daemon stops, too.
	p.Lifecycle.Go("watchdog", func(ctx context.Context) error {
		err := notifier.Watchdog(ctx, func() error { return nil })
		<-ctx.Done()
		return err
	})
	if err := start(p); err != nil {
		_ = p.Lifecycle.Stop(stop.Now) // what went wrong at the start is the news
		return err
	}
	return p.Lifecycle.Run(stop.Graceful, stop.Now)
}

// Answer opens the status endpoint at addr and begins to tell systemd and whoever
// asks how the daemon is. An address in use is an error.
func (p *Parts) Answer(addr string, report func() any) (*Status, error) {
	status, err := OpenStatus(p.Stop.Graceful, p.logger, StatusConfig{
		Addr: addr, Ready: p.Readiness, Gatherer: p.Metrics, Report: report,
	})
	if err != nil {
		return nil, err
	}
	p.Lifecycle.Go("status endpoint", status.Run)
	p.Lifecycle.Go("readiness", func(ctx context.Context) error { return p.Readiness.Run(ctx, p.notifier.Ready) })
	return status, nil
}
