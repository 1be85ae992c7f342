package check

import (
	"fmt"
	"log/slog"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// BenchmarkChange is what a container's event costs beside a thousand others.
func BenchmarkChange(b *testing.B) {
	c := New(Config{Changed: func(string) {}, Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry()})
	all := map[string]Target{}
	for n := range 1000 {
		all[fmt.Sprintf("web/core-01-web%d", n)] = Target{spec(), endpoint(n)}
	}
	c.Change(all, nil)
	one := map[string]Target{"web/core-01-web1": {spec(), endpoint(1)}}
	b.ReportAllocs()
	for b.Loop() {
		c.Change(nil, []string{"web/core-01-web1"})
		c.Change(one, nil)
		c.fresh = c.fresh[:0] // Run is not here to take it
	}
}
