package templates

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestDropIns puts the operator's fragments into each server's configuration: they
// work, the server accepts it, and Origins finds their lines.
func TestDropIns(t *testing.T) {
	directives := map[string][2]string{
		"nginx":   {"# one\nadd_header X-One 1;\n", "\nadd_header X-Two 2;"},
		"apache":  {"# one\nHeader set X-One 1\n", "\nHeader set X-Two 2"},
		"haproxy": {"# one\nbackend own_one\n", "\nbackend own_two\n    mode http"},
	}
	for _, proxy := range proxies {
		for _, standalone := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/standalone=%v", proxy, standalone), func(t *testing.T) {
				b := Balancer{
					Proxy: proxy, Standalone: standalone,
					Upstreams: []Upstream{upstream("web", backend(t, "web"))}, Default: VirtualHost{Routes: []Route{{"", "web"}}},
					DropIns: []Fragment{
						{"/etc/rollcall/10 one\nexit;\\", directives[proxy][0]},
						{"/etc/rollcall/20-two", directives[proxy][1]},
					},
				}
				r := start(t, b)
				if resp, _ := r.send(t, "GET", "any", "/", ""); proxy != "haproxy" && (resp.Header.Get("X-One") != "1" || resp.Header.Get("X-Two") != "2") {
					t.Errorf("got headers %v, want both of the fragments", resp.Header)
				}
				b.Listen, b.RunDir, b.Settings = []string{":80"}, "/run/rollcall", DefaultSettings()
				out := mustRender(t, b)
				lines := strings.Split(string(out.Content), "\n")
				got := map[string]string{}
				for _, o := range out.Origins {
					got[o.Path] = strings.Join(lines[o.Line-1:o.End-1], "\n")
				}
				want := map[string]string{b.DropIns[0].Path: strings.TrimSuffix(directives[proxy][0], "\n"), b.DropIns[1].Path: directives[proxy][1]}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("lines of the fragments (-want +got):\n%s", diff)
				}
			})
		}
	}
}
