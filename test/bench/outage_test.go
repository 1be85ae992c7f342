package bench

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"rollcall/test/fakedocker"
)

// ttl is the shortest that announce takes.
const ttl = 2 * time.Second

// An outage takes etcd away, and brings it back when it is told to.
type outage struct {
	name   string
	away   time.Duration // at least
	begin  func(*store)
	finish func(*store)
}

var allOutages = []outage{
	{"killed-back-at-once", 0, (*store).kill, (*store).start},
	{"killed-for-twice-the-TTL", 2 * ttl, (*store).kill, (*store).start},
	{"stopped-for-twice-the-TTL", 2 * ttl, func(s *store) { s.process.hold() }, func(s *store) { s.process.release() }},
}

// A recovery is how one outage ended.
type recovery struct {
	away    time.Duration // from its begin to etcd's first answer
	took    time.Duration // from there to records that are right
	written int           // how many records were written after it
}

// suffer lets etcd be away; meanwhile some containers die and as many others start.
func (b *bed) suffer(o outage, some int) recovery {
	b.tb.Helper()
	revision := b.store.revision()
	began := time.Now()
	o.begin(b.store)
	running := b.fleet.running()
	names := make([]string, 0, len(running))
	for name := range running {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names[:some] {
		b.fleet.kill(running[name])
		b.fleet.remove(running[name])
		b.fleet.add(name + "-n")
	}
	time.Sleep(time.Until(began.Add(o.away)))
	o.finish(b.store)
	b.store.answers()
	back := time.Now()
	b.settle()
	return recovery{back.Sub(began), time.Since(back), b.store.writtenSince(revision)}
}

// BenchmarkOutage measures how soon a thousand records are right when etcd is back.
func BenchmarkOutage(b *testing.B) {
	const containers = 1000
	for _, o := range allOutages {
		b.Run(o.name, func(b *testing.B) {
			bed := newBed(b, newFakeFleet(b, containers, fakedocker.Measured()), "--ttl", ttl.String())
			var away, took sample
			written := 0
			for range 3 {
				r := bed.suffer(o, 10)
				away, took, written = append(away, r.away), append(took, r.took), max(written, r.written)
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(milliseconds(took.p50()), "right-ms/op")
			b.ReportMetric(milliseconds(slices.Max(took)), "right-ms-max")
			outages.add(o.name, containers, fmt.Sprintf("%.1f", away.p50().Seconds()), took.p50(), slices.Max(took), written)
		})
	}
}
