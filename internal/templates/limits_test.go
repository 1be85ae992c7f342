package templates

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestLimits has clients and servers behind that exceed what the settings allow.
func TestLimits(t *testing.T) {
	release := make(chan struct{})
	var asked sync.Map // by the proxy that asked
	slow := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		n, _ := asked.LoadOrStore(r.URL.Path, new(atomic.Int32))
		n.(*atomic.Int32).Add(1)
		<-release
	}))
	t.Cleanup(slow.Close)
	t.Cleanup(func() { close(release) })
	web := backend(t, "web")
	for _, proxy := range proxies {
		t.Run(proxy, func(t *testing.T) {
			t.Parallel() // it is all waiting
			b := Balancer{
				Proxy: proxy, Standalone: true, Settings: DefaultSettings(),
				Upstreams: []Upstream{upstream("slow", slow, slow), upstream("web", web)},
				Hosts:     []VirtualHost{{Name: "slow", Routes: []Route{{"", "slow"}}}},
				Default:   VirtualHost{Routes: []Route{{"", "web"}}},
			}
			b.Settings.MaxBody, b.Settings.KeepAlive = 100_000, 5*time.Second
			b.Settings.ServerTimeout, b.Settings.ClientTimeout = time.Second, 2*time.Second
			r := start(t, b)
			for size, want := range map[int]int{100_000: 200, 100_001: 413} {
				body := strings.Repeat("x", size)
				if resp, _ := r.send(t, "POST", "web", "/", body, "Expect", "100-continue"); resp.StatusCode != want {
					t.Errorf("body of %d bytes: got %s, want %d", size, resp.Status, want)
				}
				if proxy != "nginx" {
					continue // the others do not count what comes in chunks
				}
				req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+r.address, io.MultiReader(strings.NewReader(body)))
				if err != nil {
					t.Fatal(err)
				}
				resp, err := http.DefaultTransport.RoundTrip(req)
				if err != nil || resp.StatusCode != want {
					t.Fatalf("%d bytes in chunks: got %v, %v, want %d", size, resp, err, want)
				}
				resp.Body.Close()
			}
			want := http.StatusGatewayTimeout
			if proxy == "apache" {
				want = http.StatusBadGateway // it does not tell silence from what a server does wrong
			}
			if resp, _ := r.send(t, "GET", "slow", "/"+proxy, ""); resp.StatusCode != want {
				t.Errorf("silent server: got %s, want %d", resp.Status, want)
			}
			if n, ok := asked.Load("/" + proxy); !ok || n.(*atomic.Int32).Load() != 1 {
				t.Errorf("silent server: a second one was asked for the same")
			}
			if took := dripHeader(t, r.address); took > b.Settings.ClientTimeout+3*time.Second {
				t.Errorf("header that never ends: closed after %s, want %s", took, b.Settings.ClientTimeout)
			}
			for request, limit := range map[string]time.Duration{
				"POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 10\r\n\r\n": b.Settings.ClientTimeout,
				"GET / HTTP/1.1\r\nHost: web\r\n\r\n":                        b.Settings.KeepAlive,
			} {
				if took := untilClosed(t, r.address, request); took < limit/2 || took > limit+5*time.Second {
					t.Errorf("%.4s and silence: closed after %s, want %s", request, took, limit)
				}
			}
		})
	}
}

// TestLongHeader has a server behind answer with a header that is long, as those of
// content security policies are.
func TestLongHeader(t *testing.T) {
	const length = 12_000
	verbose := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Security-Policy", strings.Repeat("x", length))
	}))
	t.Cleanup(verbose.Close)
	for _, proxy := range proxies {
		t.Run(proxy, func(t *testing.T) {
			r := start(t, Balancer{
				Proxy: proxy, Standalone: true, Upstreams: []Upstream{upstream("web", verbose)},
				Default: VirtualHost{Routes: []Route{{"", "web"}}},
			})
			resp, _ := r.send(t, "GET", "web", "/", "")
			if got := len(resp.Header.Get("Content-Security-Policy")); got != length {
				t.Errorf("got %s with a header of %d bytes, want %d", resp.Status, got, length)
			}
		})
	}
}

// dripHeader sends a header byte by byte, never silent for long, and says how long the
// server puts up with it.
func dripHeader(t *testing.T, address string) time.Duration {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	begin := time.Now()
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: web\r\nX: ")
	for time.Since(begin) < 10*time.Second {
		if _, err := fmt.Fprint(conn, "x"); err != nil {
			break
		}
		_ = conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
	}
	return time.Since(begin)
}

// untilClosed sends something and says how long it takes the server to close the connection.
func untilClosed(t *testing.T, address, request string) time.Duration {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	fmt.Fprint(conn, request)
	_, _ = io.Copy(io.Discard, conn)
	return time.Since(begin)
}
