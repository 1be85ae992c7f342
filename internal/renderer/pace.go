package renderer

import "time"

const (
	// calmShare of the longest wait without a change makes the next one a lone one.
	calmShare = 4
	// crowd is how many old configurations stretch nothing.
	crowd = 8
	// maxSpacing bounds what old configurations can stretch.
	maxSpacing = time.Minute
)

// A pacer says when changes are to become a configuration. A lone one does at once.
// While others keep coming, they are let come to rest: for as long as quiet, which
// doubles with each configuration and falls back when the changes cease. None waits
// longer than max.
//
// Workers of old configurations stretch the distance between two. They live as long as
// their longest connection, for WebSockets until the server's shutdown timeout, T. With
// n configurations that have any, new ones are at least max·(n/8)² apart: n grows by
// 64/(max·n²) in a second, so that until the first ones end it is at most the cube root
// of 192·T/max. With 10 minutes and a second that is 49, and not 600. Configurations are
// counted and not workers, of which a large machine leaves a hundred with one reload.
type pacer struct {
	min, max time.Duration

	quiet  time.Duration
	last   time.Time // when the last configuration was done
	first  time.Time // the oldest change that is in no configuration; zero if there is none
	latest time.Time // the newest change
	calm   bool      // first came when all was calm
}

// change notes that something changed.
func (p *pacer) change(now time.Time) {
	if p.first.IsZero() {
		p.first = now
		p.calm = now.Sub(p.latest) >= p.max/calmShare && now.Sub(p.last) >= p.min
		if p.calm {
			p.quiet = p.min
		}
	}
	p.latest = now
}

// waiting says whether there are changes that are in no configuration.
func (p *pacer) waiting() bool { return !p.first.IsZero() }

// wait says how long they have to wait yet, with so many old configurations alive.
func (p *pacer) wait(now time.Time, old int) time.Duration {
	due := p.first
	if !p.calm {
		due = p.latest.Add(p.quiet)
		if latest := p.first.Add(p.max); latest.Before(due) {
			due = latest
		}
	}
	if old > crowd {
		spacing := min(p.max*time.Duration(old*old)/(crowd*crowd), maxSpacing)
		if soonest := p.last.Add(spacing); due.Before(soonest) {
			due = soonest
		}
	}
	return due.Sub(now)
}

// begin says that all changes up to now become a configuration.
func (p *pacer) begin() {
	if !p.calm {
		p.quiet = min(2*p.quiet, p.max)
	}
	p.first = time.Time{}
}

// done says when it was in service.
func (p *pacer) done(now time.Time) { p.last = now }
