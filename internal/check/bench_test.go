package check

import (
	"fmt"
	"log/slog"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// BenchmarkSetUnchanged is what a container's event costs beside the check that it is about.
func BenchmarkSetUnchanged(b *testing.B) {
	c := New(Config{Changed: func(string) {}, Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry()})
	all := map[string]Target{}
	for n := range 1000 {
		all[fmt.Sprintf("web/core-01-web%d", n)] = Target{spec(), endpoint(n)}
	}
	c.Set(all)
	b.ReportAllocs()
	for b.Loop() {
		c.Set(all)
	}
}
