package templates

import (
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const apacheSecret = "0123456789abcdef0123456789abcdef"

func apacheLive(servers ...Server) Balancer {
	return Balancer{
		Proxy: "apache", Standalone: true, Members: apacheSecret, Settings: DefaultSettings(), Modules: apacheModules,
		Listen: []string{"127.0.0.1:8080"}, Control: "127.0.0.1:9403", PidFile: "/run/rollcall/pid", ErrorLog: "stderr", RunDir: "/run/rollcall", Side: "/run/rollcall/side",
		Upstreams: []Upstream{{Name: "web", Servers: servers}},
		Hosts:     []VirtualHost{{Name: "web.example", Routes: []Route{{"", "web"}}}},
		Default:   VirtualHost{Routes: []Route{{"/shop", "web"}}},
	}
}

// TestApacheMembersAreNoStructure has Apache itself check what is rendered for every kind
// of change that is made while it runs.
func TestApacheMembersAreNoStructure(t *testing.T) {
	server := func(n, weight int) Server {
		return Server{Name: fmt.Sprintf("web%d", n), Host: "10.0.0.5", Port: uint16(n), Address: fmt.Sprintf("10.0.0.5:%d", n), Weight: weight}
	}
	six := Server{Name: "web9", Host: "2001:db8::5", Port: 80, Address: "[2001:db8::5]:80", Weight: 100, Version: "2"}
	want := ""
	for name, servers := range map[string][]Server{
		"none": {}, "one": {server(1, 100)}, "two": {server(1, 100), server(2, 100)}, "weights": {server(1, 250), server(2, 7)},
		"weight 0": {server(1, 0)}, "a spare": {server(1, 0), server(2, 1)}, "IPv6": {six},
	} {
		b := apacheLive(servers...)
		out := mustRender(t, b)
		if want == "" {
			want = out.Structure
		}
		if out.Structure != want || want == "" {
			t.Errorf("%s: got structure %q, want %q", name, out.Structure, want)
		}
		checkConfiguration(t, b, string(out.Content))
	}
	for name, change := range map[string]func(*Balancer){
		"route": func(b *Balancer) { b.Default.Routes[0].Path = "/store" },
		"upstream": func(b *Balancer) {
			b.Upstreams[0].Name = "www"
			b.Hosts[0].Routes[0].Upstream = "www"
			b.Default.Routes = nil
		},
		"setting": func(b *Balancer) { b.Settings.Balance = "leastconn" },
		"secret":  func(b *Balancer) { b.Members = strings.Repeat("0", 32) },
	} {
		b := apacheLive(server(1, 100))
		change(&b)
		if out := mustRender(t, b); out.Structure == want {
			t.Errorf("another %s is the same structure", name)
		}
		checkConfiguration(t, b, string(mustRender(t, b).Content))
	}
	b := apacheLive(server(1, 100))
	b.Members = "0123456789"
	if _, err := RenderAll(b, apacheTemplate(t)); err == nil {
		t.Error("a short secret was taken")
	}
	b.Members = ""
	if out := mustRender(t, b); out.Structure != "" || strings.Contains(string(out.Content), "balancer-manager") {
		t.Errorf("without a secret: got structure %q\n%s", out.Structure, out.Content)
	}
}

func TestApachePlaces(t *testing.T) {
	b := apacheLive()
	b.Upstreams = append(b.Upstreams, Upstream{Name: "x.y"})
	b.Hosts = append(b.Hosts, VirtualHost{Name: "x.example", Routes: []Route{{"", "x.y"}}})
	b.Certificates = []Certificate{{"*.example", "/wild.pem"}}
	dotted := Upstream{Name: "x.y"}.BalancerName()
	for _, tc := range []struct {
		listen, tls, web, x string
		redirect            bool
	}{
		{
			listen: ":80",
			web:    "http://rollcall-default.invalid@127.0.0.1:80/rollcall-web http://web.example@127.0.0.1:80/rollcall-web",
			x:      "http://x.example@127.0.0.1:80/" + dotted,
		},
		{
			listen: "[::1]:80", tls: "10.0.0.5:443", redirect: true,
			web: "http://rollcall-default.invalid@[::1]:80/rollcall-web https://web.example@10.0.0.5:443/rollcall-web https://rollcall-wildcard.example.invalid@10.0.0.5:443/rollcall-web",
			x:   "https://x.example@10.0.0.5:443/" + dotted,
		},
		{
			listen: "[::]:80", tls: "0.0.0.0:443",
			web: "http://rollcall-default.invalid@[::1]:80/rollcall-web http://web.example@[::1]:80/rollcall-web https://web.example@127.0.0.1:443/rollcall-web https://rollcall-wildcard.example.invalid@127.0.0.1:443/rollcall-web",
			x:   "http://x.example@[::1]:80/" + dotted + " https://x.example@127.0.0.1:443/" + dotted,
		},
	} {
		b.Listen, b.ListenTLS, b.Settings.Redirect = []string{tc.listen}, nil, tc.redirect
		if tc.tls != "" {
			b.ListenTLS = []string{tc.tls}
		}
		got := b.ApachePlaces()
		want := map[string][]string{"web": strings.Fields(tc.web), "x.y": strings.Fields(tc.x)}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s, %s (-want +got):\n%s", tc.listen, tc.tls, diff)
		}
	}
}

