package templates

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestHostMap(t *testing.T) {
	b := Balancer{
		Upstreams: []Upstream{{Name: "none"}, {Name: "shop"}, {Name: "web"}},
		Hosts: []VirtualHost{
			{"a.example", []Route{{"/shop/admin", "none"}, {"/shop", "shop"}}},
			{"b", []Route{{"", "web"}}},
		},
		Default:      VirtualHost{Routes: []Route{{"/x", "web"}}},
		ListenTLS:    []string{":443"},
		Certificates: []Certificate{{"*.example", "/1.pem"}, {"c", "/2.pem"}},
	}
	want := `# HAProxy map made by rollcall. Edits are lost with the next change of the catalog.
a.example/shop/admin/ rollcall_none:tls
a.example/shop/ rollcall_shop:tls
a.example/ none:tls
b/ rollcall_web
*.example/x/ rollcall_web:tls
*.example/ none:tls
c/x/ rollcall_web:tls
c/ none:tls
*/x/ rollcall_web
*/ none
`
	if diff := cmp.Diff(want, hostMap(t, b)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestCertificateList(t *testing.T) {
	want := `# HAProxy certificates, listed by rollcall. Edits are lost with the next change.
/0.pem !*
/1.pem *.example
/2.pem c
`
	if diff := cmp.Diff(want, string(CertificateList([]Certificate{{"c", "/2.pem"}, {"", "/0.pem"}, {"*.example", "/1.pem"}}))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestHAProxyPaths writes paths in ways that all mean the same, and in some that mean
// nothing: a prefix must not be got round.
func TestHAProxyPaths(t *testing.T) {
	r := start(t, Balancer{
		Proxy: "haproxy", Standalone: true,
		Upstreams: []Upstream{upstream("admin", backend(t, "admin")), upstream("shop", backend(t, "shop")), upstream("web", backend(t, "web"))},
		Hosts:     []VirtualHost{{"shop.example", []Route{{"/shop/admin", "admin"}, {"/shop", "shop"}}}},
		Default:   VirtualHost{Routes: []Route{{"", "web"}}},
	})
	for _, tc := range []struct {
		host, target, backend string
		status                int
	}{
		{"shop.example", "/shop/admin", "admin", 200},
		{"shop.example.:80", "/shop/admin", "admin", 200},
		{"shop.example", "http://shop.example/shop/admin", "admin", 200},
		{"shop.example", "/shop/%61dmin", "admin", 200},
		{"shop.example", "/shop//admin", "admin", 200},
		{"shop.example", "/shop/./admin/.", "admin", 200},
		{"shop.example", "/shop/%2e/admin", "admin", 200},
		{"shop.example", "/shop%2Fadmin", "admin", 200},
		{"shop.example", "/a/b/../../shop/x/..///admin", "admin", 200},
		{"shop.example", "/shop/admin/..", "shop", 200},
		{"shop.example", "/shop/admin/%2E%2e/x", "shop", 200},
		{"shop.example", "/shop/...", "shop", 200},
		{"shop.example", "/shop/.well-known", "shop", 200},
		{"shop.example", "/shop/..", "", 404},
		{"shop.example", "/..", "", 400},
		{"shop.example", "/shop/../../shop", "", 400},
		{"shop.example", "/shop/%", "", 400},
		{"shop.example", "/shop/%zz", "", 400},
		{"shop.example", "/shop%00", "", 400},
		{"shop.example/shop/admin", "/", "", 400},
		{"*", "/shop", "web", 200},
		{"", "/shop", "web", 200},
		{"a,shop.example", "/shop", "web", 200},
		{"[::1]:80", "/shop", "web", 200},
	} {
		conn, err := net.Dial("tcp", r.address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", tc.target, tc.host)
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := resp.Header.Get("X-Backend"); got != tc.backend || resp.StatusCode != tc.status {
			t.Errorf("%s%s: got %s from %q, want %d from %q", tc.host, tc.target, resp.Status, got, tc.status, tc.backend)
		}
	}
}

// TestHAProxyDistribution reads the fragment after Debian's own configuration, and
// other files of the operator's around it.
func TestHAProxyDistribution(t *testing.T) {
	dir := runDir(t)
	b := catalog("haproxy", 2, 2)
	b.Standalone, b.Listen, b.Control, b.HostMap = false, []string{"127.0.0.1:8080"}, dir+"/control.sock", dir+"/hosts.map"
	write(t, b.HostMap, hostMap(t, b))
	write(t, dir+"/rollcall.cfg", string(mustRender(t, b).Content))
	write(t, dir+"/other.cfg", "defaults\n  timeout connect 1s\n  timeout client 1s\n  timeout server 1s\nlisten own\n  bind 127.0.0.1:8081\n")
	cmd := exec.CommandContext(t.Context(), "haproxy", "-c", "-f", "/etc/haproxy/haproxy.cfg", "-f", dir+"/rollcall.cfg", "-f", dir+"/other.cfg")
	if out, err := cmd.CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != "Configuration file is valid" {
		t.Errorf("%v\n%s", err, out)
	}
}
