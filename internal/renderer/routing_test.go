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
	for _, l := range b.TCP {
		lines = append(lines, l.Listen+">"+l.Upstream)
	}
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
		skipped []string // with the reason
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
			[]string{"evil/1: no route leads there"},
		},
		{
			"a TCP service has no host",
			Routing{TCP: []TCPRoute{{":5432", "db"}}},
			catalog(1, member("db/1", "10.0.0.9", 5432), web),
			[]string{":5432>db", "web/=web", "db: 10.0.0.9:5432", "web: 10.0.0.1:80"},
			nil,
		},
		{
			"a TCP service that was selected alone",
			Routing{Services: []string{"db"}, TCP: []TCPRoute{{":5432", "db"}}},
			catalog(1, member("db/1", "10.0.0.9", 5432), web),
			[]string{":5432>db", "db: 10.0.0.9:5432"},
			nil,
		},
		{
			"a TCP service with a route and one with hosts, neither selected",
			Routing{Services: []string{"web"}, TCP: []TCPRoute{{":1", "api"}, {":2", "b"}}, Routes: []Route{{Host: "x", Service: "api"}}},
			catalog(1, api, member("b/1", "10.0.0.9", 80, hosts("y")), web),
			[]string{":1>api", ":2>b", "*/=web", "x/=api", "y/=b", "api: 10.0.0.2:80", "b: 10.0.0.9:80", "web: 10.0.0.1:80"},
			nil,
		},
		{
			"a TCP service without instances",
			Routing{TCP: []TCPRoute{{":5432", "db"}}},
			catalog(1),
			[]string{":5432>db", "db:"},
			nil,
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
			[]string{"web/1: it is not spoken to by tcp", "web/2: its host does not resolve"},
		},
		{
			"of one endpoint the newer record wins",
			Routing{},
			catalog(1,
				member("web/1", "10.0.0.1", 80, func(i *discovery.Instance) { i.Revision = 7 }),
				member("web/2", "10.0.0.1", 80, func(i *discovery.Instance) { i.Revision = 9 }),
				member("web/3", "10.0.0.1", 80, func(i *discovery.Instance) { i.Revision = 8 })),
			[]string{"web/=web", "web: 10.0.0.1:80"},
			[]string{"web/1: it has the same address as web/2", "web/3: it has the same address as web/2"},
		},
		{
			"whoever loses every route is skipped",
			Routing{},
			catalog(1, member("a/1", "10.0.0.1", 80, hosts("www")), member("b/1", "10.0.0.2", 80, hosts("www"))),
			[]string{"www/=a", "a: 10.0.0.1:80", "b: 10.0.0.2:80"},
			[]string{"b/1: no route leads there"},
		},
		{
			"a name that no host may have",
			Routing{},
			catalog(1, member("a..b/1", "10.0.0.1", 80), web),
			[]string{"web/=web", "a..b: 10.0.0.1:80", "web: 10.0.0.1:80"},
			[]string{"a..b/1: no route leads there"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRouter(test.routing, time.Now)
			var past []claim
			for range 3 { // the same each time
				b := r.route(test.catalog, past, templates.Balancer{Proxy: "nginx"}, known)
				past = b.claims
				if d := cmp.Diff(test.want, drawn(b.Balancer)); d != "" {
					t.Errorf("(-want +got):\n%s", d)
				}
				var skipped []string
				for _, id := range b.skipped {
					skipped = append(skipped, id+": "+b.why[id])
				}
				if d := cmp.Diff(test.skipped, skipped); d != "" || len(b.why) != len(skipped) {
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
	running(t, func(t *testing.T, g *rig) {
		for n := range 5 {
			g.offer(catalog(int64(n+1), member("a/1", "10.0.0.1", 80, hosts("www", "op")), member("b/1", "10.0.0.2", 80, hosts("www"))))
			after(time.Minute)
		}
		if d := cmp.Diff([]string{"op/=z", "www/=a"}, drawn(g.serving().Balancer)[:2]); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
		for _, text := range []string{`route="www/=b" owner=a`, `route="op/=a" owner=z`} {
			if got := g.logged(text); got != 1 {
				t.Errorf("%s is logged %d times, want once", text, got)
			}
		}
		if got := g.logged("route refused"); got != 2 {
			t.Errorf("%d routes are refused, want 2", got)
		}
	}, func(cfg *Config) { cfg.Routing = Routing{Routes: []Route{{Host: "op", Service: "z"}}} })
}

func TestEmptiedServicesAreRemembered(t *testing.T) {
	now := time.Unix(1e9, 0)
	r := newRouter(Routing{Routes: []Route{{Host: "op", Service: "fixed"}}}, func() time.Time { return now })
	var past []claim
	shown := func(c *discovery.Catalog) []string {
		b := r.route(c, past, templates.Balancer{}, known)
		past = b.claims
		return drawn(b.Balancer)
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
	r := newRouter(Routing{}, time.Now)
	before := r.route(catalog(1, member("blue/1", "10.0.0.1", 80, hosts("www"))), nil, templates.Balancer{}, known)
	b := r.route(catalog(2, member("green/1", "10.0.0.2", 80, hosts("www"))), before.claims, templates.Balancer{}, known)
	if d := cmp.Diff([]string{"www/=green", "blue:", "green: 10.0.0.2:80"}, drawn(b.Balancer)); d != "" || b.skipped != nil {
		t.Errorf("skipped %v (-want +got):\n%s", b.skipped, d)
	}
	if len(b.lost) > 0 {
		t.Errorf("what an empty service leaves to its successor is lost: %v", b.lost)
	}
}

func TestOutputIsSorted(t *testing.T) {
	var members []*discovery.Instance
	for n := range 200 {
		members = append(members, member(fmt.Sprintf("s%03d/1", n), "10.0.0.1", uint16(n+1), path(fmt.Sprintf("/%d", n))))
	}
	b := newRouter(Routing{}, time.Now).route(catalog(1, members...), nil, templates.Balancer{}, known)
	if !slices.IsSortedFunc(b.Upstreams, func(x, y templates.Upstream) int { return strings.Compare(x.Name, y.Name) }) {
		t.Error("upstreams are not sorted")
	}
	if !slices.IsSortedFunc(b.Default.Routes, func(x, y templates.Route) int { return len(y.Path) - len(x.Path) }) {
		t.Error("routes are not longest first")
	}
}

func TestServicesAreWhatIsRoutedTo(t *testing.T) {
	udp := func(i *discovery.Instance) { i.Proto = "udp" }
	c := catalog(1,
		member("api/1", "10.0.0.1", 80), member("api/2", "10.0.0.2", 80, udp),
		member("db/1", "10.0.0.3", 80), member("db/2", "10.0.0.3", 81, kept),
		member("lost/1", "10.0.0.4", 80, hosts("api")), member("none/1", "10.0.0.5", 80, udp))
	r := newRouter(Routing{TCP: []TCPRoute{{":5433", "db"}, {":5432", "db"}, {":1", "absent"}}}, time.Now)
	for range 2 { // the second time from memory
		p := r.route(c, nil, templates.Balancer{}, known)
		var got []string
		for _, s := range p.Services {
			for _, i := range s.Instances {
				got = append(got, i.ID())
			}
		}
		if d := cmp.Diff([]string{"api/1", "db/1", "db/2"}, got); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
		if db, _ := c.Service("db"); p.Services[1] != db {
			t.Error("a service of which all is routed to is copied")
		}
		if d := cmp.Diff([]string{"api/2", "lost/1", "none/1"}, p.skipped); d != "" {
			t.Errorf("skipped (-want +got):\n%s", d)
		}
		if d := cmp.Diff([]string{"db/2"}, p.held); d != "" {
			t.Errorf("held (-want +got):\n%s", d)
		}
		if len(p.TCP) != 3 || p.TCP[0].Listen != ":1" || p.TCP[1].Listen != ":5432" {
			t.Errorf("TCP %+v, want three, sorted", p.TCP)
		}
	}
}
