package docker

import (
	"fmt"
	"log/slog"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	registerer prometheus.Registerer
	events     prometheus.Counter
	lists      prometheus.Counter
	inspects   prometheus.Counter
	errors     *prometheus.CounterVec // by operation
	up         prometheus.Gauge
}

// What a failed request was for; the values of the label "operation".
const (
	opConnect = "connect"
	opEvents  = "events"
	opList    = "list"
	opInspect = "inspect"
)

func newMetrics(registerer prometheus.Registerer) (*metrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	m := &metrics{
		registerer: registerer,
		events:     counter("rollcall_docker_events_total", "Events received from the Docker engine."),
		lists:      counter("rollcall_docker_lists_total", "Times the Docker engine was asked for all containers."),
		inspects:   counter("rollcall_docker_inspects_total", "Times the Docker engine was asked about one container."),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "rollcall_docker_errors_total", Help: "Requests to the Docker engine that failed, by operation.",
		}, []string{"operation"}),
		up: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "rollcall_docker_up", Help: "1 while the events of the Docker engine are followed.",
		}),
	}
	for _, op := range []string{opConnect, opEvents, opList, opInspect} {
		m.errors.WithLabelValues(op)
	}
	for _, c := range m.collectors() {
		if err := registerer.Register(c); err != nil {
			m.close()
			return nil, fmt.Errorf("register docker metrics: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.events, m.lists, m.inspects, m.errors, m.up}
}

func (m *metrics) close() {
	for _, c := range m.collectors() {
		m.registerer.Unregister(c)
	}
}

func (m *metrics) failed(operation string) { m.errors.WithLabelValues(operation).Inc() }

// health is the state of the connection, for readiness, the log and the up gauge.
type health struct {
	log *slog.Logger
	up  prometheus.Gauge

	mu    sync.Mutex
	err   error
	asked bool // the first answer, or the first failure, has been logged
}

func (h *health) get() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.err
}

// set logs a change between up and down, and nothing while it stays as it was.
func (h *health) set(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	changed := !h.asked || (err == nil) != (h.err == nil)
	h.err, h.asked = err, true
	if err == nil {
		h.up.Set(1)
	} else {
		h.up.Set(0)
	}
	switch {
	case !changed:
	case err == nil:
		h.log.Info("following docker")
	default:
		h.log.Error("docker is away; what is known of its containers stays", "err", err)
	}
}

// stop marks the end of the watch, which is no failure.
func (h *health) stop(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.err = err
	h.up.Set(0)
}
