package announcer

import (
	"context"
	"fmt"
	"log/slog"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"rollcall/internal/check"
	"rollcall/internal/discovery"
	"rollcall/internal/discovery/docker"
)

// quiet takes what it is told and keeps nothing.
type quiet struct{}

func (quiet) Set(map[string]discovery.Record, func(discovery.Record) bool) {}
func (quiet) Change(map[string]discovery.Record, []string)                 {}

func many(n int) (*Announcer, []docker.Container) {
	a := New(Config{
		Rules: rules(), Registry: quiet{}, Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
		Checks: func(func(string)) Checks { return asleep{} },
	})
	a.drain(nil)
	containers := make([]docker.Container, n)
	for i := range containers {
		containers[i] = web(fmt.Sprint("id", i), fmt.Sprint("web", i), fmt.Sprint(i+1), i)
		containers[i].Labels = map[string]string{"rollcall.check": "tcp://"}
	}
	return a, containers
}

// asleep are checks that everything passes.
type asleep struct{}

func (asleep) Change(map[string]check.Target, []string) {}
func (asleep) State(string) (check.State, error)        { return check.Up, nil }
func (asleep) Run(context.Context) error                { return nil }

// What one start costs beside all the others, from what Docker said to what etcd is to be told.
func BenchmarkStart(b *testing.B) {
	for _, n := range []int{1, 1000, 10000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			a, containers := many(n)
			a.observe(listed(containers...))
			for b.Loop() {
				a.observe(gone("id0"))
				a.observe(changed(containers[0]))
			}
		})
	}
}

// What the first list costs.
func BenchmarkFirstList(b *testing.B) {
	for _, n := range []int{1000, 10000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				a, containers := many(n)
				a.observe(listed(containers...))
			}
		})
	}
}
