package renderer

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"rollcall/internal/reload"
)

type metrics struct {
	configurations, reloads, members                prometheus.Counter
	failures                                        *prometheus.CounterVec
	revision, skipped, held, quarantined, badInputs prometheus.Gauge
	took                                            prometheus.Histogram
}

func newMetrics(reg prometheus.Registerer, oldWorkers func() int) metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "rollcall_render_" + name, Help: help})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: "rollcall_render_" + name, Help: help})
	}
	m := metrics{
		configurations: counter("configurations_total", "Configurations written to disk."),
		reloads:        counter("reloads_total", "Reloads of the server that were confirmed."),
		members:        counter("members_changed_total", "Members that were changed in the running server, without a reload."),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "rollcall_render_failures_total", Help: "Attempts that failed, by step: inputs, render, stage, validate, swap, reload, confirm.",
		}, []string{"step"}),
		revision:    gauge("applied_revision", "etcd's revision that the server is proven to follow."),
		skipped:     gauge("skipped_instances", "Instances in the catalog that are not routed to."),
		held:        gauge("held_instances", "Instances that are routed to although their records are gone."),
		quarantined: gauge("quarantined_services", "Services whose newest records no configuration is accepted with."),
		badInputs:   gauge("refused_inputs", "Templates, drop-ins and certificates that are not used as they are now."),
		took: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "rollcall_render_apply_seconds", Help: "From the start of a transaction to the server's confirmation.",
			Buckets: prometheus.ExponentialBuckets(0.005, 2, 12),
		}),
	}
	reg.MustRegister(m.configurations, m.reloads, m.members, m.failures, m.revision, m.skipped, m.held, m.quarantined, m.badInputs, m.took,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "rollcall_render_old_workers", Help: "Processes of older configurations that still finish requests.",
		}, func() float64 { return float64(oldWorkers()) }))
	return m
}

func (m metrics) served(o reload.Outcome) {
	if o.Changed {
		m.configurations.Inc()
	}
	m.members.Add(float64(o.Members))
	if o.Reloaded {
		m.reloads.Inc()
		m.took.Observe(o.Took.Seconds())
	}
}

// failed counts a failure at the step that it came to.
func (m metrics) failed(err error) {
	label := "inputs"
	if step, ok := errors.AsType[*reload.StepError](err); ok {
		label = string(step.Step)
	} else if _, ok := errors.AsType[*renderError](err); ok {
		label = "render"
	}
	m.failures.WithLabelValues(label).Inc()
}
