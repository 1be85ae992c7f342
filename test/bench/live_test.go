package bench

import (
	"fmt"
	"testing"
)

// A race is what one contestant has measured.
type race struct {
	join, applied, drained sample
}

// run lets a newcomer in and out again.
func (r *race) run(c contestant, f fellow) {
	r.join = append(r.join, c.join(f))
	applied, drained := c.leave(f)
	r.applied, r.drained = append(r.applied, applied), append(r.drained, drained)
}

// A way is how render is to change members.
type way struct {
	name, dynamic string
	changes       int // for each of the hand's
}

// contest measures one proxy with a pool of so many members. While one contestant changes
// something, the others rest.
func contest(tb testing.TB, proxy string, members, rounds int, ways []way) (races []race, hand race, own sample) {
	tb.Helper()
	b := newLiveBed(tb, members)
	h := newConfd(b, proxy)
	renders := make([]*rendered, len(ways))
	for i, w := range ways {
		renders[i] = newRendered(b, proxy, w.name, "--set", "dynamic="+w.dynamic)
	}
	races = make([]race, len(ways))
	n := 0
	next := func() fellow { n++; return b.newcomer(n) }
	for range rounds {
		hand.run(h, next())
		for i, w := range ways {
			for range w.changes {
				races[i].run(renders[i], next())
			}
		}
	}
	return races, hand, h.own
}

// BenchmarkLive measures how soon one member more answers, and how soon it is proven that
// one member less is asked no more, beside the same done by hand.
func BenchmarkLive(b *testing.B) {
	for _, size := range []struct {
		proxy           string
		members, rounds int
	}{
		// HAProxy takes seconds for a reload of 10,000, and Apache does not come up with as
		// many in one balancer.
		{"haproxy", 10, 20},
		{"haproxy", 1000, 20},
		{"haproxy", 10_000, 5},
		{"apache", 10, 20},
		{"apache", 1000, 20},
		{"nginx", 10, 20},
		{"nginx", 1000, 20},
		{"nginx", 10_000, 20},
	} {
		live, dynamic := "live", "on"
		if size.proxy == "nginx" {
			live, dynamic = "lua", "lua"
		}
		ways := []way{{live, dynamic, 30 / size.rounds}, {"reload", "off", 1}}
		b.Run(fmt.Sprintf("%s/%d", size.proxy, size.members), func(b *testing.B) {
			races, hand, own := contest(b, size.proxy, size.members, size.rounds, ways)
			b.ReportMetric(0, "ns/op") // of no meaning: the most is rest
			for i, r := range races {
				b.ReportMetric(milliseconds(r.join.p50()), ways[i].name+"-join-ms/op")
				b.ReportMetric(milliseconds(r.applied.p50()), ways[i].name+"-applied-ms/op")
				b.ReportMetric(milliseconds(r.drained.p50()), ways[i].name+"-drained-ms/op")
				var ratio any = ""
				if ways[i].dynamic == "off" {
					ratio = r.applied.over(own)
				}
				lives.add(size.proxy+", "+ways[i].name, size.members, len(r.join),
					r.join.p50(), r.join.p99(), r.join.over(hand.join),
					r.applied.p50(), r.applied.p99(), r.applied.over(hand.applied), ratio,
					r.drained.p50(), r.drained.p99(), r.drained.over(hand.drained))
			}
			lives.add(size.proxy+", by hand", size.members, len(hand.join),
				hand.join.p50(), hand.join.p99(), "", hand.applied.p50(), hand.applied.p99(), "", hand.applied.over(own),
				hand.drained.p50(), hand.drained.p99(), "")
			lives.add(size.proxy+", its own", size.members, len(own), "", "", "", own.p50(), own.p99(), "", "", "", "", "")
		})
	}
}
