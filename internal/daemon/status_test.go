package daemon

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
)

// serve opens and runs a status endpoint on a free port until the test ends.
func serve(t *testing.T, c StatusConfig) (base string, client *http.Client, stop func() error) {
	t.Helper()
	if c.Ready == nil {
		c.Ready = NewReadiness((&journal{}).logger())
	}
	if c.Gatherer == nil {
		c.Gatherer = prometheus.NewRegistry()
	}
	if c.Listener == nil {
		c.Addr = "127.0.0.1:0"
	}
	s, err := OpenStatus(t.Context(), (&journal{}).logger(), c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx); close(done) }()
	transport := &http.Transport{}
	stop = func() error {
		cancel()
		return <-done
	}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		if err := stop(); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return "http://" + s.Addr(), &http.Client{Transport: transport, Timeout: 20 * time.Second}, stop
}

// get gives "code content-type\nbody".
func get(t *testing.T, client *http.Client, method, url string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	kind, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";")
	return strings.TrimSpace(resp.Status[:4]+kind) + "\n" + string(body)
}

func TestStatus(t *testing.T) {
	var etcd, docker, alive fault
	ready := NewReadiness((&journal{}).logger())
	ready.Add("etcd", etcd.check)
	ready.Add("docker", docker.check)
	registry := prometheus.NewRegistry()
	reloads := prometheus.NewCounter(prometheus.CounterOpts{Name: "reloads_total", Help: "Reloads."})
	registry.MustRegister(reloads)
	reloads.Inc()
	var report any = map[string]any{"generation": 7, "cause": "<web>"}
	base, client, _ := serve(t, StatusConfig{Ready: ready, Alive: alive.check, Gatherer: registry, Report: func() any { return report }})

	for _, tc := range []struct {
		name         string
		change       func()
		method, path string
		want         string
	}{
		{"alive", func() {}, "GET", "/healthz", "200 text/plain\nalive\n"},
		{"asked by HEAD", func() {}, "HEAD", "/healthz", "200 text/plain\n"},
		{"ready", func() {}, "GET", "/readyz", "200 text/plain\nready\n"},
		{"not ready", func() { etcd.set(errDown); docker.set(errDown) }, "GET", "/readyz", "503 text/plain\netcd: connection refused\ndocker: connection refused\n"},
		{"not ready is still alive", func() {}, "GET", "/healthz", "200 text/plain\nalive\n"},
		{"stuck", func() { alive.set(errors.New("loop stuck")) }, "GET", "/healthz", "503 text/plain\nloop stuck\n"},
		{"metrics", func() {}, "GET", "/metrics", "200 text/plain\n# HELP reloads_total Reloads.\n# TYPE reloads_total counter\nreloads_total 1\n"},
		{"report", func() {}, "GET", "/status", "200 application/json\n{\n  \"cause\": \"<web>\",\n  \"generation\": 7\n}\n"},
		{"report that is not JSON", func() { report = func() {} }, "GET", "/status", "500 text/plain\nthe report cannot be encoded; the log says why\n"},
		{"nothing changes anything", func() {}, "POST", "/readyz", "405 text/plain\nMethod Not Allowed\n"},
		{"no such page", func() {}, "GET", "/debug/pprof/", "404 text/plain\n404 page not found\n"},
	} {
		tc.change()
		if diff := cmp.Diff(tc.want, get(t, client, tc.method, base+tc.path)); diff != "" {
			t.Errorf("%s: %s %s (-want +got):\n%s", tc.name, tc.method, tc.path, diff)
		}
	}
}

func TestStatusWithoutReportOrAlive(t *testing.T) {
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	base, client, _ := serve(t, StatusConfig{Listener: l})
	if want := "http://" + l.Addr().String(); base != want {
		t.Errorf("listens on %s, want %s", base, want)
	}
	for path, want := range map[string]string{"/status": "404", "/healthz": "200"} {
		if got := get(t, client, "GET", base+path); !strings.HasPrefix(got, want) {
			t.Errorf("%s: got %q, want %s", path, got, want)
		}
	}
}

func TestStatusOff(t *testing.T) {
	s, err := OpenStatus(t.Context(), (&journal{}).logger(), StatusConfig{})
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Addr(); got != "" {
		t.Errorf("listens on %s, want nothing", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Run(ctx); err != nil {
		t.Errorf("Run: %v", err)
	}
}

func TestStatusAddressInUse(t *testing.T) {
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	addr := l.Addr().String()
	_, err = OpenStatus(t.Context(), (&journal{}).logger(), StatusConfig{Addr: addr})
	want := "listen for status on " + addr + ": listen tcp " + addr + ": bind: address already in use"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestStatusFailsWhenItsListenerDoes(t *testing.T) {
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s, err := OpenStatus(t.Context(), (&journal{}).logger(), StatusConfig{Listener: l, Ready: NewReadiness(nil), Gatherer: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	err = s.Run(t.Context())
	if want := "serve status on " + l.Addr().String() + ": "; err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("got %v, want it to begin with %q", err, want)
	}
}

func TestStatusFinishesRequests(t *testing.T) {
	began, finish := make(chan struct{}), make(chan struct{})
	base, client, stop := serve(t, StatusConfig{Report: func() any { close(began); <-finish; return "done" }})
	answer := make(chan string, 1)
	go func() {
		resp, err := client.Get(base + "/status")
		if err != nil {
			answer <- err.Error()
			return
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		answer <- string(body)
	}()
	<-began
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	// New connections are refused while the running request is still waited for.
	for refused := false; !refused; {
		conn, err := net.DialTimeout("tcp", strings.TrimPrefix(base, "http://"), time.Second)
		if refused = err != nil; !refused {
			conn.Close()
		}
	}
	select {
	case err := <-stopped:
		t.Fatalf("stopped with a request running: %v", err)
	default:
	}
	close(finish)
	if got := <-answer; got != "\"done\"\n" {
		t.Errorf("the running request got %q", got)
	}
	if err := <-stopped; err != nil {
		t.Errorf("Run: %v", err)
	}
}
