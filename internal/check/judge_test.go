package check

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var errRefused = errors.New("connection refused")

// history plays results, "s" and "f", that come one step apart, and gives the states
// they lead to.
func history(s Spec, step time.Duration, results string) []string {
	now := time.Now()
	j := newJudge(s, now)
	var states []string
	for _, r := range results {
		var err error
		if r == 'f' {
			err = errRefused
		}
		states = append(states, j.observe(err, now).String())
		now = now.Add(step)
	}
	return states
}

func TestStates(t *testing.T) {
	const interval = DefaultInterval
	for _, test := range []struct {
		name          string
		rise, fall    int
		step          time.Duration
		results, want string
	}{
		{"the first success is enough", 2, 3, interval, "s", "up"},
		{"so it is after failures", 5, 3, interval, "ffs", "unknown unknown up"},
		{"fall failures in a row", 2, 3, interval, "sfff", "up up up down"},
		{"a success breaks the row", 2, 3, interval, "sffsfff", "up up up up up up down"},
		{"rise successes in a row", 2, 3, interval, "sfffss", "up up up down down up"},
		{"a failure breaks the row", 2, 3, interval, "sfffsfss", "up up up down down down down up"},
		{"down stays down", 3, 1, interval, "sfffssffsss", "up down down down down down down down down down up"},
		{"at once both ways", 1, 1, interval, "sfsf", "up down up down"},
		{"never up: fall failures, fall intervals", 2, 3, interval, "fffff", "unknown unknown unknown down down"},
		{"never up: the first success is enough still", 2, 3, interval, "ffffsfffs", "unknown unknown unknown down up up up down down"},
		{"quick failures are not enough", 2, 3, interval / 100, strings.Repeat("f", 300), strings.Repeat("unknown ", 300)},
		{"quick failures and time", 2, 3, interval / 100, strings.Repeat("f", 301), strings.Repeat("unknown ", 300) + "down"},
		{"time is not enough", 2, 3, 100 * interval, "fff", "unknown unknown down"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := spec(func(s *Spec) { s.Rise, s.Fall = test.rise, test.fall })
			if diff := cmp.Diff(strings.Fields(test.want), history(s, test.step, test.results)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
