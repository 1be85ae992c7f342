package templates

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// TestFailover has servers that are gone, refuse, or break off: a client may only
// notice when its request may have been carried out.
func TestFailover(t *testing.T) {
	for _, proxy := range withLua(proxies) {
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
			for method, attempts := range map[string]int32{"POST": 1, "GET": map[string]int32{"nginx": 3, nginxWithLua: 3, "apache": 1, "haproxy": 3}[proxy]} {
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

// TestBrokenOff has one kind of request that a service breaks off: what else it is asked
// is answered all the same.
func TestBrokenOff(t *testing.T) {
	moody := func() *httptest.Server {
		s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/breaks" {
				panic(http.ErrAbortHandler)
			}
		}))
		t.Cleanup(s.Close)
		return s
	}
	for _, proxy := range withLua(proxies) {
		for _, balance := range []string{"roundrobin", "leastconn"} {
			t.Run(proxy+"/"+balance, func(t *testing.T) {
				b := Balancer{
					Proxy: proxy, Standalone: true, Settings: DefaultSettings(),
					Upstreams: []Upstream{upstream("web", moody(), moody())}, Default: VirtualHost{Routes: []Route{{"", "web"}}},
				}
				b.Settings.Balance = balance
				r := start(t, b)
				for range 10 {
					r.send(t, "POST", "web", "/breaks", "")
					r.send(t, "GET", "web", "/breaks", "")
					if resp, _ := r.send(t, "GET", "web", "/", ""); resp.StatusCode != http.StatusOK {
						t.Fatalf("got %s, want 200", resp.Status)
					}
				}
			})
		}
	}
}

// TestReload goes through changes of members: what the server remembers of the
// old ones in shared memory must not shine through.
func TestReload(t *testing.T) {
	one, two, three := backend(t, "one"), backend(t, "two"), backend(t, "three")
	for _, proxy := range withLua(proxies) {
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

// TestKeptConnection reloads HAProxy between two requests of one connection: the worker
// that has the connection answers the next one, and closes it then.
func TestKeptConnection(t *testing.T) {
	web := backend(t, "web")
	b := Balancer{
		Proxy: "haproxy", Standalone: true, Revision: 1,
		Upstreams: []Upstream{upstream("web", web)}, Default: VirtualHost{Routes: []Route{{"", "web"}}},
	}
	r := start(t, b)
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", r.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	answers := bufio.NewReader(conn)
	ask := func() *http.Response {
		t.Helper()
		if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: any\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(answers, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp
	}
	if resp := ask(); resp.StatusCode != http.StatusOK || resp.Close {
		t.Errorf("before: got %s, closed %v", resp.Status, resp.Close)
	}
	b.Upstreams = []Upstream{upstream("web", web, backend(t, "other"))}
	r.reload(t, b)
	if resp := ask(); resp.StatusCode != http.StatusOK || !resp.Close {
		t.Errorf("after: got %s, closed %v, want 200 and then a closed connection", resp.Status, resp.Close)
	}
}

// TestUnprivileged starts the server as nobody, as a container without root would.
func TestUnprivileged(t *testing.T) {
	web := backend(t, "web")
	for _, proxy := range withLua(proxies) {
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

// TestUnreachable has HAProxy give up a server that does not even refuse: a turn that
// is passed on counts as one, so that with two servers every request would wait for it.
func TestUnreachable(t *testing.T) {
	dead := httptest.NewUnstartedServer(nil)
	dead.Listener.Close()
	dead.Listener = silent(t)
	b := Balancer{
		Proxy: "haproxy", Standalone: true, Settings: DefaultSettings(),
		Upstreams: []Upstream{upstream("web", backend(t, "alive"), dead)}, Default: VirtualHost{Routes: []Route{{"", "web"}}},
	}
	b.Settings.ConnectTimeout = 300 * time.Millisecond
	r := start(t, b)
	slow := 0
	for range 20 {
		before := time.Now()
		if resp, _ := r.send(t, "GET", "any", "/", ""); resp.Header.Get("X-Backend") != "alive" {
			t.Fatalf("got %s, want the other server's answer", resp.Status)
		}
		if time.Since(before) > b.Settings.ConnectTimeout {
			slow++
		}
	}
	if slow < 1 || slow > 5 {
		t.Errorf("%d of 20 requests waited for the dead server, want a few", slow)
	}
}

// silent is a listener whose queue is full: whoever connects hears nothing.
func silent(t *testing.T) net.Listener {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(fd), "listener")
	defer file.Close()
	if err := errors.Join(syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), syscall.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	l, err := net.FileListener(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	for {
		conn, err := net.DialTimeout("tcp", l.Addr().String(), 200*time.Millisecond)
		if err != nil {
			return l
		}
		t.Cleanup(func() { conn.Close() })
	}
}
