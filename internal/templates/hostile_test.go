package templates

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"rollcall/internal/discovery"
)

// A guest is everything in a configuration that comes from outside: a record, a route
// and the operator's own names. Its fields are in the form in which they are kept.
type guest struct {
	service, name, host, address, version, node string
	port                                        uint16
	weight                                      int
	path, vhost, certificate, dropIn            string
}

// admit lets in what discovery lets in, and gives nil if that refuses anything.
func admit(g guest) *guest {
	record := map[string]any{"host": g.host, "port": g.port, "version": g.version, "node": g.node, "path": g.path, "weight": g.weight}
	if g.vhost != "" {
		record["hosts"] = []string{g.vhost}
	}
	value, err := json.Marshal(record)
	if err != nil {
		return nil
	}
	inst, err := discovery.DecodeRecord(g.service, g.name, value)
	if err != nil || discovery.ValidateName(g.service) != nil {
		return nil
	}
	if g.certificate != "" {
		if g.certificate, err = discovery.CanonicalHostName(g.certificate); err != nil {
			return nil
		}
	}
	g.name, g.host, g.version, g.node, g.path, g.vhost, g.weight = inst.Name, inst.Host, inst.Version, inst.Node, inst.Path, inst.Service, inst.Weight
	if len(inst.Hosts) > 0 {
		g.vhost = inst.Hosts[0]
	}
	g.address = inst.Endpoint()
	if _, ok := inst.Addr(); !ok {
		g.address = discovery.JoinHostPort("192.0.2.1", inst.Port)
	}
	return &g
}

// mold is a guest of the same shape, without anything that could be taken for another.
func (g guest) mold() guest {
	m := guest{
		service: "mold-service", name: "mold-name", host: "192.0.2.77", address: "192.0.2.77:7777", port: 7777,
		weight: g.weight, vhost: "mold-host", certificate: "mold.test", dropIn: "/mold",
	}
	if g.path != "" {
		m.path = "/mold/path"
	}
	if g.certificate == "" || strings.HasSuffix(g.vhost, "."+g.certificate) {
		m.certificate = ""
	}
	if strings.Contains(g.vhost, "..") { // is left out
		m.vhost = "mold..host"
	}
	return m
}

// balancer brings the guest in wherever it can come in.
func (g guest) balancer(proxy, pem string) Balancer {
	b := Balancer{
		Proxy: proxy, Standalone: true, Listen: []string{"127.0.0.1:8080"}, Settings: DefaultSettings(),
		PidFile: "/run/rollcall/pid", ErrorLog: "stderr", RunDir: "/run/rollcall", Control: "/run/rollcall/control.sock",
		Upstreams: []Upstream{{Name: g.service, Servers: []Server{{
			Name: g.name, Host: g.host, Port: g.port, Address: g.address, Weight: g.weight, Version: g.version, Node: g.node,
		}}}},
		Hosts:   []VirtualHost{{g.vhost, []Route{{g.path, g.service}}}},
		DropIns: []Fragment{{g.dropIn, "# of the operator"}},
	}
	switch proxy {
	case "apache":
		b.Control, b.Modules = "127.0.0.1:9403", apacheModules
	case "haproxy":
		b.HostMap, b.CertificateList = "/run/rollcall/hosts.map", "/run/rollcall/certificates.list"
	}
	if proxy != "apache" {
		b.TCP, b.StreamModule = []TCPListener{{"127.0.0.1:9000", g.service}}, streamModule()
	}
	if pem != "" && g.certificate != "" && !strings.HasSuffix(g.vhost, "."+g.certificate) {
		b.ListenTLS = []string{"127.0.0.1:8443"}
		b.Certificates = []Certificate{{"*." + g.certificate, pem}}
		if g.certificate != g.vhost {
			b.Certificates = append(b.Certificates, Certificate{g.certificate, pem})
		}
	}
	return b
}

// rendered gives all that a server reads of a balancer: lines without comments, and not
// what names the whole.
func rendered(t *testing.T, b Balancer) string {
	out := mustRender(t, b)
	content := string(out.Content)
	if b.Proxy == "haproxy" {
		content += hostMap(t, b) + string(CertificateList(b.Certificates))
	}
	lines := active(b.Proxy, []byte(content))
	for i, line := range lines {
		lines[i] = strings.Join(strings.Fields(line), " ") // columns are as wide as what stands in them
	}
	return strings.ReplaceAll(strings.Join(lines, "\n"), out.Generation, "")
}

// checkCast renders a guest, and its mold: but for what was declared, both must be the
// same to the last character. Whatever else a name or an address brings in shows.
func checkCast(t *testing.T, g guest) {
	for _, proxy := range proxies {
		m := g.mold()
		if g.certificate == g.vhost && m.certificate != "" {
			m.certificate = m.vhost
		}
		declared := strings.NewReplacer(
			Upstream{Name: m.service}.BalancerName(), Upstream{Name: g.service}.BalancerName(),
			m.service, g.service, m.name, g.name, m.address, g.address, m.path+" ", g.path+" ", m.path+"/", g.path+"/", m.path+`"`, g.path+`"`,
			m.vhost, g.vhost,
			regexp.QuoteMeta(m.certificate), regexp.QuoteMeta(g.certificate), m.certificate, g.certificate,
		)
		want := declared.Replace(rendered(t, m.balancer(proxy, "/pair.pem")))
		if diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(rendered(t, g.balancer(proxy, "/pair.pem")), "\n")); diff != "" {
			t.Errorf("%s: %+v brings something in (-want +got):\n%s", proxy, g, diff)
		}
	}
}

