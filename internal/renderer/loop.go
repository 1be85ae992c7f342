package renderer

import (
	"context"
	"time"

	"github.com/cenkalti/backoff/v5"
)

const (
	// checkInterval is how often desired, on disk and running are compared although
	// nothing has changed.
	checkInterval = 10 * time.Second
	retryMin      = 200 * time.Millisecond
	retryMax      = 10 * time.Second
)

// A loop decides when to do what. Changes of members go to the running server as fast as
// they come, all else in configurations that are some distance apart.
type loop struct {
	*Renderer
	swift   pacer // of members
	pace    pacer // of configurations
	retries *backoff.ExponentialBackOff
	attempt int

	check    *time.Ticker
	soon     <-chan time.Time // for members
	due      <-chan time.Time // for a configuration
	retry    <-chan time.Time
	ended    chan placement // takes what has become of a placement
	underway bool           // a placement is
	again    bool           // there was a reason to look meanwhile
	whole    bool           // the next look is at all there is, whatever comes besides
}

// converge works until what is served is what should be, again and again.
func (r *Renderer) converge(ctx context.Context) error {
	l := &loop{
		Renderer: r,
		swift:    pacer{min: r.cfg.MinWait, max: r.cfg.MinWait}, pace: pacer{min: r.cfg.MinWait, max: r.cfg.MaxWait},
		retries: backoff.NewExponentialBackOff(), attempt: 1,
		check: time.NewTicker(checkInterval), ended: make(chan placement, 1),
	}
	l.retries.InitialInterval, l.retries.MaxInterval = retryMin, retryMax
	defer l.check.Stop()
	for {
		look := true // for what is not as it should be although nothing has changed
		select {
		case <-ctx.Done():
			l.close(ctx)
			return ctx.Err()
		case <-r.changed:
			l.change(time.Now())
		case <-r.resolver.changed:
			l.change(time.Now())
		case <-r.cfg.Inputs.Changed():
			// Perhaps it is only what we wrote ourselves: that must not delay a lone change.
			if now := time.Now(); r.inputs.load(now) && r.newest() != nil {
				l.pace.change(now)
			}
		case <-l.soon:
			look = false
		case <-l.due:
		case <-l.retry:
			l.retry = nil
		case <-l.check.C:
			// Where members go ahead there is always time for it: nobody waits for it.
			l.whole = l.whole || r.good != nil && r.good.candidate.Members != nil
		case p := <-l.ended:
			l.whole = !r.take(p) || l.whole
			look = l.whole || l.again && !l.pace.waiting()
			l.underway, l.again = false, false
		}
		// Of what is ready select takes any: a look must not serve what a storm has
		// brought before its time.
		for _, c := range []chan struct{}{r.changed, r.resolver.changed} {
			if drop(c) {
				l.change(time.Now())
			}
		}
		l.follow(ctx)
		if l.ready(look) {
			l.serve(ctx)
		}
	}
}

// close has the files say what the running server has: it may be started again before
// anybody else looks after it.
func (l *loop) close(ctx context.Context) {
	if l.underway {
		l.take(<-l.ended)
	}
	if l.good != nil && l.good.ahead {
		l.place(ctx, l.ended)
		l.take(<-l.ended)
	}
}

// change notes that the catalog has changed.
func (l *loop) change(now time.Time) {
	l.swift.change(now)
	l.pace.change(now)
}

// follow changes members when it is time for that.
func (l *loop) follow(ctx context.Context) {
	if !l.swift.waiting() {
		return
	}
	if wait := l.swift.wait(time.Now(), 0); wait > 0 {
		l.soon = time.After(wait)
		return
	}
	l.soon = nil
	l.swift.begin()
	l.Renderer.follow(ctx)
	l.swift.done(time.Now())
}

// ready says whether it is time to compare all there is and to do what is missing.
func (l *loop) ready(look bool) bool {
	if l.underway {
		l.again, l.due = l.again || look, nil // its end is a reason to look
		return false
	}
	if l.pace.waiting() {
		old := l.oldConfigurations()
		if l.lags() { // to write files leaves no workers behind
			old = 0
		}
		wait := l.pace.wait(time.Now(), old)
		look = wait <= 0 || l.whole
		l.due = time.After(min(wait, l.cfg.MaxWait)) // by then old ones may be gone
	}
	return look
}

// serve puts what there is into service, or only the files in place where the server has
// all of it.
func (l *loop) serve(ctx context.Context) {
	r := l.Renderer
	l.due = nil
	if !l.whole && l.pace.waiting() && l.lags() {
		l.pace.begin()
		l.underway = true
		r.place(ctx, l.ended)
		l.pace.done(time.Now())
		return
	}
	l.whole = false
	drop(r.changed) // whatever has arrived since is part of this configuration
	drop(r.resolver.changed)
	select {
	case <-r.cfg.Inputs.Changed(): // of what is ready select takes any: not an attempt with what is known to be old
		r.inputs.load(time.Now())
	default:
	}
	changing := l.pace.waiting()
	if changing {
		l.pace.begin()
	}
	err := r.serve(ctx)
	if changing {
		l.pace.done(time.Now())
	}
	l.retry = nil
	if err == nil {
		l.retries.Reset()
		l.attempt = 1
	} else if ctx.Err() == nil {
		wait := l.retries.NextBackOff()
		l.retry = time.After(wait)
		r.retrying(time.Now().Add(wait), l.attempt)
		l.attempt++
	}
}