func TestApacheGrowth(t *testing.T) {
	for n, want := range map[int]int{0: 64, 128: 64, 129: 32, 512: 16, 513: 0, 20_000: 0} {
		b := Balancer{Members: "secret", Side: "/side", Listen: []string{":80"}}
		for i := range n {
			b.Hosts = append(b.Hosts, VirtualHost{Name: fmt.Sprintf("h%05d", i), Routes: []Route{{Upstream: "web" + strconv.Itoa(i)}}})
		}
		if got := b.ApacheGrowth(); got != want {
			t.Errorf("%d balancers: got %d, want %d", n, got, want)
		}
	}
}

// TestApacheManager asks for the manager's path as those who may not.
func TestApacheManager(t *testing.T) {
	b := apacheLive(upstream("web", backend(t, "web")).Servers...)
	b.PidFile, b.RunDir, b.ErrorLog = "", "", ""
	if os.Getuid() != 0 {
		b.ErrorLog = "stderr"
	}
	b.Default.Routes = append(b.Default.Routes, Route{"/empty", "empty"})
	b.Upstreams = append([]Upstream{{Name: "empty"}}, b.Upstreams...)
	// With this module, a header says who the client is: somebody from another machine.
	b.DropIns = []Fragment{{"remoteip.conf", "LoadModule remoteip_module " + apacheModules + "/mod_remoteip.so\nRemoteIPHeader X-Client\n"}}
	r := start(t, b)
	key, err := b.ApacheKey()
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		header []string
		status int
	}{
		{[]string{"X-Rollcall-Members", key}, 200},
		{[]string{"X-Rollcall-Members", key, "X-Client", "192.0.2.1"}, 403},
		{[]string{"X-Rollcall-Members", key[1:]}, 403},
		{[]string{"X-Rollcall-Members", ""}, 403},
		{nil, 403},
	} {
		resp, body := r.send(t, http.MethodGet, "web.example", b.ApacheManager(), "", tc.header...)
		if got := strings.Contains(body, "Load Balancer Manager"); resp.StatusCode != tc.status || got != (tc.status == 200) {
			t.Errorf("%q: got %s, %q, want %d", tc.header, resp.Status, body, tc.status)
		}
	}
	for _, tc := range []struct {
		host, path string
		status     int
		backend    string
	}{
		{"web.example", b.ApacheManager()[:20], 200, "web"},
		{"web.example", "/rollcall/members-" + strings.Repeat("f", 8), 200, "web"},
		{"web.example", "/rollcall/members-", 200, "web"},
		{"nobody.example", "/rollcall/members-", 404, ""},
		{"nobody.example", "/shop" + b.ApacheManager(), 200, "web"},
		{"nobody.example", "/", 404, ""},
		{"nobody.example", "/empty", 503, ""},
	} {
		resp, _ := r.send(t, http.MethodGet, tc.host, tc.path, "")
		if got := resp.Header.Get("X-Backend"); resp.StatusCode != tc.status || got != tc.backend {
			t.Errorf("%s%s: got %d from %q, want %d from %q", tc.host, tc.path, resp.StatusCode, got, tc.status, tc.backend)
		}
		if got, want := resp.Header.Get("Retry-After"), map[int]string{503: "5"}[tc.status]; got != want {
			t.Errorf("%s%s: got Retry-After %q, want %q", tc.host, tc.path, got, want)
		}
	}
}

func apacheTemplate(t *testing.T) *Template {
	t.Helper()
	tmpl, err := Builtin("apache")
	if err != nil {
		t.Fatal(err)
	}
	return tmpl
}
