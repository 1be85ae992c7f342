package templates

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// gated are the servers that have a gate, in both forms of their configuration.
func gated(t *testing.T, test func(t *testing.T, b Balancer)) {
	for _, proxy := range []string{"nginx", "apache"} {
		for _, standalone := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/standalone=%v", proxy, standalone), func(t *testing.T) {
				t.Parallel()
				b := Balancer{
					Proxy: proxy, Standalone: standalone, Settings: DefaultSettings(), Gate: filepath.Join(runDir(t), "a gate"),
					Upstreams: []Upstream{{Name: "empty"}, upstream("shop", backend(t, "shop")), upstream("web", backend(t, "web"))},
					Hosts: []VirtualHost{
						{Name: "empty.test", Routes: []Route{{"/shop", "shop"}, {"", "empty"}}},
						{Name: "paths.test", Routes: []Route{{"/a.b", "empty"}, {"/shop", "shop"}}},
						{Name: "web.test", Routes: []Route{{"/shop", "shop"}, {"", "web"}}},
					},
				}
				b.Settings.KeepAlive = time.Minute // what closes is not that
				test(t, b)
			})
		}
	}
}

// A kept is one connection of a client that knows nothing of keep-alive: it only writes and reads.
type kept struct {
	net.Conn
	answers *bufio.Reader
}

func dialKept(t *testing.T, address string) *kept {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	return &kept{conn, bufio.NewReader(conn)}
}

func (k *kept) ask(t *testing.T, request string) *http.Response {
	t.Helper()
	if _, err := io.WriteString(k, request); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(k.answers, nil)
	if err != nil {
		t.Fatalf("%q: %v", request, err)
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Fatal(err)
		}
	}
	return resp
}

// ended says whether the server itself closes the connection, well before it would otherwise.
func (k *kept) ended(t *testing.T) {
	t.Helper()
	if _, err := k.answers.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("after the answer: got %v, want the end of the connection", err)
	}
}

