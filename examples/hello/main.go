// Command hello is a web server to announce: small, static and quick to stop. It
// answers with its own name and version, so that whoever sends requests through a
// balancer sees who answered. It knows nothing of rollcall.
//
// The name is the container's (docker run --hostname), or NAME; the version is VERSION.
//
// Its health can be played with: after POST /sick, /healthz answers 503, until POST /well.
// "hello -check" asks for it, as a HEALTHCHECK does, and fails when it is not 200.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	maxBody = 1 << 20
	maxSlow = time.Minute
	// grace is how long requests that are running may take after TERM.
	grace = 10 * time.Second
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Getenv, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "hello:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, getenv func(string) string, logs io.Writer) error {
	flags := flag.NewFlagSet("hello", flag.ContinueOnError)
	flags.SetOutput(logs)
	addr := flags.String("listen", cmp.Or(getenv("LISTEN"), ":8080"), "address to listen on")
	check := flags.Bool("check", false, "ask the hello that runs here whether it is well, and leave")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *check {
		return ask(ctx, *addr)
	}
	name := getenv("NAME")
	if name == "" {
		host, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("find a name: %w", err)
		}
		name = host
	}
	version := cmp.Or(getenv("VERSION"), "v0")

	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", *addr)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", *addr, err)
	}
	slog.New(slog.NewTextHandler(logs, nil)).Info("serving", "listen", ln.Addr().String(), "name", name, "version", version)
	return serve(ctx, ln, handler(name, version))
}

// serve answers until ctx ends, then lets the requests that are running come to their end.
func serve(ctx context.Context, ln net.Listener, h http.Handler) error {
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	stopped := make(chan error, 1)
	go func() {
		<-ctx.Done()
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
		defer cancel()
		stopped <- srv.Shutdown(bounded)
	}()
	if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve: %w", err)
	}
	return <-stopped
}

// ask fails unless the server on addr's port of this machine says that it is well.
func ask(ctx context.Context, addr string) error {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("address to ask: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort("localhost", port)+"/healthz", nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", req.URL, res.Status)
	}
	return nil
}

// handler answers as name and version, which every answer also carries as headers.
func handler(name, version string) http.Handler {
	hello := func(w http.ResponseWriter) { fmt.Fprintf(w, "hello from %s, version %s\n", name, version) }

	var sick atomic.Bool
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { hello(w) })
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) {
		if sick.Load() {
			http.Error(w, "sick", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("POST /sick", func(http.ResponseWriter, *http.Request) { sick.Store(true) })
	mux.HandleFunc("POST /well", func(http.ResponseWriter, *http.Request) { sick.Store(false) })
	// echo answers with what was posted, once wait is over.
	echo := func(w http.ResponseWriter, r *http.Request, wait time.Duration) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if rest(r.Context(), wait) {
			w.Header().Set("Content-Type", "application/octet-stream")
			_, _ = w.Write(body)
		}
	}
	mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
		d, err := time.ParseDuration(cmp.Or(r.URL.Query().Get("d"), "2s"))
		switch {
		case err != nil || d < 0 || d > maxSlow:
			http.Error(w, "d must be a duration from 0s to 1m, as in /slow?d=2s", http.StatusBadRequest)
		case r.Method == http.MethodPost:
			echo(w, r, d)
		case rest(r.Context(), d):
			hello(w)
		}
	})
	mux.HandleFunc("POST /echo", func(w http.ResponseWriter, r *http.Request) { echo(w, r, 0) })
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Instance", name)
		w.Header().Set("X-Version", version)
		mux.ServeHTTP(w, r)
	})
}

// rest lets time pass, and says whether somebody still waits for the answer then.
func rest(ctx context.Context, d time.Duration) bool {
	if d == 0 {
		return true
	}
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}
