package templates

import (
	"fmt"
	"strings"
	"testing"
)

// TestManyServers has nginx check that the memory for the servers of an upstream is
// enough, whatever their number; addresses are as long as they get.
func TestManyServers(t *testing.T) {
	template, err := Builtin("nginx")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{2, 16, 31, 32, 33, 64, 100, 1000} {
		u := Upstream{Name: "web"}
		for i := range n {
			u.Servers = append(u.Servers, Server{Name: fmt.Sprint("s", i), Address: fmt.Sprintf("[2001:db8:1111:2222:3333:4444:5555:%x]:65535", i+4096), Weight: 100})
		}
		b := Balancer{
			Proxy: "nginx", Standalone: true, RunDir: "/run/rollcall", PidFile: "/run/rollcall/pid", ErrorLog: "stderr",
			Listen: []string{"127.0.0.1:8080"}, Settings: DefaultSettings(), Upstreams: []Upstream{u}, Default: VirtualHost{Routes: []Route{{"", "web"}}},
		}
		out, err := template.Render(b)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(fmt.Sprint(n), func(t *testing.T) { checkConfiguration(t, b, string(out.Content)) })
	}
}

func TestLoadFactor(t *testing.T) {
	for _, tc := range []struct {
		weight, most int
		want         string
	}{
		{100, 100, "100"},
		{57, 100, "57"},
		{1, 100, "1"},
		{0, 100, "1"},
		{1, 1, "1"},
		{3, 50, "3"},
		{256, 256, "100"},
		{128, 256, "50"},
		{100, 256, "39.06"},
		{5, 256, "1.95"},
		{1, 256, "1"},
	} {
		if got := (Server{Weight: tc.weight}).LoadFactor(tc.most); got != tc.want {
			t.Errorf("weight %d of at most %d: got %s, want %s", tc.weight, tc.most, got, tc.want)
		}
	}
}

// TestBalancerName compares names as Apache does, in lower case with every
// character but letters and digits alike.
func TestBalancerName(t *testing.T) {
	long := strings.Repeat("l", 40)
	names := []string{
		"web", "a-b", "a.b", "a_b", "a--b", "a..b", "a_.b", "x-a-b", long, long + "1", long + ".1", long + "-1",
		strings.TrimPrefix(Upstream{Name: "a.b"}.BalancerName(), "rollcallx-"), "x-" + strings.TrimPrefix(Upstream{Name: "a.b"}.BalancerName(), "rollcallx-"),
	}
	seen := map[string]string{}
	for _, name := range names {
		got := Upstream{Name: name}.BalancerName()
		if len("balancer://"+got) > 63 {
			t.Errorf("%s: %s is too long for older versions", name, got)
		}
		folded := strings.NewReplacer("-", "_", ".", "_").Replace(got)
		if other, ok := seen[folded]; ok {
			t.Errorf("%s and %s are both %s to Apache", name, other, folded)
		}
		seen[folded] = name
	}
}

func TestLabel(t *testing.T) {
	for _, tc := range []struct {
		server Server
		want   string
	}{
		{Server{Name: "a", Host: "10.0.0.5", Port: 80, Address: "10.0.0.5:80"}, "a"},
		{Server{Name: "a", Host: "2001:db8::5", Port: 80, Address: "[2001:db8::5]:80", Node: "n"}, "a (node n)"},
		{Server{Name: "a", Host: "db", Port: 80, Address: "10.0.0.5:80", Version: `1\`}, `a (host db, version 1\)`},
	} {
		if got := tc.server.Label(); got != tc.want {
			t.Errorf("got %q, want %q", got, tc.want)
		}
	}
}
