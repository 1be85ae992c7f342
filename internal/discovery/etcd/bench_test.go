package etcd

import (
	"fmt"
	"slices"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"rollcall/internal/discovery"
)

// many gives n records.
func many(t testing.TB, prefix string, n int) []discovery.Record {
	t.Helper()
	rs := make([]discovery.Record, n)
	for i := range rs {
		rs[i] = record(t, prefix, discovery.LayoutJSON, fmt.Sprintf("i%05d", i), 1000+i, "1")
	}
	return rs
}

// BenchmarkChange changes one record of many: until etcd has it, and as a ratio to
// the floor, which is one leased put of the same record to the same server. The two
// take turns, so that both meet the disk in the same mood.
func BenchmarkChange(b *testing.B) {
	for _, held := range []int{10, 1_000, 10_000} {
		b.Run(fmt.Sprintf("held=%d", held), func(b *testing.B) {
			prefix := unique(b)
			c := open(b, shared)
			k := keep(b, c, RegistryConfig{Prefix: prefix, TTL: time.Minute})
			k.settle(b, many(b, prefix, held)...)
			lease, err := c.c.Grant(testContext(b), 60)
			if err != nil {
				b.Fatal(err)
			}
			ctx := b.Context()
			var changes, puts []time.Duration
			for i := 0; b.Loop(); i++ {
				r := record(b, prefix, discovery.LayoutJSON, "i00005", 1+i%60000, "2")
				began := time.Now()
				k.Change(records(r), nil)
				if err := k.Settled(ctx); err != nil {
					b.Fatal(err)
				}
				changes = append(changes, time.Since(began))
				began = time.Now()
				if _, err := c.c.Put(ctx, prefix+"-floor", r.Values[r.Keys()[0]], clientv3.WithLease(lease.ID)); err != nil {
					b.Fatal(err)
				}
				puts = append(puts, time.Since(began))
			}
			change, floor := median(changes), median(puts)
			b.ReportMetric(0, "ns/op") // both together, which nobody asks for
			b.ReportMetric(float64(change.Microseconds()), "µs/change")
			b.ReportMetric(float64(floor.Microseconds()), "µs/floor")
			b.ReportMetric(float64(change)/float64(floor), "×floor")
		})
	}
}

func median(ds []time.Duration) time.Duration {
	slices.Sort(ds)
	return ds[len(ds)/2]
}

// BenchmarkReturn measures how long after the end of an outage the records are
// right: from etcd's first answer, to a client that asks all the time, until all of
// them are there and so is a change made during the outage.
func BenchmarkReturn(b *testing.B) {
	const ttl, held = 2 * time.Second, 1_000
	for name, outage := range map[string]struct{ away, back func(*process) }{
		"killed": {(*process).kill, (*process).start},
		"frozen": {(*process).freeze, (*process).thaw}, // in which its leases end
	} {
		b.Run(name, func(b *testing.B) {
			p := startProcess(b)
			prefix := "/services"
			k := keep(b, openURL(b, p.url), RegistryConfig{Prefix: prefix, TTL: ttl})
			rs := many(b, prefix, held)
			k.settle(b, rs...)
			var took []time.Duration
			for i := 0; b.Loop(); i++ {
				outage.away(p)
				rs[i%held] = record(b, prefix, discovery.LayoutJSON, rs[i%held].Instance, 9, fmt.Sprint("after ", i))
				k.Change(records(rs[i%held]), nil)
				time.Sleep(2*ttl + time.Duration(i%10)*97*time.Millisecond)
				answered := make(chan time.Time, 1)
				go func() { p.answers(); answered <- time.Now() }()
				outage.back(p)
				began := <-answered
				k.holds(b, openURL(b, p.url), rs...)
				took = append(took, time.Since(began))
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(median(took).Milliseconds()), "ms/median")
			b.ReportMetric(float64(slices.Max(took).Milliseconds()), "ms/worst")
			b.ReportMetric(metric(b, k.losses), "leases-lost")
		})
	}
}
