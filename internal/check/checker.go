package check

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// maxProbes is how many probes may begin within a turn, so that a thousand targets that
	// are set together do not make a storm.
	maxProbes = 64
	// turn is for how long a probe counts among them. One that takes longer hangs, and must
	// not keep others from being asked.
	turn = 250 * time.Millisecond
)

// errNotAsked is why a target is Unknown that has not been probed yet.
var errNotAsked = errors.New("not asked yet")

// Config is what a Checker works with.
type Config struct {
	Probe func(context.Context, Target) error // nil for the package's own
	// Changed is called after a target's state has changed by its probes, from as many
	// goroutines as there are targets, and without a lock: it may call Change and State.
	// The target's next probe waits for it.
	Changed    func(id string)
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// A Checker probes targets for as long as they are set.
type Checker struct {
	cfg   Config
	slots chan struct{} // holds one token for each probe that runs
	added chan struct{} // holds one token when a check is waiting for Run to start it

	mu     sync.Mutex
	checks map[string]*check // by id
	fresh  []string          // what Run has to start

	targets [Down + 1]prometheus.Gauge // by state
	probes  *prometheus.CounterVec     // by result
}

// A check is a target with what is known of it. Its fields are the Checker's, but
// for target, which never changes.
type check struct {
	target Target
	stop   context.CancelFunc // nil until Run has started it
	state  State
	err    error // of the last probe that failed
}

// What became of a probe; the values of the label "result".
const (
	resultSuccess = "success"
	resultFailure = "failure"
	resultError   = "error" // this machine could not ask
)

// New prepares a checker of nothing.
func New(cfg Config) *Checker {
	if cfg.Probe == nil {
		cfg.Probe = Probe
	}
	targets := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "rollcall_check_targets", Help: "Endpoints that are checked, by state.",
	}, []string{"state"})
	c := &Checker{
		cfg: cfg, slots: make(chan struct{}, maxProbes), added: make(chan struct{}, 1), checks: map[string]*check{},
		probes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "rollcall_checks_total", Help: "Probes of endpoints, by result; error is one that this machine could not make.",
		}, []string{"result"}),
	}
	for _, state := range []State{Unknown, Up, Down} {
		c.targets[state] = targets.WithLabelValues(state.String())
	}
	for _, result := range []string{resultSuccess, resultFailure, resultError} {
		c.probes.WithLabelValues(result)
	}
	cfg.Registerer.MustRegister(targets, c.probes)
	return c
}

// Change begins to check what is put, each target under an id that is the caller's to
// choose, and ends to check what is gone. The targets' Specs are valid. One that is there
// already and equal goes on undisturbed; one that is different begins again as Unknown.
// It costs what changed, however many targets there are.
func (c *Checker) Change(put map[string]Target, gone []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, id := range gone {
		if k, ok := c.checks[id]; ok {
			c.remove(id, k)
		}
	}
	for id, t := range put {
		k, ok := c.checks[id]
		if ok && k.target == t {
			continue
		}
		if ok {
			c.remove(id, k)
		}
		c.checks[id] = &check{target: t, err: errNotAsked}
		c.fresh = append(c.fresh, id)
		c.targets[Unknown].Inc()
	}
	select {
	case c.added <- struct{}{}:
	default:
	}
}

func (c *Checker) remove(id string, k *check) {
	delete(c.checks, id)
	c.targets[k.state].Dec()
	if k.stop != nil {
		k.stop()
	}
}

// State tells what is known of a target, and why when that is not Up: the error of
// the last probe that failed. An id that is not set is Unknown.
func (c *Checker) State(id string) (State, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k, ok := c.checks[id]
	switch {
	case !ok:
		return Unknown, errors.New("not checked")
	case k.state == Up:
		return Up, nil
	}
	return k.state, k.err
}

// Run probes until ctx is done, whose error it returns when every probe has ended.
// It must be called once only.
func (c *Checker) Run(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	for {
		c.mu.Lock()
		for _, id := range c.fresh {
			// It may be gone again, or be there twice.
			if k := c.checks[id]; k != nil && k.stop == nil {
				own, stop := context.WithCancel(ctx)
				k.stop = stop
				running.Go(func() { c.watch(own, id, k) })
			}
		}
		c.fresh = nil
		c.mu.Unlock()
		select {
		case <-c.added:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// watch probes one target, and pauses, until ctx is done.
func (c *Checker) watch(ctx context.Context, id string, k *check) {
	j := newJudge(k.target.Spec, time.Now())
	for {
		err := c.probe(ctx, k.target)
		if ctx.Err() != nil {
			return
		}
		result := resultSuccess
		switch {
		case isLocal(err):
			result = resultError
		case err != nil:
			result = resultFailure
		}
		c.probes.WithLabelValues(result).Inc()
		state := j.state
		if result != resultError {
			state = j.observe(err, time.Now())
		}
		c.record(ctx, id, k, state, err)
		select {
		case <-time.After(j.pause()):
		case <-ctx.Done():
			return
		}
	}
}

// probe makes one probe when its turn has come.
func (c *Checker) probe(ctx context.Context, t Target) error {
	select {
	case c.slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	over := sync.OnceFunc(func() { <-c.slots })
	defer over()
	defer time.AfterFunc(turn, over).Stop()
	return c.cfg.Probe(ctx, t)
}

// isLocal says whether a probe failed for want of something on this machine, which
// says nothing of the endpoint: an announcer that has run out of files must not find
// every one of its containers to be down.
func isLocal(err error) bool {
	for _, want := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EADDRNOTAVAIL} {
		if errors.Is(err, want) {
			return true
		}
	}
	return false
}

// record keeps the result of a probe, and tells of a state that it has changed.
func (c *Checker) record(ctx context.Context, id string, k *check, state State, err error) {
	c.mu.Lock()
	// Change may have taken the target away after the probe had ended.
	changed := ctx.Err() == nil && state != k.state
	if changed {
		c.targets[k.state].Dec()
		c.targets[state].Inc()
		k.state = state
	}
	if err != nil {
		k.err = err
	}
	c.mu.Unlock()
	if !changed {
		return
	}
	// The path stays out of the log: its query may hold a token.
	switch state {
	case Up:
		c.cfg.Logger.Debug("endpoint is up", "id", id, "endpoint", k.target.Addr)
	default:
		c.cfg.Logger.Debug("endpoint is down", "id", id, "endpoint", k.target.Addr, "err", err)
	}
	c.cfg.Changed(id)
}
