package templates

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSites(t *testing.T) {
	web, shop := []Route{{"", "web"}}, []Route{{"/shop", "shop"}, {"", "web"}}
	b := Balancer{
		Hosts:   []VirtualHost{{"a", web}, {"a..b", web}, {"b", shop}, {"c", web}, {"d", nil}},
		Default: VirtualHost{Routes: web},
	}
	want := []Site{{nil, web}, {[]string{"a", "c"}, web}, {[]string{"b"}, shop}, {[]string{"d"}, nil}}
	if diff := cmp.Diff(want, b.Sites()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
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
