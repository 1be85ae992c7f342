package reload

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// BenchmarkHAProxySync has one member join a pool, and leave it again, over and over.
func BenchmarkHAProxySync(b *testing.B) {
	for _, size := range []int{10, 1_000, 10_000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			one := newMember(b, "n").Member // which HAProxy finds alive at each of its checks
			without := make([]Member, size)
			for i := range without {
				without[i] = Member{Name: fmt.Sprintf("m%05d", i), Address: one.Address, Weight: 1}
			}
			with := append(slices.Clone(without), one)
			f := newHAFixture(b, without...)
			// A new worker is busy until it has checked all.
			eventually(b, "all are checked", func() bool { return !strings.Contains(f.api("show stat rollcall_web 4 -1"), ",INI,") })
			sync := func(members []Member, readBack bool, want int) time.Duration {
				began := time.Now()
				if n, err := f.sync(readBack, members...); err != nil || n != want {
					b.Fatalf("got %d changes, %v; want %d", n, err, want)
				}
				return time.Since(began)
			}
			read := sync(without, true, 0)
			var join, leave time.Duration
			for b.Loop() {
				join += sync(with, false, 1)
				leave += sync(without, false, 1)
			}
			ms := func(d time.Duration, n int) float64 { return d.Seconds() * 1000 / float64(n) }
			b.ReportMetric(ms(read, 1), "ms/read-back")
			b.ReportMetric(ms(join, b.N), "ms/join")
			b.ReportMetric(ms(leave, b.N), "ms/leave")
			b.ReportMetric(0, "ns/op")
		})
	}
}
