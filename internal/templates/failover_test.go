package templates

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
)

// TestFailover has servers that are gone, refuse, or break off: a client may only
// notice when its request may have been carried out.
func TestFailover(t *testing.T) {
	for _, proxy := range proxies {
		t.Run(proxy, func(t *testing.T) {
			var broken atomic.Int32
			breaking := func() *httptest.Server {
				s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					_, _ = io.Copy(io.Discard, r.Body)
					broken.Add(1)
					panic(http.ErrAbortHandler)
				}))
				t.Cleanup(s.Close)
				return s
			}
			victim, survivor, lone := backend(t, "victim"), backend(t, "survivor"), backend(t, "lone")
			b := Balancer{
				Proxy: proxy, Standalone: true,
				Upstreams: []Upstream{
					upstream("breaking", breaking(), breaking(), breaking()),
					upstream("killed", survivor, victim),
					upstream("lone", lone),
				},
				Hosts: []VirtualHost{
					{Name: "breaking", Routes: []Route{{"", "breaking"}}},
					{Name: "killed", Routes: []Route{{"", "killed"}}},
				},
				Default: VirtualHost{Routes: []Route{{"", "lone"}}},
			}
			// Services of a server that refuses and one that does not: one for each size, so
			// that it is one of these requests that finds out.
			sizes := []int{0, 10, 100_000, 5_000_000}
			for _, size := range sizes {
				name := fmt.Sprint("refusing", size)
				b.Upstreams = append(b.Upstreams, upstream(name, victim, survivor))
				b.Hosts = append(b.Hosts, VirtualHost{Name: name, Routes: []Route{{"", name}}})
			}
			sortUpstreams(&b)
			r := start(t, b)
			for range 10 { // so that connections to it are kept
				r.send(t, "GET", "killed", "/", "")
			}
			victim.Close()
			for i := range 40 {
				if resp, _ := r.send(t, "GET", "killed", "/", ""); resp.Header.Get("X-Backend") != "survivor" {
					t.Fatalf("request %d: got %s, want the survivor's answer", i, resp.Status)
				}
			}
			for _, size := range sizes {
				for range 2 { // one of them is the refusing server's turn
					resp, _ := r.send(t, "POST", fmt.Sprint("refusing", size), "/", strings.Repeat("x", size))
					if got, want := resp.Header.Get("X-Body"), fmt.Sprint("POST ", size); got != want {
						t.Errorf("POST of %d bytes: got %s, %q, want %q", size, resp.Status, got, want)
					}
				}
			}
			for method, attempts := range map[string]int32{"POST": 1, "GET": map[string]int32{"nginx": 3, "apache": 1}[proxy]} {
				broken.Store(0)
				if resp, _ := r.send(t, method, "breaking", "/", ""); resp.StatusCode != http.StatusBadGateway || broken.Load() != attempts {
					t.Errorf("%s that was broken off: got %s after %d attempts, want %d", method, resp.Status, broken.Load(), attempts)
				}
			}
			// The only server is never given up.
			for range 10 {
				lone.CloseClientConnections()
				if resp, _ := r.send(t, "GET", "anything", "/", ""); resp.Header.Get("X-Backend") != "lone" {
					t.Fatalf("got %s, want the only server's answer", resp.Status)
				}
			}
		})
	}
}

// TestReload goes through changes of members: what the server remembers of the
// old ones in shared memory must not shine through.
func TestReload(t *testing.T) {
	one, two, three := backend(t, "one"), backend(t, "two"), backend(t, "three")
	for _, proxy := range proxies {
		t.Run(proxy, func(t *testing.T) {
			balancer := func(weights [3]int, servers ...*httptest.Server) Balancer {
				u := upstream("web", servers...)
				for i := range u.Servers {
					u.Servers[i].Weight = weights[i]
				}
				return Balancer{Proxy: proxy, Standalone: true, Upstreams: []Upstream{u}, Default: VirtualHost{Routes: []Route{{"", "web"}}}}
			}
			r := start(t, balancer([3]int{100}, one))
			for _, tc := range []struct {
				weights [3]int
				servers []*httptest.Server
				want    string
			}{
				{[3]int{100, 100, 100}, []*httptest.Server{one, two, three}, "one three two"},
				{[3]int{0, 100, 100}, []*httptest.Server{one, two, three}, "three two"},
				{[3]int{100, 100}, []*httptest.Server{two, one}, "one two"},
				{[3]int{0}, []*httptest.Server{three}, ""},
				{[3]int{100}, []*httptest.Server{three}, "three"},
				{[3]int{}, nil, ""},
				{[3]int{100, 0, 100}, []*httptest.Server{one, two, three}, "one three"},
			} {
				r.reload(t, balancer(tc.weights, tc.servers...))
				seen := map[string]bool{}
				for range 12 {
					resp, _ := r.send(t, "GET", "any", "/", "")
					seen[resp.Header.Get("X-Backend")] = true
					if tc.want == "" && resp.StatusCode != http.StatusServiceUnavailable {
						t.Errorf("got %s, want 503", resp.Status)
					}
				}
				if got := sortedNames(seen); got != tc.want {
					t.Errorf("weights %v: got answers from %q, want %q", tc.weights, got, tc.want)
				}
			}
		})
	}
}

// TestUnprivileged starts the server as nobody, as a container without root would.
func TestUnprivileged(t *testing.T) {
	web := backend(t, "web")
	for _, proxy := range proxies {
		t.Run(proxy, func(t *testing.T) {
			logs := runDir(t) // the test's pipe would not be nobody's to open
			b := Balancer{
				Proxy: proxy, Standalone: true, ErrorLog: logs + "/error.log",
				Upstreams: []Upstream{upstream("web", web)}, Default: VirtualHost{Routes: []Route{{"", "web"}}},
			}
			r := start(t, b, func(r *running) {
				if os.Getuid() != 0 {
					return
				}
				const nobody = 65534
				for _, dir := range []string{logs, r.dir} {
					if err := os.Chown(dir, nobody, nobody); err != nil {
						t.Fatal(err)
					}
				}
				r.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
			})
			// A body that has to be kept in a file for a while.
			resp, _ := r.send(t, "POST", "any", "/", strings.Repeat("x", 1<<20))
			if got := resp.Header.Get("X-Body"); got != "POST 1048576" {
				t.Errorf("got %s, %q", resp.Status, got)
			}
		})
	}
}
