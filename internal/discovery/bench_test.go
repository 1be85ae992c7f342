package discovery

import (
	"fmt"
	"runtime"
	"testing"
	"time"
)

// benchmarkKey spreads instances over services of ten, as machines have them.
func benchmarkKey(n int) string {
	return fmt.Sprintf("/services/service-%04d/core-%02d-web%d", n/10, n%10, n)
}

func benchmarkValue(n int) []byte {
	return fmt.Appendf(nil, `{"host":"10.%d.%d.%d","port":%d,"version":"52c7248a14","proto":"tcp","weight":100,"node":"core-01",`+
		`"machine":"d2b1a6f0c5ce4b0c8f4e2a5d6c7b8a90","container":"4f1c2d3e4b5a69788796a5b4c3d2e1f04f1c2d3e4b5a69788796a5b4c3d2e1f0","started":"2026-01-02T03:04:05Z","hosts":["www.example.com"],"path":"/"}`,
		n>>16&255, n>>8&255, n&255, 32768+n%30000)
}

// loaded gives an assembler that has given out a catalog of so many instances.
func loaded(instances int) *Assembler {
	a := NewAssembler("/services")
	for n := range instances {
		a.Put(benchmarkKey(n), benchmarkValue(n), int64(n+1), 0)
	}
	a.Catalog(int64(instances))
	return a
}

// BenchmarkAssemblerLoad: a whole listing, as at the start or after a compaction.
func BenchmarkAssemblerLoad(b *testing.B) {
	for _, instances := range []int{1000, 10_000} {
		b.Run(fmt.Sprint(instances), func(b *testing.B) {
			keys, values := make([]string, instances), make([][]byte, instances)
			for n := range instances {
				keys[n], values[n] = benchmarkKey(n), benchmarkValue(n)
			}
			b.ReportAllocs()
			for b.Loop() {
				a := NewAssembler("/services")
				for n, key := range keys {
					a.Put(key, values[n], int64(n+1), 0)
				}
				if got := a.Catalog(1).Len(); got != instances {
					b.Fatalf("%d instances, want %d", got, instances)
				}
			}
		})
	}
}

// BenchmarkAssemblerChange: one record changed, and the catalog after it.
func BenchmarkAssemblerChange(b *testing.B) {
	for _, instances := range []int{10, 1000, 10_000} {
		b.Run(fmt.Sprint(instances), func(b *testing.B) {
			benchmarkChange(b, loaded(instances), benchmarkKey(instances/2))
		})
	}
}

// BenchmarkAssemblerChangeLarge: the same with all instances in one service.
func BenchmarkAssemblerChangeLarge(b *testing.B) {
	for _, instances := range []int{10, 1000, 10_000} {
		b.Run(fmt.Sprint(instances), func(b *testing.B) {
			a := NewAssembler("/services")
			for n := range instances {
				a.Put(fmt.Sprint("/services/web/web", n), benchmarkValue(n), int64(n+1), 0)
			}
			a.Catalog(int64(instances))
			benchmarkChange(b, a, fmt.Sprint("/services/web/web", instances/2))
		})
	}
}

func benchmarkChange(b *testing.B, a *Assembler, key string) {
	values := [][]byte{benchmarkValue(1), benchmarkValue(2)}
	revision := int64(1 << 20)
	b.ReportAllocs()
	for b.Loop() {
		revision++
		a.Put(key, values[revision%2], revision, 0)
		a.Catalog(revision)
	}
}

func BenchmarkDecodeRecord(b *testing.B) {
	for name, value := range map[string][]byte{
		"json":     benchmarkValue(1),
		"classic":  []byte(`{ "host": "ip-10-182-139-116", "port": 80, "version": "52c7248a14" }`),
		"unknown":  []byte(`{"host":"10.0.0.5","port":80,"ttl":60,"tags":["a","b"]}`),
		"hostport": []byte("10.0.0.5:32768"),
		"url":      []byte("http://10.0.0.5:32768"),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := DecodeRecord("web", "web1", value); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkAssemblerHeap: what a catalog and its assembler keep, for each instance.
func BenchmarkAssemblerHeap(b *testing.B) {
	const instances = 50_000
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	for b.Loop() {
		before := heap()
		a := loaded(instances)
		b.ReportMetric(float64(heap()-before)/instances, "B/instance")
		runtime.KeepAlive(a)
	}
}

// BenchmarkGuard: what the guard adds to a change: while all is well, and while all
// that there was is held and one thing after the other returns.
func BenchmarkGuard(b *testing.B) {
	const instances = 50_000
	now := time.Now()
	for _, held := range []bool{false, true} {
		b.Run(fmt.Sprint("held=", held), func(b *testing.B) {
			a, g := NewAssembler("/services"), NewGuard("/services", 0.5, time.Hour)
			for n := range instances {
				a.Put(benchmarkKey(n), []byte("10.0.0.5:80"), int64(n+1), 1)
			}
			g.Observe(a.Catalog(instances), now)
			if held {
				g.Confirm(g.Observe(NewAssembler("/services").Catalog(instances), now))
				a = NewAssembler("/services")
			}
			g.Judge(now)
			var took time.Duration
			n := 0
			for b.Loop() {
				n++
				a.Put(benchmarkKey(n*7%instances), []byte("10.0.0.5:81"), int64(instances+n), 1)
				c := a.Catalog(int64(instances + n))
				began := time.Now()
				g.Observe(c, now)
				g.Judge(now)
				took += time.Since(began)
			}
			b.ReportMetric(float64(took.Microseconds())/float64(n), "µs/change")
		})
	}
}
