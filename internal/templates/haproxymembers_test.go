package templates

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestHAProxyStructure has the members change in every way: all else stays as it is, and
// HAProxy takes each.
func TestHAProxyStructure(t *testing.T) {
	one := Server{Name: "a", Host: "10.0.0.5", Port: 80, Address: "10.0.0.5:80", Weight: 1}
	two := Server{Name: "b", Host: "web.example", Port: 80, Address: "10.0.0.6:80", Weight: 256, Node: "n1"}
	six := Server{Name: "c", Host: "2001:db8::5", Port: 80, Address: "[2001:db8::5]:80", Weight: 7}
	idle := func(s Server) Server {
		s.Weight = 0
		return s
	}
	for _, standalone := range []bool{true, false} {
		for _, balance := range []string{"roundrobin", "leastconn", "random", "source"} {
			b := Balancer{
				Proxy: "haproxy", Standalone: standalone, Settings: DefaultSettings(), Control: "/run/rollcall/control.sock", Members: "/run/rollcall/members.sock",
				Listen: []string{"127.0.0.1:8080"}, HostMap: "/run/rollcall/hosts.map", PidFile: "/run/rollcall/pid",
				Default: VirtualHost{Routes: []Route{{"", "web"}}}, TCP: []TCPListener{{"127.0.0.1:8081", "web"}},
			}
			b.Settings.Balance = balance
			render := func(servers ...Server) Output {
				b.Upstreams = []Upstream{{Name: "web", Servers: servers}}
				return mustRender(t, b)
			}
			empty := render()
			if empty.Structure == "" || !strings.Contains(string(empty.Content), empty.Generation+" "+empty.Structure+" %pid") {
				t.Fatalf("it does not tell its structure %q:\n%s", empty.Structure, empty.Content)
			}
			checkConfiguration(t, b, string(empty.Content))
			seen := map[string]bool{empty.Generation: true}
			for _, servers := range [][]Server{{one}, {two}, {one, two}, {one, two, six}, {six}, {idle(one)}, {idle(one), idle(two)}, {idle(one), two}, {one, idle(two)}} {
				out := render(servers...)
				if out.Structure != empty.Structure {
					t.Errorf("%v, standalone %v: its structure is another than that of no servers:\n%s", servers, standalone, out.Content)
				}
				if seen[out.Generation] {
					t.Errorf("%v: its generation is that of another", servers)
				}
				seen[out.Generation] = true
				if standalone || balance == "roundrobin" {
					checkConfiguration(t, b, string(out.Content))
				}
			}
			b.Settings.MaxBody = 17
			if out := render(one); out.Structure == empty.Structure {
				t.Error("another setting has the same structure")
			}
		}
	}
}

// TestHAProxyWithoutMembers has nothing of a server whose members never change live.
func TestHAProxyWithoutMembers(t *testing.T) {
	b := catalog("haproxy", 2, 2)
	b.Members = ""
	out := mustRender(t, b)
	if out.Structure != "" || strings.Contains(string(out.Content), "stats socket") {
		t.Errorf("structure %q:\n%s", out.Structure, out.Content)
	}
}

// TestHAProxyMembersSocket has the socket for its owner alone, in the global section of
// our own as well as beside the operator's, which has another socket.
func TestHAProxyMembersSocket(t *testing.T) {
	dir := runDir(t)
	r := start(t, Balancer{
		Proxy: "haproxy", Standalone: true, Members: dir + "/members.sock",
		Upstreams: []Upstream{upstream("web", backend(t, "web"))}, Default: VirtualHost{Routes: []Route{{"", "web"}}},
	})
	info, err := os.Stat(dir + "/members.sock")
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != 0o600 {
		t.Errorf("mode %o, want 600\n%s", got, r.log)
	}
	b := catalog("haproxy", 2, 2)
	b.Standalone, b.Listen, b.Control, b.HostMap, b.Members = false, []string{"127.0.0.1:8080"}, dir+"/control.sock", dir+"/hosts.map", dir+"/own.sock"
	write(t, b.HostMap, hostMap(t, b))
	write(t, dir+"/rollcall.cfg", string(mustRender(t, b).Content))
	cmd := exec.CommandContext(t.Context(), "haproxy", "-c", "-f", "/etc/haproxy/haproxy.cfg", "-f", dir+"/rollcall.cfg")
	if out, err := cmd.CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != "Configuration file is valid" {
		t.Errorf("%v\n%s", err, out)
	}
}
