package etcd

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	clientv3 "go.etcd.io/etcd/client/v3"

	"rollcall/internal/discovery"
)

// follow gives a channel of what a source hands over.
func follow(b *testing.B, c *Client, prefix string) <-chan *discovery.Catalog {
	b.Helper()
	s := NewSource(c, SourceConfig{Prefix: prefix, MaxLoss: 0.5, Hold: time.Minute, Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry()})
	catalogs, done := make(chan *discovery.Catalog, 1), make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer close(done)
		_ = s.Run(ctx, func(c *discovery.Catalog) { catalogs <- c })
	}()
	b.Cleanup(func() {
		cancel()
		for {
			select {
			case <-catalogs:
			case <-done:
				return
			}
		}
	})
	return catalogs
}

// fill writes instances of services of ten.
func fill(b *testing.B, c *Client, prefix string, instances int) {
	b.Helper()
	for at := 0; at < instances; at += maxOps {
		var ops []clientv3.Op
		for n := at; n < min(at+maxOps, instances); n++ {
			ops = append(ops, clientv3.OpPut(benchKey(prefix, n), benchValue(n)))
		}
		if _, err := c.c.Txn(context.Background()).Then(ops...).Commit(); err != nil {
			b.Fatal(err)
		}
	}
}

func benchKey(prefix string, n int) string {
	return fmt.Sprintf("%s/service-%04d/core-%02d-web%d", prefix, n/10, n%10, n)
}

func benchValue(n int) string {
	return fmt.Sprintf(`{"host":"10.%d.%d.%d","port":%d,"version":"52c7248a14","proto":"tcp","weight":100,"node":"core-01",`+
		`"machine":"d2b1a6f0c5ce4b0c8f4e2a5d6c7b8a90","container":"4f1c2d3e4b5a69788796a5b4c3d2e1f04f1c2d3e4b5a69788796a5b4c3d2e1f0"}`,
		n>>16&255, n>>8&255, n&255, 1+n%60000)
}

func heap() float64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// peak gives the most memory that the process has had resident so far, in MB.
func peak(b *testing.B) float64 {
	b.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Fatal(err)
	}
	var kb float64
	if _, rest, ok := strings.Cut(string(status), "VmHWM:"); ok {
		_, err = fmt.Sscan(rest, &kb)
	}
	if err != nil || kb == 0 {
		b.Fatalf("VmHWM: %v", err)
	}
	return kb / 1024
}

func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkSource changes one short record of many, from the put until its catalog is
// handed over; and how long a deletion of all of a service takes, which waits for the
// answer about its lease. The bytes are all that etcd sends, over the time that takes.
func BenchmarkSource(b *testing.B) {
	for _, instances := range []int{10, 1_000, 10_000, 50_000} {
		b.Run(fmt.Sprint("instances=", instances), func(b *testing.B) {
			p := startProcess(b)
			direct, wire := openURL(b, p.url), newLinkTo(b, p.url)
			const prefix = "/services"
			fill(b, direct, prefix, instances)
			c := openURL(b, wire.url)
			before := heap()
			began := time.Now()
			catalogs := follow(b, c, prefix)
			first := <-catalogs
			listing := time.Since(began)
			if first.Len() != instances {
				b.Fatalf("%d instances", first.Len())
			}
			kept := heap() - before
			lease, err := direct.c.Grant(b.Context(), 3600)
			if err != nil {
				b.Fatal(err)
			}
			key := benchKey(prefix, instances/2)
			seen := func(res int64) {
				for (<-catalogs).Revision < res {
				}
			}
			var changes, deletions []time.Duration
			heard, used := int64(0), time.Duration(0)
			for n := 0; b.Loop(); n++ {
				heardBefore, usedBefore, began := wire.heard.Load(), cpu(), time.Now()
				res, err := direct.c.Put(b.Context(), key, fmt.Sprintf("10.0.0.5:%d", 1+n%60000))
				if err != nil {
					b.Fatal(err)
				}
				seen(res.Header.Revision)
				changes = append(changes, time.Since(began))
				heard, used = heard+wire.heard.Load()-heardBefore, used+cpu()-usedBefore
				if n%10 > 0 {
					continue
				}
				single := prefix + "/single/a"
				if res, err = direct.c.Put(b.Context(), single, "10.0.0.5:80", clientv3.WithLease(lease.ID)); err != nil {
					b.Fatal(err)
				}
				seen(res.Header.Revision)
				began = time.Now()
				gone, err := direct.c.Delete(b.Context(), single)
				if err != nil {
					b.Fatal(err)
				}
				seen(gone.Header.Revision)
				deletions = append(deletions, time.Since(began))
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(listing.Milliseconds()), "ms/listing")
			b.ReportMetric(kept/float64(instances), "heap-B/instance")
			b.ReportMetric(peak(b), "MB-peak")
			b.ReportMetric(float64(median(changes).Microseconds()), "µs/change")
			b.ReportMetric(float64(median(deletions).Microseconds()), "µs/deletion")
			b.ReportMetric(float64(heard)/float64(len(changes)), "B/change")
			b.ReportMetric(float64(used.Microseconds())/float64(len(changes)), "µs-cpu/change")
		})
	}
}

// BenchmarkSourceReturn: how long after the end of an outage, as told by etcd's first
// answer to a client that asks all the time, a change is handed over that was made at once.
func BenchmarkSourceReturn(b *testing.B) {
	for name, outage := range map[string]struct{ away, back func(*process) }{
		"killed": {(*process).kill, (*process).start},
		"frozen": {(*process).freeze, (*process).thaw},
	} {
		b.Run(name, func(b *testing.B) {
			p := startProcess(b)
			catalogs := follow(b, openURL(b, p.url), "/services")
			<-catalogs
			var took []time.Duration
			for n := 0; b.Loop(); n++ {
				outage.away(p)
				time.Sleep(15*time.Second + time.Duration(n%10)*97*time.Millisecond)
				answered := make(chan time.Time, 1)
				go func() { p.answers(); answered <- time.Now() }()
				outage.back(p)
				began := <-answered
				revision := put(b, openURL(b, p.url), "/services/web/a", fmt.Sprintf("10.0.0.5:%d", n+1))
				for (<-catalogs).Revision < revision {
				}
				took = append(took, time.Since(began))
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(median(took).Milliseconds()), "ms/median")
			b.ReportMetric(float64(slices.Max(took).Milliseconds()), "ms/worst")
		})
	}
}
