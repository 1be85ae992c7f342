package discovery

import (
	"fmt"
	"testing"
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
		a.Put(benchmarkKey(n), benchmarkValue(n), int64(n+1))
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
					a.Put(key, values[n], int64(n+1))
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
				a.Put(fmt.Sprint("/services/web/web", n), benchmarkValue(n), int64(n+1))
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
		a.Put(key, values[revision%2], revision)
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
