package reload

import (
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"rollcall/internal/templates"
)

// serverAt is a member that is answered by a handler.
func serverAt(t *testing.T, name string, handler http.HandlerFunc) templates.Server {
	t.Helper()
	web := httptest.NewServer(handler)
	t.Cleanup(web.Close)
	addr := web.Listener.Addr().(*net.TCPAddr)
	return templates.Server{Name: name, Host: addr.IP.String(), Port: uint16(addr.Port), Address: addr.String(), Weight: 100}
}

// A member that fails again and again is passed over for a while; the last is not, and
// neither are all.
func TestLuaMemberThatFailsIsPassedOver(t *testing.T) {
	var broken atomic.Int64
	breaks := func(http.ResponseWriter, *http.Request) {
		broken.Add(1)
		panic(http.ErrAbortHandler)
	}
	x, y, a := serverAt(t, "x", breaks), serverAt(t, "y", breaks), newLuaBackend(t, "a", 100)
	s := newLuaServer(t, luaUpstream(x, a.Server))
	s.sync(0, x, a.Server)
	if got := s.answers(40); got["a"] != 40 {
		t.Errorf("answers: %v", got)
	}
	if n := broken.Load(); n < 3 || n > 12 { // 20 would be its share
		t.Errorf("%d of 40 requests were tried by the member that fails, want about 3", n)
	}
	failing := func(method string, want int64) {
		t.Helper()
		for range 10 {
			broken.Store(0)
			status, _, err := s.request(t.Context(), method, "/")
			if err != nil || status != http.StatusBadGateway || broken.Load() != want {
				t.Errorf("%s: got status %d, %v after %d attempts, want 502 after %d", method, status, err, broken.Load(), want)
			}
		}
	}
	s.sync(2, x, y)
	failing(http.MethodGet, 3)
	failing(http.MethodPost, 1)
	s.sync(1, x)
	failing(http.MethodGet, 1)
	for _, l := range s.nginx.Leaving() {
		s.finished(l)
	}
}

// A failed POST is the last attempt of its request: its failure is counted all the same.
func TestLuaFailuresOfPosts(t *testing.T) {
	var broken atomic.Int64
	x := serverAt(t, "x", func(http.ResponseWriter, *http.Request) {
		broken.Add(1)
		panic(http.ErrAbortHandler)
	})
	a := newLuaBackend(t, "a", 100)
	s := newLuaServer(t, luaUpstream(x, a.Server))
	for range 40 {
		if _, _, err := s.request(t.Context(), http.MethodPost, "/"); err != nil {
			t.Fatal(err)
		}
	}
	if n := broken.Load(); n < 3 || n > 12 {
		t.Errorf("%d of 40 requests were tried by the member that fails, want about 3", n)
	}
}

// A member may send nginx to another place, which is another request of the same client's.
func TestLuaCountsThroughRedirects(t *testing.T) {
	a := newLuaBackend(t, "a", 100)
	x := serverAt(t, "x", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/" {
			w.Header().Set("X-Accel-Redirect", "/other")
			return
		}
		_, _ = w.Write([]byte("other"))
	})
	s := newLuaServer(t, luaUpstream(x))
	s.sync(0, x)
	if got := s.answers(10); got["other"] != 10 {
		t.Errorf("answers: %v", got)
	}
	s.sync(2, a.Server)
	s.over(s.leaver("x"))
}

// While the gate is open, requests go another way through the configuration.
func TestLuaThroughTheGate(t *testing.T) {
	a, b := newLuaBackend(t, "a", 100), newLuaBackend(t, "b", 100)
	gate := ""
	s := newLuaServerSet(t, func(c *templates.Balancer) {
		gate = c.RunDir + "/gate"
		c.Gate = gate
		c.Hosts[0].Routes = []templates.Route{{Path: "/slow", Upstream: "web"}, {Upstream: "web"}}
	}, luaUpstream(a.Server))
	s.sync(0, a.Server)
	if err := mark(gate); err != nil {
		t.Fatal(err)
	}
	if got := s.answers(10); got["a"] != 10 {
		t.Errorf("answers: %v", got)
	}
	answer := s.slow(http.MethodPost, a)
	s.sync(2, b.Server)
	l := s.leaver("a")
	s.busy(l)
	if got := s.answers(10); got["b"] != 10 {
		t.Errorf("answers: %v", got)
	}
	close(a.release)
	if got := <-answer; got != "200 a <nil>" {
		t.Errorf("slow request: %q", got)
	}
	s.over(l)
	s.sync(1)
	for _, path := range []string{"/", "/slow"} {
		if status, _, err := s.request(t.Context(), http.MethodGet, path); err != nil || status != http.StatusServiceUnavailable {
			t.Errorf("%s without a member: status %d, %v", path, status, err)
		}
	}
}
