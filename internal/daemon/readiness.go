package daemon

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
)

// How often Readiness.Run looks: often until the daemon is ready for the first
// time, because a unit ordered after it waits for exactly that.
const (
	lookStarting = 100 * time.Millisecond
	lookRunning  = time.Second
)

// Readiness is the daemon's answer to "may others rely on you now?": a list of
// named conditions, all of which must hold.
type Readiness struct {
	logger *slog.Logger

	mu         sync.Mutex
	conditions []condition
}

type condition struct {
	name  string
	check func() error
}

// NewReadiness starts with no condition, which is ready.
func NewReadiness(logger *slog.Logger) *Readiness { return &Readiness{logger: logger} }

// Add adds a condition; it holds while check returns nil. Check is called often
// and from several goroutines: it looks at what is known and never waits.
func (r *Readiness) Add(name string, check func() error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.conditions = append(r.conditions, condition{name, check})
}

// Reasons says why the daemon is not ready, as "name: error", in the order in
// which the conditions were added. None means ready.
func (r *Readiness) Reasons() []string {
	_, reasons := r.look()
	return reasons
}

func (r *Readiness) look() (failing, reasons []string) {
	r.mu.Lock()
	conditions := slices.Clone(r.conditions)
	r.mu.Unlock()
	for _, c := range conditions {
		if err := c.check(); err != nil {
			failing = append(failing, c.name)
			reasons = append(reasons, c.name+": "+err.Error())
		}
	}
	return failing, reasons
}

// Run watches the conditions until ctx is done, and then returns nil. Tell
// is called with the reasons at the beginning and whenever they change; the log
// gets a line when other conditions fail than before.
func (r *Readiness) Run(ctx context.Context, tell func(reasons []string)) error {
	var lastFailing, lastReasons []string
	interval, ready := lookStarting, false
	timer := time.NewTimer(0)
	defer timer.Stop()
	for first := true; ; first = false {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		failing, reasons := r.look()
		if first || !slices.Equal(failing, lastFailing) {
			r.log(reasons, ready)
		}
		if first || !slices.Equal(reasons, lastReasons) {
			tell(reasons)
		}
		if len(reasons) == 0 {
			interval, ready = lookRunning, true
		}
		lastFailing, lastReasons = failing, reasons
		timer.Reset(interval)
	}
}

// log warns only of a readiness that was lost: not being ready yet is how every daemon starts.
func (r *Readiness) log(reasons []string, wasReady bool) {
	switch {
	case len(reasons) == 0:
		r.logger.Info("ready")
	case wasReady:
		r.logger.Warn("not ready", "reasons", strings.Join(reasons, "; "))
	default:
		r.logger.Info("not ready yet", "reasons", strings.Join(reasons, "; "))
	}
}
