package renderer

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rollcall/internal/discovery"
	"rollcall/internal/templates"
)

func known(i *discovery.Instance) (string, bool) {
	addr, ok := i.Addr()
	return addr.String(), ok
}

func hosts(names ...string) func(*discovery.Instance) {
	return func(i *discovery.Instance) { i.Hosts = names }
}

func path(p string) func(*discovery.Instance) { return func(i *discovery.Instance) { i.Path = p } }

// drawn shows routes and upstreams in lines: "host/path=service", "service: address …".
func drawn(b templates.Balancer) []string {
	var lines []string
	for _, v := range append([]templates.VirtualHost{b.Default}, b.Hosts...) {
		for _, r := range v.Routes {
			lines = append(lines, Route{v.Name, r.Path, r.Upstream}.String())
		}
	}
	for _, u := range b.Upstreams {
		line := u.Name + ":"
		for _, s := range u.Servers {
			line += " " + s.Address
		}
		lines = append(lines, line)
	}
	return lines
}

func TestRoute(t *testing.T) {
	web, api := member("web/1", "10.0.0.1", 80), member("api/1", "10.0.0.2", 80)
	for _, test := range []struct {
		name    string
		routing Routing
		catalog *discovery.Catalog
		want    []string
		skipped []string
	}{
		{
			"a single service takes everything, others are absent",
			Routing{Services: []string{"web"}},
			catalog(1, api, web),
			[]string{"*/=web", "web: 10.0.0.1:80"},
			nil,
		},
		{
			"a record takes nothing below the operator's path on a host",
			Routing{Routes: []Route{{Host: "www.x", Service: "web"}, {Host: "www.x", Path: "/api", Service: "api"}}},
			catalog(1, api,
				member("evil/1", "10.0.0.3", 80, hosts("www.x"), path("/login")),
				member("good/1", "10.0.0.4", 80, hosts("other.x"), path("/login")), web),
			[]string{"other.x/login=good", "www.x/api=api", "www.x/=web", "api: 10.0.0.2:80", "evil: 10.0.0.3:80", "good: 10.0.0.4:80", "web: 10.0.0.1:80"},
			[]string{"evil/1"},
		},
		{
			"a single service that was said twice",
			Routing{Services: []string{"web", "web"}},
			catalog(1, api, web),
			[]string{"*/=web", "web: 10.0.0.1:80"},
			nil,
		},
		{
			"a single service takes what a route of another leaves",
			Routing{Services: []string{"web"}, Routes: []Route{{Path: "/api", Service: "api"}}},
			catalog(1, api, web),
			[]string{"*/api=api", "*/=web", "api: 10.0.0.2:80", "web: 10.0.0.1:80"},
			nil,
		},
		{
			"by the names of services",
			Routing{},
			catalog(1, api, web),
			[]string{"api/=api", "web/=web", "api: 10.0.0.2:80", "web: 10.0.0.1:80"},
			nil,
		},
		{
			"by hosts and path of records",
			Routing{},
			catalog(1, member("web/1", "10.0.0.1", 80, hosts("www.b", "www.a"), path("/x")), member("web/2", "10.0.0.2", 80, hosts("www.a"))),
			[]string{"www.a/x=web", "www.a/=web", "www.b/x=web", "web: 10.0.0.1:80 10.0.0.2:80"},
			nil,
		},
		{
			"by a path alone, on every host",
			Routing{},
			catalog(1, member("web/1", "10.0.0.1", 80, path("/x"))),
			[]string{"*/x=web", "web: 10.0.0.1:80"},
			nil,
		},
		{
			"a route beats records",
			Routing{Routes: []Route{{Host: "op", Path: "/y", Service: "web"}}},
			catalog(1, member("web/1", "10.0.0.1", 80, hosts("www"))),
			[]string{"op/y=web", "web: 10.0.0.1:80"},
			nil,
		},
		{
			"a declared service without instances",
			Routing{Services: []string{"web"}},
			catalog(1),
			[]string{"*/=web", "web:"},
			nil,
		},
		{
			"longest path first",
			Routing{},
			catalog(1, member("a/1", "10.0.0.1", 80, path("/x")), member("b/1", "10.0.0.2", 80, path("/x/yy")), member("c/1", "10.0.0.3", 80, path("/x/zz"))),
			[]string{"*/x/yy=b", "*/x/zz=c", "*/x=a", "a: 10.0.0.1:80", "b: 10.0.0.2:80", "c: 10.0.0.3:80"},
			nil,
		},
		{
			"udp and names that do not resolve are skipped",
			Routing{},
			catalog(1, member("web/1", "10.0.0.1", 80, func(i *discovery.Instance) { i.Proto = "udp" }), member("web/2", "some.host", 80), member("web/3", "2001:db8::1", 80)),
			[]string{"web/=web", "web: [2001:db8::1]:80"},
			[]string{"web/1", "web/2"},
		},
		{
			"of one endpoint the newer record wins",
			Routing{},
			catalog(1,
				member("web/1", "10.0.0.1", 80, func(i *discovery.Instance) { i.Revision = 7 }),
				member("web/2", "10.0.0.1", 80, func(i *discovery.Instance) { i.Revision = 9 }),
				member("web/3", "10.0.0.1", 80, func(i *discovery.Instance) { i.Revision = 8 })),
			[]string{"web/=web", "web: 10.0.0.1:80"},
			[]string{"web/1", "web/3"},
		},
		{
			"whoever loses every route is skipped",
			Routing{},
			catalog(1, member("a/1", "10.0.0.1", 80, hosts("www")), member("b/1", "10.0.0.2", 80, hosts("www"))),
			[]string{"www/=a", "a: 10.0.0.1:80", "b: 10.0.0.2:80"},
			[]string{"b/1"},
		},
		{
			"a name that no host may have",
			Routing{},
			catalog(1, member("a..b/1", "10.0.0.1", 80), web),
			[]string{"web/=web", "a..b: 10.0.0.1:80", "web: 10.0.0.1:80"},
			[]string{"a..b/1"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRouter(test.routing, quiet(), time.Now)
			for range 3 { // the same each time
				b, skipped := r.route(test.catalog, templates.Balancer{Proxy: "nginx"}, known)
				if d := cmp.Diff(test.want, drawn(b)); d != "" {
					t.Errorf("(-want +got):\n%s", d)
				}
				if d := cmp.Diff(test.skipped, skipped); d != "" {
					t.Errorf("skipped (-want +got):\n%s", d)
				}
				if b.Proxy != "nginx" || b.Revision != 1 {
					t.Errorf("got %s at %d, want nginx at 1", b.Proxy, b.Revision)
				}
			}
		})
	}
}

