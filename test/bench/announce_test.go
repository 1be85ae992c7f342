package bench

import (
	"fmt"
	"testing"
	"time"

	"rollcall/test/fakedocker"
)

// address is this machine's, as it is told to announce: one that is for documentation.
const address = "192.0.2.10"

// A bed is an etcd and an announce that keeps the records of a fleet in it.
type bed struct {
	tb       testing.TB
	fleet    fleet
	store    *store
	announce *process
}

// newBed returns when every container of the fleet has its record.
func newBed(tb testing.TB, f fleet, flags ...string) *bed {
	tb.Helper()
	s := startEtcd(tb)
	args := append([]string{"--endpoints", s.endpoint, "--address", address, "--state-dir", tb.TempDir(), "--listen", "", "--explicit"}, flags...)
	b := &bed{tb, f, s, launch(tb, []string{"DOCKER_HOST=" + f.host()}, built.program(tb, "announce"), args...)}
	tb.Cleanup(b.announce.stop)
	b.settle()
	return b
}

func (b *bed) settle() {
	b.tb.Helper()
	running := b.fleet.running()
	poll(b.tb, "records are right", 5*time.Millisecond, func() error { return b.store.holds(running) })
}

// A result is what BenchmarkAnnounce finds out about one fleet.
type result struct {
	start, die           sample // event → seen
	startFloor, dieFloor sample
	cpu, rss             float64 // at rest: per cent of one processor, MB
	writes               int64   // at rest
}

// measure starts and kills a container so many times, each followed by another one that
// is dealt with by hand while announce is held; and then rests for a while. The pace is the
// pause between two changes, in which everybody comes to rest again.
func (b *bed) measure(n int, pace, rest time.Duration) result {
	b.tb.Helper()
	var r result
	w, h := b.store.watch(), b.newHand()
	// cycle gives how long it took from the start to the record, and from the death to its end.
	cycle := func(name string, started, died func() (time.Time, error)) (start, die time.Duration) {
		var id string
		start = w.next(prefix+name, false, h.during(started, func() { id = b.fleet.add(name) }))
		time.Sleep(pace)
		die = w.next(prefix+name, true, h.during(died, func() { b.fleet.kill(id) }))
		b.fleet.remove(id)
		time.Sleep(pace)
		return start, die
	}
	for range n {
		start, die := cycle("change", h.started, h.died)
		r.start, r.die = append(r.start, start), append(r.die, die)
		b.announce.hold()
		start, die = cycle("floor", h.announce, h.withdraw)
		r.startFloor, r.dieFloor = append(r.startFloor, start), append(r.dieFloor, die)
		b.announce.release()
		time.Sleep(pace)
	}
	b.settle()
	revision, cpu, began := b.store.revision(), b.announce.cpu(), time.Now()
	time.Sleep(rest)
	r.cpu = 100 * float64(b.announce.cpu()-cpu) / float64(time.Since(began))
	r.writes = b.store.revision() - revision
	r.rss = b.announce.rss()
	return r
}

// BenchmarkAnnounce measures with real containers as far as a small machine carries
// them, and with a fake engine beyond.
func BenchmarkAnnounce(b *testing.B) {
	for _, n := range []int{1, 100, 1000, 10_000} {
		b.Run(fmt.Sprintf("fake/%d", n), func(b *testing.B) {
			report(b, "fake", n, newFakeFleet(b, n, fakedocker.Measured()), 100, 5*time.Millisecond)
		})
	}
	b.Run("real", func(b *testing.B) {
		f := newRealFleet(b)
		for _, n := range []int{1, 20, 100} {
			b.Run(fmt.Sprint(n), func(b *testing.B) {
				f.grow(b, n)
				// Docker is busy with a dead container's network for a while.
				report(b, "real", n, f, 15, 50*time.Millisecond)
			})
		}
	})
}

// report measures once, however often the benchmark is to be run: it takes seconds.
func report(b *testing.B, engine string, n int, f fleet, samples int, pace time.Duration) {
	r := newBed(b, f).measure(samples, pace, 10*time.Second)
	b.ReportMetric(0, "ns/op") // of no meaning: the most is rest
	for _, m := range []struct {
		unit  string
		value float64
	}{
		{"start-ms/op", milliseconds(r.start.p50())},
		{"start-floor-ms/op", milliseconds(r.startFloor.p50())},
		{"start-ratio", r.start.over(r.startFloor)},
		{"die-ms/op", milliseconds(r.die.p50())},
		{"die-floor-ms/op", milliseconds(r.dieFloor.p50())},
		{"die-ratio", r.die.over(r.dieFloor)},
		{"rest-cpu-%", r.cpu},
		{"rest-writes", float64(r.writes)},
		{"rss-MB", r.rss},
	} {
		b.ReportMetric(m.value, m.unit)
	}
	changes.add(engine, n, r.start.p50(), r.start.p99(), r.startFloor.p50(), r.startFloor.p99(), r.start.over(r.startFloor),
		r.die.p50(), r.die.p99(), r.dieFloor.p50(), r.dieFloor.p99(), r.die.over(r.dieFloor), r.cpu, r.writes, r.rss)
}
