package check

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
)

// at gives a target that is in no hurry.
func at(scheme, path, addr string) Target {
	return Target{
		Spec{Scheme: scheme, Path: path, Interval: DefaultInterval, Timeout: patience, Rise: DefaultRise, Fall: DefaultFall},
		netip.MustParseAddrPort(addr),
	}
}

// result gives what a probe found, "" for an endpoint that is up.
func result(t *testing.T, target Target) string {
	t.Helper()
	if err := Probe(t.Context(), target); err != nil {
		return err.Error()
	}
	return ""
}

// listen gives the address of a listener whose connections are handled one by one,
// and closed afterwards.
func listen(t *testing.T, handle func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var open sync.WaitGroup
	open.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			handle(conn)
			_ = conn.Close()
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		open.Wait()
	})
	return l.Addr().String()
}

// silence reads until the other side closes, and says nothing.
func silence(conn net.Conn) {
	buf := make([]byte, 1024)
	for {
		if _, err := conn.Read(buf); err != nil {
			return
		}
	}
}

// nobody gives an address where nobody listens.
func nobody(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

func TestProbeStatus(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var status int
		if _, err := fmt.Sscanf(r.URL.Path, "/%d", &status); err != nil {
			t.Errorf("asked for %s", r.URL)
		}
		w.Header().Set("Location", "/500")
		w.WriteHeader(status)
	}))
	t.Cleanup(server.Close)
	for status, want := range map[int]string{
		200: "", 204: "", 226: "", 301: "", 302: "", 304: "", 399: "",
		400: "answered 400 Bad Request",
		404: "answered 404 Not Found",
		500: "answered 500 Internal Server Error",
		503: "answered 503 Service Unavailable",
		599: "answered 599",
		999: "answered 999",
	} {
		if got := result(t, at("http", fmt.Sprintf("/%d", status), server.Listener.Addr().String())); got != want {
			t.Errorf("%d: got %q, want %q", status, got, want)
		}
	}
}

func TestProbeRequest(t *testing.T) {
	t.Parallel()
	asked := make(chan map[string]string, 2)
	handler := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		asked <- map[string]string{
			"line": r.Method + " " + r.RequestURI + " " + r.Proto, "Host": r.Host,
			"User-Agent": r.UserAgent(), "close": fmt.Sprint(r.Close), "body": fmt.Sprint(r.ContentLength),
		}
	})
	for scheme, server := range map[string]*httptest.Server{
		"http": httptest.NewServer(handler), "https": httptest.NewTLSServer(handler),
	} {
		t.Cleanup(server.Close)
		target := at(scheme, "/a%2Fb//../c?x=1&y=%20&z", server.Listener.Addr().String())
		if got := result(t, target); got != "" {
			t.Fatal(got)
		}
		want := map[string]string{
			"line": "GET /a%2Fb//../c?x=1&y=%20&z HTTP/1.1", "Host": target.Addr.String(),
			"User-Agent": "rollcall-announce", "close": "true", "body": "0",
		}
		if diff := cmp.Diff(want, <-asked); diff != "" {
			t.Errorf("%s (-want +got):\n%s", scheme, diff)
		}
	}
}

func TestProbeWithTheWrongScheme(t *testing.T) {
	t.Parallel()
	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	secure.StartTLS()
	t.Cleanup(secure.Close)
	for _, test := range []struct {
		scheme, addr, want string
	}{
		{"http", secure.Listener.Addr().String(), "answered 400 Bad Request"},
		{"https", plain.Listener.Addr().String(), "tls: first record does not look like a TLS handshake"},
		{"tcp", plain.Listener.Addr().String(), ""},
		{"tcp", secure.Listener.Addr().String(), ""},
	} {
		path := "/"
		if test.scheme == "tcp" {
			path = ""
		}
		if got := result(t, at(test.scheme, path, test.addr)); got != test.want {
			t.Errorf("%s: got %q, want %q", test.scheme, got, test.want)
		}
	}
}

