package templates

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"rollcall/internal/discovery"
)

// FuzzRender renders whatever discovery lets in. Of what is free text there, nothing
// may reach a line that the server reads, and what the server reads may name only
// what was declared.
func FuzzRender(f *testing.F) {
	f.Add("web", "core-01-web1", "10.0.0.5", uint16(32768), "52c7248a14", "core-01", "/shop", "www.example.com", 100)
	f.Add("a_b", "core-01:web1:80:udp", "2001:db8::5", uint16(1), `};"{{`, `back\slash`, "", "", 256)
	f.Add("a.b", "1", "db.internal", uint16(80), `# {`, `"`, "/~a", "xn--e1afmkfd", 0)
	f.Fuzz(func(t *testing.T, service, name, host string, port uint16, version, node, path, vhost string, weight int) {
		record := map[string]any{"host": host, "port": port, "version": version, "node": node, "path": path, "weight": weight}
		if vhost != "" {
			record["hosts"] = []string{vhost}
		}
		value, err := json.Marshal(record)
		if err != nil {
			return
		}
		inst, err := discovery.DecodeRecord(service, name, value)
		if err != nil || discovery.ValidateName(service) != nil {
			return
		}
		server := Server{Name: inst.Name, Host: inst.Host, Port: inst.Port, Address: inst.Endpoint(), Weight: inst.Weight}
		if _, ok := inst.Addr(); !ok {
			server.Address = discovery.JoinHostPort("192.0.2.1", inst.Port)
		}
		for _, proxy := range proxies {
			balancer := func(s Server) Balancer {
				b := Balancer{Proxy: proxy, Listen: []string{":80"}, Upstreams: []Upstream{{Name: inst.Service, Servers: []Server{s}}}}
				for _, h := range append(inst.Hosts, inst.Service) {
					b.Hosts = append(b.Hosts, VirtualHost{h, []Route{{inst.Path, inst.Service}}})
				}
				return b
			}
			plain := active(proxy, mustRender(t, balancer(server)).Content)
			described := server
			described.Version, described.Node = inst.Version, inst.Node
			if diff := cmp.Diff(plain, active(proxy, mustRender(t, balancer(described)).Content)); diff != "" {
				t.Errorf("%s: version %q and node %q change the configuration:\n%s", proxy, inst.Version, inst.Node, diff)
			}
			for _, line := range plain {
				fields := strings.Fields(line)
				var want string
				switch fields[0] {
				case "server":
					if want = server.Address; fields[1] == "{" {
						continue
					}
				case "upstream":
					want = "rollcall_" + inst.Service
				case "BalancerMember":
					want = `"http://` + server.Address + `"`
				default:
					continue
				}
				if fields[1] != want {
					t.Errorf("%s: got %q, want nothing but %s there", proxy, line, want)
				}
			}
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
		if i := strings.Index(line, "#"); i >= 0 && (proxy == "nginx" || strings.TrimSpace(line[:i]) == "") {
			line = line[:i]
		}
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}
