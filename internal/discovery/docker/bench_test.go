package docker

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// BenchmarkFirstList measures how long it takes from nothing to the first list, on an
// engine that takes its time for each container, as dockerd does.
func BenchmarkFirstList(b *testing.B) {
	for _, n := range []int{1, 100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			e := newFakeEngine()
			for i := range n {
				e.set(fmt.Sprint(i), fmt.Sprint("web-", i), "running", noon)
			}
			e.fail(nil, func(http.ResponseWriter, *http.Request, string) bool {
				time.Sleep(600 * time.Microsecond)
				return false
			})
			where := e.serve(b)
			for b.Loop() {
				w, err := open(Config{Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry()}, where)
				if err != nil {
					b.Fatal(err)
				}
				ctx, cancel := context.WithCancel(b.Context())
				var first Change
				_ = w.Run(ctx, func(c Change) { first = c; cancel() }) // the error is the context's
				if !first.Listed || len(first.Containers) != n {
					b.Fatalf("%d containers, want the list of %d", len(first.Containers), n)
				}
				if err := w.Close(); err != nil {
					b.Fatal(err)
				}
				<-e.streams
			}
		})
	}
}
