package check

import (
	"math/rand/v2"
	"time"
)

// A State is what a target's probes have come to.
type State int

// Every target begins as Unknown.
const (
	Unknown State = iota
	Up
	Down
)

// String gives "unknown", "up" or "down".
func (s State) String() string {
	switch s {
	case Up:
		return "up"
	case Down:
		return "down"
	default:
		return "unknown"
	}
}

// firstPause is how soon an endpoint is asked again that has never answered: a
// container that has just been started should get its requests as soon as it can.
const firstPause = 10 * time.Millisecond

// A judge makes one target's state of the results of its probes.
type judge struct {
	spec  Spec
	began time.Time
	state State
	known bool          // it has been Up
	next  time.Duration // the pause after a probe that leaves the state Unknown

	successes, failures int // in a row
}

func newJudge(spec Spec, now time.Time) *judge {
	return &judge{spec: spec, began: now, next: firstPause}
}

// observe takes in the result of a probe that ended now, and gives the state.
//
// The first success is enough for one that has never been Up, however long it took to
// start: nothing that answers speaks against it yet. To become Down from Unknown takes Fall failures, and as much time as they take in a steady
// state, because the quick probes of the beginning would come to Fall within
// milliseconds and call everything down that takes a moment to start.
func (j *judge) observe(err error, now time.Time) State {
	if err == nil {
		j.successes, j.failures = j.successes+1, 0
	} else {
		j.successes, j.failures = 0, j.failures+1
	}
	patience, rise := time.Duration(0), j.spec.Rise
	if j.state == Unknown {
		patience = time.Duration(j.spec.Fall) * j.spec.Interval
	}
	if !j.known {
		rise = 1
	}
	switch {
	case j.successes >= rise:
		j.state, j.known = Up, true
	case j.failures >= j.spec.Fall && now.Sub(j.began) >= patience:
		j.state = Down
	}
	return j.state
}

// pause says how long to wait before the next probe: an interval, and at most a quarter of
// it while the state is Unknown. It strays by ±10 %, so that targets that were set together do not
// go on together.
func (j *judge) pause() time.Duration {
	d := j.spec.Interval
	if j.state == Unknown {
		d = min(j.next, d/4)
		j.next = 2 * d
	}
	return d - d/10 + rand.N(d/5)
}
