package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// drainBound is how long requests may take to finish when the endpoint is stopped.
const drainBound = 5 * time.Second

// StatusConfig says where the status endpoint listens and what it shows.
type StatusConfig struct {
	Addr     string       // host:port; "" means no endpoint
	Listener net.Listener // instead of Addr, if set

	Ready    *Readiness          // /readyz
	Alive    func() error        // /healthz; nil means always
	Gatherer prometheus.Gatherer // /metrics
	Report   func() any          // /status, as JSON; nil means no such page
}

// A Status is the endpoint for people, probes and Prometheus: /healthz, /readyz,
// /metrics and /status. It only reads, but says much about the machine: its
// address should be loopback unless somebody chose otherwise.
type Status struct {
	logger   *slog.Logger
	listener net.Listener // nil if there is no endpoint
	server   *http.Server
}

// OpenStatus listens, so that an address in use is known before anything else
// is started. Nothing is answered before Run.
func OpenStatus(ctx context.Context, logger *slog.Logger, c StatusConfig) (*Status, error) {
	s := &Status{logger: logger, listener: c.Listener}
	if s.listener == nil && c.Addr == "" {
		return s, nil
	}
	if s.listener == nil {
		var err error
		if s.listener, err = new(net.ListenConfig).Listen(ctx, "tcp", c.Addr); err != nil {
			return nil, fmt.Errorf("listen for status on %s: %w", c.Addr, err)
		}
	}
	errorLog := slog.NewLogLogger(logger.Handler(), slog.LevelDebug)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		if c.Alive != nil {
			if err := c.Alive(); err != nil {
				respond(w, http.StatusServiceUnavailable, err.Error())
				return
			}
		}
		respond(w, http.StatusOK, "alive")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if reasons := c.Ready.Reasons(); len(reasons) > 0 {
			respond(w, http.StatusServiceUnavailable, strings.Join(reasons, "\n"))
			return
		}
		respond(w, http.StatusOK, "ready")
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(c.Gatherer, promhttp.HandlerOpts{ErrorLog: errorLog, ErrorHandling: promhttp.ContinueOnError}))
	if c.Report != nil {
		mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) { s.report(w, c.Report()) })
	}
	s.server = &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          errorLog,
	}
	return s, nil
}

// Addr gives the address that is listened on, with the port that was free if 0
// was asked for; "" if there is no endpoint.
func (s *Status) Addr() string {
	if s.listener == nil {
		return ""
	}
	return s.listener.Addr().String()
}

// Run answers until ctx is done, then lets running requests finish, and returns nil.
func (s *Status) Run(ctx context.Context) error {
	if s.listener == nil {
		<-ctx.Done()
		return nil
	}
	served := make(chan error, 1)
	go func() { served <- s.server.Serve(s.listener) }()
	s.logger.Info("status endpoint is listening", "addr", s.Addr())
	select {
	case err := <-served:
		return fmt.Errorf("serve status on %s: %w", s.Addr(), err)
	case <-ctx.Done():
	}
	bound, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainBound)
	defer cancel()
	err := s.server.Shutdown(bound)
	if err != nil {
		err = errors.Join(fmt.Errorf("finish requests to %s: %w", s.Addr(), err), s.server.Close())
	}
	<-served //nolint:errcheck // it says only that the server was closed
	return err
}

func (s *Status) report(w http.ResponseWriter, report any) {
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(report); err != nil {
		s.logger.Error("status report cannot be encoded", "err", err)
		respond(w, http.StatusInternalServerError, "the report cannot be encoded; the log says why")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	// A client that has gone away is its own business.
	_, _ = body.WriteTo(w)
}

func respond(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_, _ = io.WriteString(w, text+"\n")
}