func TestConflictsAreSettledAndSaidOnce(t *testing.T) {
	logger, logged := logs()
	r := newRouter(Routing{Routes: []Route{{Host: "op", Service: "z"}}}, logger, time.Now)
	c := catalog(1, member("a/1", "10.0.0.1", 80, hosts("www", "op")), member("b/1", "10.0.0.2", 80, hosts("www")))
	for range 5 {
		b, _ := r.route(c, templates.Balancer{}, known)
		if d := cmp.Diff([]string{"op/=z", "www/=a"}, drawn(b)[:2]); d != "" {
			t.Fatalf("(-want +got):\n%s", d)
		}
	}
	for _, text := range []string{`route="www/=b" owner=a`, `route="op/=a" owner=z`} {
		if got := logged(text); got != 1 {
			t.Errorf("%s is logged %d times, want once", text, got)
		}
	}
	if got := logged("route refused"); got != 2 {
		t.Errorf("%d routes are refused, want 2", got)
	}
}

func TestEmptiedServicesAreRemembered(t *testing.T) {
	now := time.Unix(1e9, 0)
	r := newRouter(Routing{Routes: []Route{{Host: "op", Service: "fixed"}}}, quiet(), func() time.Time { return now })
	shown := func(c *discovery.Catalog) []string {
		b, _ := r.route(c, templates.Balancer{}, known)
		return drawn(b)
	}
	shown(catalog(1, member("fixed/1", "10.0.0.1", 80), member("web/1", "10.0.0.2", 80, hosts("www"), path("/x"))))
	remembered := []string{"op/=fixed", "www/x=web", "fixed:", "web:"}
	for _, step := range []struct {
		wait time.Duration
		want []string
	}{
		{0, remembered},
		{time.Hour, remembered},
		{time.Second, []string{"op/=fixed", "fixed:"}},
	} {
		now = now.Add(step.wait)
		if d := cmp.Diff(step.want, shown(catalog(2))); d != "" {
			t.Errorf("after another %s (-want +got):\n%s", step.wait, d)
		}
	}
	// Whoever comes back starts a new hour.
	shown(catalog(3, member("web/1", "10.0.0.2", 80)))
	now = now.Add(2 * time.Hour)
	if d := cmp.Diff([]string{"op/=fixed", "web/=web", "fixed:", "web:"}, shown(catalog(4))); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestSuccessorTakesTheHostOfAnEmptiedService(t *testing.T) {
	logger, logged := logs()
	r := newRouter(Routing{}, logger, time.Now)
	r.route(catalog(1, member("blue/1", "10.0.0.1", 80, hosts("www"))), templates.Balancer{}, known)
	b, skipped := r.route(catalog(2, member("green/1", "10.0.0.2", 80, hosts("www"))), templates.Balancer{}, known)
	if d := cmp.Diff([]string{"www/=green", "blue:", "green: 10.0.0.2:80"}, drawn(b)); d != "" || skipped != nil {
		t.Errorf("skipped %v (-want +got):\n%s", skipped, d)
	}
	if logged("refused") > 0 {
		t.Error("what an empty service leaves to its successor is logged as refused")
	}
}

func TestOutputIsSorted(t *testing.T) {
	var members []*discovery.Instance
	for n := range 200 {
		members = append(members, member(fmt.Sprintf("s%03d/1", n), "10.0.0.1", uint16(n+1), path(fmt.Sprintf("/%d", n))))
	}
	b, _ := newRouter(Routing{}, quiet(), time.Now).route(catalog(1, members...), templates.Balancer{}, known)
	if !slices.IsSortedFunc(b.Upstreams, func(x, y templates.Upstream) int { return strings.Compare(x.Name, y.Name) }) {
		t.Error("upstreams are not sorted")
	}
	if !slices.IsSortedFunc(b.Default.Routes, func(x, y templates.Route) int { return len(y.Path) - len(x.Path) }) {
		t.Error("routes are not longest first")
	}
}
