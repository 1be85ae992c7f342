package renderer

import "time"

// A pacer spaces configurations: the first change at once, then at least wait
// apart, which doubles while changes keep coming and falls back when they cease.
type pacer struct {
	min, max time.Duration
	wait     time.Duration
	last     time.Time // when the last configuration was done
}

// delay says how long a change that arrived now has to wait.
func (p *pacer) delay(now time.Time) time.Duration {
	if p.last.IsZero() || now.Sub(p.last) >= 2*p.wait {
		p.wait = p.min
	} else {
		p.wait = min(2*p.wait, p.max)
	}
	return max(0, p.last.Add(p.wait).Sub(now))
}

func (p *pacer) done(now time.Time) { p.last = now }
