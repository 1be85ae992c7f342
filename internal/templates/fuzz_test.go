package templates

import (
	"bytes"
	"strings"
	"testing"
)

// guests are where fuzzing begins.
func guests(f *testing.F) {
	for _, g := range []guest{
		{service: "web", name: "core-01-web1", host: "10.0.0.5", port: 32768, version: "52c7248a14", node: "core-01", path: "/shop", vhost: "www.example.com", weight: 100, dropIn: "/etc/x.conf"},
		{service: "a_b", name: "core-01:web1:80:udp", host: "2001:db8::5", port: 1, version: `};"{{`, node: `back\slash`, weight: 256, dropIn: "\n};\\"},
		{service: "a.b", name: "1", host: "db.internal", port: 80, version: `# {`, node: `"`, path: "/~a", vhost: "xn--e1afmkfd", certificate: "xn--e1afmkfd"},
		{service: "a..b", name: "a..b", host: "localhost", port: 65535, version: "$host %[src] ${ENV}", node: "<Location />", path: "/-", weight: 1, certificate: "example.org"},
		{service: strings.Repeat("l", 63), name: strings.Repeat("l.", 126) + "l", host: "a.b", port: 80, path: "/" + strings.Repeat("p", 252), vhost: strings.Repeat("a.", 126) + "a", weight: 100, certificate: strings.Repeat("b.", 125) + "b"},
		{service: "none", name: "tls", host: "10.0.0.5", port: 80, path: "/none", vhost: "none", weight: 100, certificate: "none"},
		{service: "_", name: "-", host: "http://evil.example", port: 80, vhost: "evil.example/", path: "/../x"},
	} {
		f.Add(g.service, g.name, g.host, g.port, g.version, g.node, g.path, g.vhost, g.weight, g.certificate, g.dropIn)
	}
}

// FuzzRender renders whatever discovery lets in. Nothing may come into what a server
// reads but the names and addresses that were declared, each in its place.
func FuzzRender(f *testing.F) {
	guests(f)
	f.Fuzz(func(t *testing.T, service, name, host string, port uint16, version, node, path, vhost string, weight int, certificate, dropIn string) {
		if g := admit(guest{service: service, name: name, host: host, port: port, version: version, node: node, path: path, vhost: vhost, weight: weight, certificate: certificate, dropIn: dropIn}); g != nil {
			checkCast(t, *g)
		}
	})
}

// FuzzServers has the real servers check whatever discovery lets in.
func FuzzServers(f *testing.F) {
	guests(f)
	f.Fuzz(func(t *testing.T, service, name, host string, port uint16, version, node, path, vhost string, weight int, certificate, dropIn string) {
		g := admit(guest{service: service, name: name, host: host, port: port, version: version, node: node, path: path, vhost: vhost, weight: weight, certificate: certificate, dropIn: dropIn})
		if g == nil {
			return
		}
		pem := certify(t, "", 1).File
		for _, proxy := range proxies {
			b := g.balancer(proxy, pem)
			checkConfiguration(t, b, string(mustRender(t, b).Content))
		}
	})
}

// active gives the lines that the server reads: without comments, and for Apache
// with what a backslash at the end of a line does.
func active(proxy string, content []byte) []string {
	if proxy == "apache" {
		content = bytes.ReplaceAll(content, []byte("\\\n"), nil)
	}
	var lines []string
	for line := range strings.Lines(string(content)) {
		if i := strings.Index(line, "#"); i >= 0 && (proxy != "apache" || strings.TrimSpace(line[:i]) == "") {
			line = line[:i]
		}
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}
