package renderer

import (
	"errors"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"rollcall/internal/discovery"
	"rollcall/internal/reload"
)

// Status is what `render status` shows.
type Status struct {
	ID     string `json:"id"`
	Proxy  string `json:"proxy"`
	Output string `json:"output"`

	// Desired is the newest catalog's configuration; Running the one that the
	// server was last proven to serve.
	Desired Configuration `json:"desired"`
	Running Configuration `json:"running"`
	Drained int64         `json:"drained"`

	LastReload time.Time `json:"last_reload,omitzero"`
	Reloads    int       `json:"reloads"`

	Error      string    `json:"error,omitempty"`
	ErrorSince time.Time `json:"error_since,omitzero"`

	Services   int                 `json:"services"`
	Instances  int                 `json:"instances"`
	Refused    []discovery.Refusal `json:"refused,omitempty"`
	Unresolved map[string]string   `json:"unresolved,omitempty"`
	// Skipped names the instances, as "service/instance", that are in the catalog
	// but cannot be routed to.
	Skipped []string `json:"skipped,omitempty"`
}

// A Configuration is named by its generation and the revision it was made from.
type Configuration struct {
	Generation string `json:"generation"`
	Revision   int64  `json:"revision"`
}

func (s *Status) catalog(c *discovery.Catalog) {
	s.Services, s.Instances, s.Refused = len(c.Services), c.Len(), c.Refused
}

func (s *Status) served(c *discovery.Catalog, generation string, o reload.Outcome, now time.Time) {
	s.catalog(c)
	s.Desired = Configuration{generation, c.Revision}
	s.Running = s.Desired
	s.Error, s.ErrorSince = "", time.Time{}
	if o.Reloaded {
		s.LastReload = now
		s.Reloads++
	}
}

func (s *Status) failed(c *discovery.Catalog, generation, reason string, now time.Time) {
	s.catalog(c)
	s.Desired = Configuration{generation, c.Revision}
	if s.Error == "" {
		s.ErrorSince = now
	}
	s.Error = reason
}

// Status gives a picture of the moment.
func (r *Renderer) Status() Status {
	r.mu.Lock()
	s := r.status
	r.mu.Unlock()
	for host, err := range r.resolver.unresolved() {
		if s.Unresolved == nil {
			s.Unresolved = map[string]string{}
		}
		s.Unresolved[host] = err.Error()
	}
	return s
}

// Ready gives nil while the newest catalog that was looked at is served, and
// otherwise the reason why not.
func (r *Renderer) Ready() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.status.Error != "":
		return errors.New(firstLine(r.status.Error))
	case r.status.Running.Generation == "":
		return errors.New("no configuration is in service yet")
	}
	return nil
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

type metrics struct {
	configurations, reloads, failures prometheus.Counter
	revision                          prometheus.Gauge
	took                              prometheus.Histogram
}

func newMetrics(reg prometheus.Registerer) metrics {
	m := metrics{
		configurations: prometheus.NewCounter(prometheus.CounterOpts{Name: "rollcall_render_configurations_total", Help: "Configurations written to disk."}),
		reloads:        prometheus.NewCounter(prometheus.CounterOpts{Name: "rollcall_render_reloads_total", Help: "Reloads of the server that were confirmed."}),
		failures:       prometheus.NewCounter(prometheus.CounterOpts{Name: "rollcall_render_failures_total", Help: "Attempts that failed at any step."}),
		revision:       prometheus.NewGauge(prometheus.GaugeOpts{Name: "rollcall_render_applied_revision", Help: "etcd's revision that the server is proven to follow."}),
		took: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "rollcall_render_apply_seconds", Help: "From the start of a transaction to the server's confirmation.",
			Buckets: prometheus.ExponentialBuckets(0.005, 2, 12),
		}),
	}
	reg.MustRegister(m.configurations, m.reloads, m.failures, m.revision, m.took)
	return m
}

func (m metrics) served(o reload.Outcome) {
	if o.Changed {
		m.configurations.Inc()
	}
	if o.Reloaded {
		m.reloads.Inc()
		m.took.Observe(o.Took.Seconds())
	}
}
