package renderer

import (
	"testing"
	"time"
)

func TestPacer(t *testing.T) {
	const ms = time.Millisecond
	p := &pacer{min: 20 * ms, max: time.Second}
	now := time.Unix(1e9, 0)
	step := func(gap, want time.Duration) {
		t.Helper()
		now = now.Add(gap)
		got := p.delay(now)
		if got != want {
			t.Errorf("delay %s, want %s", got, want)
		}
		now = now.Add(got)
		p.done(now)
	}
	step(0, 0) // the first
	for _, want := range []int{39, 79, 159, 319, 639, 999, 999} {
		step(ms, time.Duration(want)*ms)
	}
	step(1500*ms, 0)       // calmer, and not delayed
	step(2*time.Second, 0) // calm
	step(time.Minute, 0)
	step(ms, 39*ms) // and as quick as at the beginning
	for range 5 {
		step(3*time.Second, 0) // lone changes
	}
}