func TestGate(t *testing.T) {
	gated(t, func(t *testing.T, b Balancer) {
		r := start(t, b)
		for _, tt := range []struct {
			request string // the first line and the host
			body    string
			status  int
			backend string
		}{
			{"GET /a%2Fb//c?d=%2F HTTP/1.1|web.test", "", 200, "web"},
			{"POST /x HTTP/1.1|web.test", "0123456789", 200, "web"},
			{"GET /shop HTTP/1.1|web.test", "", 200, "shop"},
			{"PUT /shop/x%20y HTTP/1.1|web.test", "0123", 200, "shop"},
			{"GET /shopping HTTP/1.1|web.test", "", 200, "web"},
			{"OPTIONS / HTTP/1.1|web.test", "", 200, "web"},
			{"GET / HTTP/1.1|empty.test", "", 503, ""},
			{"GET /shop/ HTTP/1.1|empty.test", "", 200, "shop"},
			{"GET / HTTP/1.1|paths.test", "", 404, ""},
			{"GET /a.b/c HTTP/1.1|paths.test", "", 503, ""},
			{"GET /axb/c HTTP/1.1|paths.test", "", 404, ""},
			{"GET /shop/busy HTTP/1.1|paths.test", "", 503, ""},
			{"GET / HTTP/1.1|unknown.test", "", 404, ""},
			{"GET / HTTP/1.0|web.test", "", 200, "web"},
		} {
			line, host, _ := strings.Cut(tt.request, "|")
			_, rest, _ := strings.Cut(line, " ")
			request := line + "\r\nHost: " + host + "\r\nConnection: keep-alive\r\n"
			if tt.body != "" {
				request += fmt.Sprintf("Content-Length: %d\r\n", len(tt.body))
			}
			request += "\r\n" + tt.body
			conn := dialKept(t, r.address)
			for _, open := range []bool{false, false, true} {
				if open {
					write(t, b.Gate, "")
				}
				resp := conn.ask(t, request)
				if resp.Close && !open && b.Proxy == "apache" && tt.status == 503 && tt.backend == "" {
					conn = dialKept(t, r.address) // Apache never keeps a connection after a 503 of its own
					continue
				}
				if resp.StatusCode != tt.status || resp.Header.Get("X-Backend") != tt.backend {
					t.Errorf("%s, gate open %v: got %s by %q", tt.request, open, resp.Status, resp.Header.Get("X-Backend"))
				}
				path, _, _ := strings.Cut(rest, " ")
				if got := resp.Header.Get("X-Uri"); tt.backend != "" && got != path {
					t.Errorf("%s, gate open %v: the server behind was asked for %q", tt.request, open, got)
				}
				if resp.Close != open && strings.Contains(line, "1.1") {
					t.Errorf("%s: the answer says close: %v, with the gate open %v", tt.request, resp.Close, open)
				}
				if n := len(resp.Header.Values("Connection")); n > 1 {
					t.Errorf("%s: %d headers Connection: %q", tt.request, n, resp.Header.Values("Connection"))
				}
			}
			conn.ended(t)
			if err := os.Remove(b.Gate); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestGateAndTunnels has WebSockets begin before the gate opens and while it is open.
func TestGateAndTunnels(t *testing.T) {
	gated(t, func(t *testing.T, b Balancer) {
		r := start(t, b)
		var tunnels []*kept
		for range 2 {
			conn := dialKept(t, r.address)
			resp := conn.ask(t, "GET /chat HTTP/1.1\r\nHost: web.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n")
			if got := resp.Header.Values("Connection"); resp.StatusCode != http.StatusSwitchingProtocols || len(got) != 1 || !strings.EqualFold(got[0], "upgrade") {
				t.Fatalf("got %s, Connection %q", resp.Status, got)
			}
			write(t, b.Gate, "")
			tunnels = append(tunnels, conn)
			for _, conn := range tunnels {
				message, got := "hello", make([]byte, 5)
				if _, err := io.WriteString(conn, message); err != nil {
					t.Fatal(err)
				}
				if _, err := io.ReadFull(conn.answers, got); err != nil || string(got) != message {
					t.Errorf("sent %q, got %q, %v", message, got, err)
				}
			}
		}
	})
}

// TestGateAndHTTP2 looks for the header that HTTP/2 forbids, and at a redirect.
func TestGateAndHTTP2(t *testing.T) {
	for _, proxy := range []string{"nginx", "apache"} {
		t.Run(proxy, func(t *testing.T) {
			t.Parallel()
			b := secured(t, proxy, certify(t, "*.example", 1))
			b.Settings.HTTP2, b.Settings.Redirect, b.Gate = true, true, filepath.Join(runDir(t), "gate")
			r := start(t, b)
			client := secure(b.ListenTLS[0], "www.example", true)
			transport := client.Transport.(*http.Transport)
			transport.DisableKeepAlives = false
			defer transport.CloseIdleConnections()
			plain := dialKept(t, r.address)
			for _, open := range []bool{false, true, true} {
				if open {
					write(t, b.Gate, "")
				}
				resp := ask(t, client, "https://www.example/", "www.example")
				if resp == nil || resp.StatusCode != http.StatusOK || resp.ProtoMajor != 2 || resp.Header.Get("Connection") != "" {
					t.Errorf("gate open %v: got %v", open, resp)
				}
			}
			if err := os.Remove(b.Gate); err != nil {
				t.Fatal(err)
			}
			for _, open := range []bool{false, true} {
				if open {
					write(t, b.Gate, "")
				}
				resp := plain.ask(t, "GET /a%2Fb?c HTTP/1.1\r\nHost: www.example\r\n\r\n")
				if got := resp.Header.Get("Location"); resp.StatusCode != http.StatusPermanentRedirect || !strings.HasSuffix(got, "/a%2Fb?c") || resp.Close != open {
					t.Errorf("gate open %v: got %s to %q, close %v", open, resp.Status, got, resp.Close)
				}
			}
			plain.ended(t)
		})
	}
}

// TestGateAndMaxBody sends bodies of either side of the limit through the gate.
func TestGateAndMaxBody(t *testing.T) {
	gated(t, func(t *testing.T, b Balancer) {
		b.Settings.MaxBody = 12_000
		r := start(t, b)
		write(t, b.Gate, "")
		for size, want := range map[int]int{0: 200, 9_999: 200, 10_000: 200, 12_000: 200, 12_001: 413, 100_000: 413} {
			resp, _ := r.send(t, "POST", "web.test", "/", strings.Repeat("x", size), "Expect", "100-continue")
			if resp.StatusCode != want {
				t.Errorf("body of %d bytes: got %s, want %d", size, resp.Status, want)
			}
		}
		conn := dialKept(t, r.address)
		if resp := conn.ask(t, "POST / HTTP/1.1\r\nHost: web.test\r\nContent-Length: 4\r\n\r\nbody"); !resp.Close {
			t.Errorf("a short body: the connection is kept")
		}
		if resp := dialKept(t, r.address).ask(t, "GET / HTTP/1.1\r\nHost: web.test\r\n\r\n"); !resp.Close {
			t.Errorf("no body: the connection is kept")
		}
	})
}