func TestProbeKeepsNoConnection(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	states := map[http.ConnState]int{}
	count := func(s http.ConnState) int {
		mu.Lock()
		defer mu.Unlock()
		return states[s]
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(make([]byte, 10_000))
	}))
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		mu.Lock()
		defer mu.Unlock()
		states[s]++
	}
	server.Start()
	t.Cleanup(server.Close)
	for range 3 {
		if got := result(t, at("http", "/", server.Listener.Addr().String())); got != "" {
			t.Fatal(got)
		}
	}
	eventually(t, "three connections closed", func() bool { return count(http.StateClosed) == 3 })
	if n, idle := count(http.StateNew), count(http.StateIdle); n != 3 || idle != 0 {
		t.Errorf("%d connections, of which %d were kept", n, idle)
	}
}

func TestProbeWithoutAnswer(t *testing.T) {
	t.Parallel()
	silent := listen(t, silence)
	for _, test := range []struct {
		name, scheme, path, addr, want string
	}{
		{"tcp: somebody who says nothing", "tcp", "", silent, ""},
		{"tcp: nobody", "tcp", "", nobody(t), "connection refused"},
		{"http: nobody", "http", "/", nobody(t), "connection refused"},
		{"https: nobody", "https", "/", nobody(t), "connection refused"},
	} {
		if got := result(t, at(test.scheme, test.path, test.addr)); got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
	for _, scheme := range []string{"http", "https"} {
		target := at(scheme, "/", silent)
		target.Spec.Timeout = 20 * time.Millisecond
		if got := result(t, target); got != "no answer within 20ms" {
			t.Errorf("%s: got %q", scheme, got)
		}
	}
}

func TestProbeIsCut(t *testing.T) {
	t.Parallel()
	for _, scheme := range []string{"http", "https"} {
		ctx, cancel := context.WithCancel(t.Context())
		addr := listen(t, func(conn net.Conn) {
			cancel()
			silence(conn)
		})
		if err := Probe(ctx, at(scheme, "/", addr)); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: got %v, want context.Canceled", scheme, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Probe(ctx, at("tcp", "", nobody(t))); !errors.Is(err, context.Canceled) {
		t.Errorf("tcp: got %v, want context.Canceled", err)
	}
}

// Not parallel: it counts the files of the whole process.
func TestProbeLeavesNothingOpen(t *testing.T) {
	count := func() int {
		open, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(open)
	}
	quick := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(make([]byte, 1<<20))
	}))
	t.Cleanup(quick.Close)
	silent, closed := listen(t, silence), listen(t, func(net.Conn) {})
	before := count()
	for range 20 {
		for scheme, addr := range map[string]string{"https": quick.Listener.Addr().String(), "http": closed, "tcp": silent} {
			_ = result(t, at(scheme, "/", addr))
		}
		short := at("http", "/", silent)
		short.Spec.Timeout = time.Millisecond
		_ = result(t, short)
	}
	eventually(t, "every file closed", func() bool { return count() <= before })
}

func TestCheckerWithRealProbes(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	status := http.StatusServiceUnavailable
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		w.WriteHeader(status)
	}))
	t.Cleanup(server.Close)
	changed := make(chan struct{}, 10)
	c := New(Config{Changed: func(string) { changed <- struct{}{} }, Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry()})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run gives %v", err)
		}
	})
	target := at("http", "/", server.Listener.Addr().String())
	target.Spec.Interval = minInterval
	c.Change(map[string]Target{"web": target}, nil)
	for _, turn := range []struct {
		state  State
		reason string
		then   int
	}{
		{Down, "answered 503 Service Unavailable", http.StatusOK},
		{Up, "", http.StatusNotFound},
		{Down, "answered 404 Not Found", http.StatusNoContent},
		{Up, "", http.StatusOK},
	} {
		select {
		case <-changed:
		case <-time.After(patience):
			t.Fatal("no change")
		}
		state, err := c.State("web")
		reason := ""
		if err != nil {
			reason = err.Error()
		}
		if state != turn.state || reason != turn.reason {
			t.Errorf("got %s, %q, want %s, %q", state, reason, turn.state, turn.reason)
		}
		mu.Lock()
		status = turn.then
		mu.Unlock()
	}
}
