package renderer

import (
	"testing"
	"time"
)

const ms = time.Millisecond

// paced gives the times at which changes at these times, in order, become
// configurations that take so long each.
func paced(p *pacer, changes []time.Duration, took time.Duration, old func() int) (made []time.Duration) {
	at := func(d time.Duration) time.Time { return time.Unix(1e9, 0).Add(d) }
	now := time.Duration(0)
	for len(changes) > 0 || p.waiting() {
		due := now
		if p.waiting() {
			due = now + max(0, p.wait(at(now), old()))
		}
		if len(changes) > 0 && (!p.waiting() || changes[0] <= due) {
			now = max(now, changes[0])
			p.change(at(now))
			changes = changes[1:]
			continue
		}
		now = due
		made = append(made, now)
		p.begin()
		now += took
		p.done(at(now))
	}
	return made
}

func every(gap time.Duration, n int) (times []time.Duration) {
	for i := range n {
		times = append(times, time.Duration(i)*gap)
	}
	return times
}

func none() int { return 0 }

func TestPace(t *testing.T) {
	for _, test := range []struct {
		name       string
		changes    []time.Duration
		took       time.Duration
		least, max int           // configurations
		late       time.Duration // how long after the last change the last one is at most
	}{
		{"one", every(0, 1), 0, 1, 1, 0},
		{"two at once", every(0, 2), 0, 1, 2, 20 * ms},
		{"200 in a second", every(5*ms, 200), 0, 2, 6, 20 * ms},
		{"200 in a second, reloads of 150 ms", every(5*ms, 200), 150 * ms, 2, 6, 20 * ms},
		{"slower than the quiet", every(30*ms, 34), 0, 3, 6, 160 * ms},
		{"10,000 in ten seconds", every(ms, 10_000), 0, 10, 14, 20 * ms},
		{"10,000 in ten seconds, reloads of 300 ms", every(ms, 10_000), 300 * ms, 7, 14, 600 * ms},
		{"for a minute", every(20*ms, 3000), 0, 55, 70, time.Second},
		{"ten in a second, for a minute", every(100*ms, 600), 0, 55, 70, time.Second},
		{"lone ones", every(300*ms, 20), 0, 20, 20, 0},
		{"lone ones, reloads of 200 ms", every(300*ms, 20), 200 * ms, 20, 20, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := &pacer{min: 20 * ms, max: time.Second}
			made := paced(p, test.changes, test.took, none)
			if made[0] != 0 {
				t.Errorf("the first is at %s, want at once", made[0])
			}
			if len(made) < test.least || len(made) > test.max {
				t.Errorf("%d configurations, want %d to %d: %s", len(made), test.least, test.max, made)
			}
			if late := made[len(made)-1] - test.changes[len(test.changes)-1]; late > test.late {
				t.Errorf("the last is %s after the last change, want %s", late, test.late)
			}
			for n := 1; n < len(made); n++ {
				if gap := made[n] - made[n-1]; test.late > 0 && gap > p.max+test.took+100*ms {
					t.Errorf("%s between two configurations, want a second at most", gap)
				}
			}
		})
	}
}

func TestPaceAfterAStorm(t *testing.T) {
	p := &pacer{min: 20 * ms, max: time.Second}
	changes := append(every(ms, 5000), 10*time.Second, 11*time.Second)
	made := paced(p, changes, 0, none)
	if d := made[len(made)-2:]; d[0] != 10*time.Second || d[1] != 11*time.Second {
		t.Errorf("lone changes after a storm are served at %s, want at once", d)
	}
	made = paced(p, []time.Duration{20 * time.Second, 20*time.Second + ms}, 0, none)
	if got := made[len(made)-1]; got != 20*time.Second+21*ms {
		t.Errorf("the next is served at %s, as late as in a storm", got)
	}
}

// Every older configuration has a worker with a WebSocket, and so lives until the
// server's shutdown timeout.
func TestOldWorkersDoNotPileUp(t *testing.T) {
	const shutdown = 10 * time.Minute
	var ends []time.Duration
	var most int
	p := &pacer{min: 20 * ms, max: time.Second}
	at := func(d time.Duration) time.Time { return time.Unix(1e9, 0).Add(d) }
	for now := time.Duration(0); now < time.Hour; now += 10 * ms {
		p.change(at(now))
		for len(ends) > 0 && ends[0] <= now {
			ends = ends[1:]
		}
		if p.wait(at(now), len(ends)) > 0 {
			continue
		}
		p.begin()
		p.done(at(now))
		ends = append(ends, now+shutdown)
		most = max(most, len(ends))
	}
	if most > 50 {
		t.Errorf("%d old configurations at once, want 49 at most", most)
	}
	if got := p.wait(p.last, 1_000); got > maxSpacing {
		t.Errorf("a change waits %s, want %s at most", got, maxSpacing)
	}
	p.change(p.last.Add(time.Minute))
	if got := p.wait(p.latest, 30); got > 0 {
		t.Errorf("a lone change waits %s because of old workers that are long there", got)
	}
}