// hostileValues are tried in every place where text comes from outside.
var hostileValues = []string{
	"", " ", "a b", "a\nb", "a\r\nserver evil 192.0.2.66:80", "a\x00b", "a\tb", "a\x1b[2Jb", "a\u2028b", "a\u0085b", "\xff\xfe", "a\u202eb",
	"a;", "a; }", "};server{", "{{.RunDir}}", "a{b}", `a"b`, "a'b", "a`b", "a$b", "${ENV}", "$host", "%[src]", "%{HTTP_HOST}", "a%b", `a\`, `a\nb`, "a#b", "#",
	"a,b", "a:b", "a/b", "../../etc/passwd", "http://evil.example/", "evil.example:80", "user@evil.example", "unix:/run/x", "unix@/run/x", "fd@0", "/dev/stdin", "-f", "!*", "*", "*.evil",
	"a..b", ".a", "a.", "a_b", "A", "ä", "xn--4ca", "<Location />", "</VirtualHost>", "<!--", "a|sh", "~^.*$", "localhost", "::1", "[::1]", "0x7f000001", "127.1",
	strings.Repeat("l", 64), strings.Repeat("l", 63), strings.Repeat("a.", 126) + "a", strings.Repeat("a.", 127) + "a", strings.Repeat("x", 70000),
}

// TestHostileValues says which of them are let in where: what is refused is refused
// by discovery, and what is let in stays within its place in every configuration.
func TestHostileValues(t *testing.T) {
	long := []string{strings.Repeat("l", 63), strings.Repeat("a.", 126) + "a"}
	for _, tc := range []struct {
		field string
		set   func(*guest, string)
		want  []string
	}{
		{"service", func(g *guest, v string) { g.service = v }, append([]string{"a..b", "a_b", "xn--4ca", "localhost", "0x7f000001", "127.1"}, long...)},
		{"name", func(g *guest, v string) { g.name = v }, append([]string{"a:b", "evil.example:80", "a..b", "a_b", "xn--4ca", "localhost", "0x7f000001", "127.1"}, long...)},
		{"host", func(g *guest, v string) { g.host = v }, append([]string{"a.", "A", "xn--4ca", "localhost", "::1"}, long...)},
		{"path", func(g *guest, v string) { g.path = v }, []string{"", "/dev/stdin"}},
		{"hosts", func(g *guest, v string) { g.vhost = v }, append([]string{"", "a.", "A", "xn--4ca", "localhost"}, long...)},
		{"certificate", func(g *guest, v string) { g.certificate = v }, append([]string{"", "a.", "A", "xn--4ca", "localhost"}, long...)},
	} {
		var got []string
		for _, v := range hostileValues {
			g := guest{service: "web", name: "web1", host: "10.0.0.5", port: 80, weight: 100, version: "1", path: "/shop", vhost: "www.example", certificate: "example.org", dropIn: "/etc/x"}
			tc.set(&g, v)
			if admitted := admit(g); admitted != nil {
				got = append(got, v)
				checkCast(t, *admitted)
			}
		}
		slices.Sort(got)
		slices.Sort(tc.want)
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s: what is let in (-want +got):\n%s", tc.field, diff)
		}
	}
	// Free text is for comments.
	for _, v := range hostileValues {
		for _, g := range []guest{{version: v}, {node: v}, {dropIn: v}} {
			g.service, g.name, g.host, g.port, g.weight = "web", "web1", "10.0.0.5", 80, 100
			if admitted := admit(g); admitted != nil {
				checkCast(t, *admitted)
			}
		}
	}
}

// TestHostileServers has the real servers check all that is let in, at once.
func TestHostileServers(t *testing.T) {
	var texts []string
	for _, v := range hostileValues {
		if admit(guest{service: "web", name: "web1", host: "10.0.0.5", port: 80, version: v, node: v}) != nil {
			texts = append(texts, v)
		}
	}
	pem := certify(t, "", 1).File
	for _, proxy := range proxies {
		g := guest{service: "web", name: "web1", host: "10.0.0.5", address: "10.0.0.5:80", port: 80, vhost: "www.example", certificate: "example.org"}
		b := g.balancer(proxy, pem)
		b.Upstreams[0].Servers = nil
		for i, v := range texts {
			address := fmt.Sprintf("10.0.0.%d:80", i+1)
			b.Upstreams[0].Servers = append(b.Upstreams[0].Servers, Server{Name: fmt.Sprint("web", i), Host: "10.0.0.5", Port: 80, Address: address, Weight: 100, Version: v, Node: v})
		}
		for _, v := range hostileValues {
			if len(v) < 256 { // as file names are
				b.DropIns = append(b.DropIns, Fragment{"/etc/" + v, "# of the operator"})
			}
		}
		checkConfiguration(t, b, string(mustRender(t, b).Content))
	}
}
