package bench

import "testing"

// TestLiveMeasuring sees that what is measured is what the table says it is.
func TestLiveMeasuring(t *testing.T) {
	const rounds = 2
	races, hand, own := contest(t, "haproxy", 10, rounds, []way{{"live", "on", 2}, {"reload", "off", 1}})
	for what, s := range map[string]struct {
		race
		want int
	}{"live": {races[0], 2 * rounds}, "reload": {races[1], rounds}, "by hand": {hand, rounds}} {
		if len(s.join) != s.want || len(s.applied) != s.want || len(s.drained) != s.want {
			t.Errorf("%s: %+v, want %d measurements of each", what, s.race, s.want)
			continue
		}
		for i := range s.want {
			if s.join[i] <= 0 || s.applied[i] <= 0 || s.drained[i] < s.applied[i] {
				t.Errorf("%s: joined after %s, applied after %s, drained after %s", what, s.join[i], s.applied[i], s.drained[i])
			}
		}
	}
	for i := range own {
		if own[i] <= 0 || own[i] >= hand.applied[i] {
			t.Errorf("by hand: applied after %s, of which the server's own reload is %s", hand.applied[i], own[i])
		}
	}
	if len(own) != rounds {
		t.Errorf("%d measurements of the server's own reload, want %d", len(own), rounds)
	}
}
