package reload

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"rollcall/internal/templates"
)

const luaSecret = "the secret of the tests"

// A luaServer is a supervised nginx with our Lua, made by the built-in template.
type luaServer struct {
	*fixture
	balancer  templates.Balancer
	structure string
	nginx     *Nginx
	master    *Supervisor
}

func newLuaServer(t testing.TB, upstreams ...templates.Upstream) *luaServer {
	t.Helper()
	return newLuaServerSet(t, func(*templates.Balancer) {}, upstreams...)
}

// newLuaServerSet starts a server, each upstream a host.
func newLuaServerSet(t testing.TB, set func(*templates.Balancer), upstreams ...templates.Upstream) *luaServer {
	t.Helper()
	f := newFixture(t, "nginx")
	s := &luaServer{fixture: f}
	s.balancer = templates.Balancer{
		Proxy: "nginx", Standalone: true, Listen: []string{f.listen}, Settings: templates.DefaultSettings(), Control: f.control,
		Members: templates.NginxMembers(luaSecret), PidFile: f.pidFile, ErrorLog: "stderr", RunDir: f.dir, Upstreams: upstreams,
		LuaModules: []string{"/usr/lib/nginx/modules/ndk_http_module.so", "/usr/lib/nginx/modules/ngx_http_lua_module.so"},
	}
	if os.Getuid() == 0 {
		s.balancer.User, s.balancer.Group = "www-data", "www-data"
	}
	for _, u := range upstreams {
		s.balancer.Hosts = append(s.balancer.Hosts, templates.VirtualHost{Name: u.Name, Routes: []templates.Route{{Upstream: u.Name}}})
	}
	set(&s.balancer)
	s.render()
	s.master, _ = f.supervise()
	s.nginx = s.driver()
	s.confirm()
	return s
}

// driver makes another that knows nothing.
func (s *luaServer) driver() *Nginx {
	s.t.Helper()
	n, err := NewNginx(NginxConfig{Main: s.main, Control: s.control, Program: s.program, Master: s.master, Secret: luaSecret})
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}

// render writes the configuration, without a reload.
func (s *luaServer) render() templates.Output {
	s.t.Helper()
	tmpl, err := templates.Builtin("nginx")
	if err != nil {
		s.t.Fatal(err)
	}
	out, err := tmpl.Render(s.balancer)
	if err != nil {
		s.t.Fatal(err)
	}
	write(s.t, s.main, strings.Replace(string(out.Content), "worker_processes auto", "worker_processes 2", 1))
	s.structure = out.Structure
	s.balancer.Generation = out.Generation
	return out
}

func (s *luaServer) confirm() {
	s.t.Helper()
	eventually(s.t, "nginx serves the configuration", func() bool {
		got, err := s.nginx.Running(s.t.Context())
		return err == nil && got.Generation == s.balancer.Generation
	})
}

// reload renders and has nginx read it.
func (s *luaServer) reload() Workers {
	s.t.Helper()
	s.render()
	if err := s.nginx.Reload(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	old, err := s.nginx.Confirm(s.t.Context(), s.balancer.Generation)
	if err != nil {
		s.t.Fatal(err)
	}
	return old
}

// members are what the balancer says now.
func (s *luaServer) members() Members {
	m := Members{Structure: s.structure}
	places := s.balancer.Places()
	for _, u := range s.balancer.Upstreams {
		p := &Pool{Name: u.Name, Places: places[u.Name]}
		for _, server := range u.Servers {
			p.Members = append(p.Members, Member{Name: server.Name, Address: server.Address, Weight: server.Weight})
		}
		m.Pools = append(m.Pools, p)
	}
	return m
}

// sync makes the servers of an upstream what they should be, and wants so many changes.
func (s *luaServer) sync(want int, servers ...templates.Server) {
	s.t.Helper()
	s.balancer.Upstreams[0].Servers = servers
	got, err := s.nginx.Sync(s.t.Context(), s.members(), false)
	if err != nil || got != want {
		s.t.Fatalf("sync: %d changed, %v; want %d", got, err, want)
	}
}

func luaUpstream(servers ...templates.Server) templates.Upstream {
	return templates.Upstream{Name: "web", Servers: servers}
}

// A luaBackend answers with its name, and those below /slow when it is told to.
type luaBackend struct {
	templates.Server
	asked   atomic.Int64
	entered chan struct{}
	release chan struct{}
	web     *httptest.Server
}

func newLuaBackend(t *testing.T, name string, weight int) *luaBackend {
	t.Helper()
	b := &luaBackend{entered: make(chan struct{}, 64), release: make(chan struct{})}
	b.web = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.asked.Add(1)
		if strings.HasPrefix(r.URL.Path, "/slow") {
			b.entered <- struct{}{}
			select {
			case <-b.release:
			case <-r.Context().Done():
				return
			}
		}
		fmt.Fprint(w, name)
	}))
	t.Cleanup(b.web.Close)
	addr := b.web.Listener.Addr().(*net.TCPAddr)
	b.Server = templates.Server{Name: name, Host: addr.IP.String(), Port: uint16(addr.Port), Address: addr.String(), Weight: weight}
	return b
}

// request is one on a connection of its own.
func (s *luaServer) request(ctx context.Context, method, path string) (int, string, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+s.listen+path, nil)
	if err != nil {
		return 0, "", err
	}
	req.Host, req.Close = "web", true
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}

// answers counts who answers so many requests.
func (s *luaServer) answers(n int) map[string]int {
	s.t.Helper()
	got := map[string]int{}
	for range n {
		status, name, err := s.request(s.t.Context(), http.MethodGet, "/")
		if err != nil || status != http.StatusOK {
			s.t.Fatalf("got status %d, %q, %v", status, name, err)
		}
		got[name]++
	}
	return got
}

func TestLuaMembersJoinLeaveAndChange(t *testing.T) {
	a, b, c := newLuaBackend(t, "a", 100), newLuaBackend(t, "b", 100), newLuaBackend(t, "c", 50)
	s := newLuaServer(t, luaUpstream(a.Server))
	s.sync(0, a.Server)
	want := func(want map[string]int, n, slack int) {
		t.Helper()
		got := s.answers(n)
		for name, times := range want {
			if got[name] < times-slack || got[name] > times+slack || len(got) != len(want) {
				t.Errorf("answers: got %v, want about %v", got, want)
				return
			}
		}
	}
	want(map[string]int{"a": 10}, 10, 0)
	s.sync(1, a.Server, b.Server)
	want(map[string]int{"a": 10, "b": 10}, 20, 0)
	s.sync(1, a.Server, b.Server, c.Server)
	want(map[string]int{"a": 20, "b": 20, "c": 10}, 50, 1)
	a.Weight = 0
	s.sync(1, a.Server, b.Server, c.Server)
	want(map[string]int{"b": 20, "c": 10}, 30, 1)
	b.Weight = 250
	s.sync(1, a.Server, b.Server, c.Server)
	want(map[string]int{"b": 25, "c": 5}, 30, 1)
	s.sync(2, c.Server)
	want(map[string]int{"c": 10}, 10, 0)
	s.sync(1)
	status, _, err := s.request(t.Context(), http.MethodGet, "/")
	if err != nil || status != http.StatusServiceUnavailable {
		t.Errorf("no member: got status %d, %v", status, err)
	}
	moved := c.Server
	moved.Address = b.Address
	s.sync(1, c.Server)
	s.sync(2, moved) // one address goes, another comes
	want(map[string]int{"b": 10}, 10, 0)
}
