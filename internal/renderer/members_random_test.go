package renderer

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"runtime"
	"slices"
	"testing"
	"time"
	"weak"

	gocmp "github.com/google/go-cmp/cmp"

	"rollcall/internal/discovery"
	"rollcall/internal/templates"
)

// A fleet is records that come, change and go, in versions that share what has not changed.
type fleet struct {
	*rand.Rand
	most     int // instances of a service
	kinds    int // of changes, of those below
	services map[string]map[string]*discovery.Instance
	latest   map[string]*discovery.Service
	names    map[string]string // what host names resolve to
	revision int64
}

func newFleet(seed uint64, most, kinds int) *fleet {
	return &fleet{
		Rand: rand.New(rand.NewPCG(seed, 11)), most: most, kinds: kinds,
		services: map[string]map[string]*discovery.Instance{}, latest: map[string]*discovery.Service{}, names: map[string]string{},
	}
}

// change does something to an instance of the service.
func (f *fleet) change(service string) {
	f.revision++
	if f.services[service] == nil {
		f.services[service] = map[string]*discovery.Instance{}
	}
	all := f.services[service]
	delete(f.latest, service)
	name := fmt.Sprint(f.IntN(f.most))
	is := all[name]
	if is == nil {
		all[name] = member(service+"/"+name, f.host(), 80, revised(f.revision))
		return
	}
	next := *is
	next.Revision = f.revision
	switch f.IntN(f.kinds) {
	case 0:
		next.Weight = f.IntN(3)
	case 1:
		next.Host = f.host()
	case 2, 3:
		delete(all, name)
		return
	case 4: // the same under another name
		delete(all, name)
		next.Name = name + "b"
	case 5:
		next.Version, next.Node = fmt.Sprint(f.revision), "node"
	case 6: // as the guard does it, without a new revision
		next.Held, next.Revision = !is.Held, is.Revision
	case 7:
		next.Hosts = [][]string{nil, {"www"}, {"www", "op"}}[f.IntN(3)]
	case 8:
		next.Path = []string{"", "/x"}[f.IntN(2)]
	case 9:
		next.Proto = []string{"udp", "tcp", "tcp"}[f.IntN(3)]
	case 10: // what another one has
		for _, other := range all {
			next.Host = other.Host
		}
	case 11:
		next.Host = []string{"a.host", "b.host"}[f.IntN(2)]
	}
	delete(all, name)
	all[next.Name] = &next
}

func (f *fleet) host() string { return fmt.Sprintf("10.0.0.%d", 1+f.IntN(250)) }

// resolve gives a host name another address, or none.
func (f *fleet) resolve() {
	f.names[[]string{"a.host", "b.host"}[f.IntN(2)]] = []string{"", f.host()}[f.IntN(2)]
}

func (f *fleet) address(i *discovery.Instance) (string, bool) {
	if addr, err := netip.ParseAddr(i.Host); err == nil {
		return addr.String(), true
	}
	return f.names[i.Host], f.names[i.Host] != ""
}

// service gives the version of now; nil without instances.
func (f *fleet) service(name string) *discovery.Service {
	if f.latest[name] == nil && len(f.services[name]) > 0 {
		f.latest[name] = &discovery.Service{Name: name, Instances: slices.SortedFunc(maps.Values(f.services[name]),
			func(x, y *discovery.Instance) int { return cmp.Compare(x.Name, y.Name) })}
	}
	return f.latest[name]
}

func (f *fleet) catalog() *discovery.Catalog {
	c := &discovery.Catalog{Revision: f.revision}
	for _, name := range slices.Sorted(maps.Keys(f.services)) {
		if s := f.service(name); s != nil {
			c.Services = append(c.Services, s)
		}
	}
	return c
}

// unlike shows how two values differ, in what is private too; "" where they do not.
func unlike(want, got any) string {
	if reflect.DeepEqual(want, got) { // in no time
		return ""
	}
	return "(-want +got):\n" + gocmp.Diff(want, got, gocmp.Exporter(func(reflect.Type) bool { return true }))
}

// TestMembersByComparisonAreThoseFromScratch has a service change in every way: what comes
// of the version before must be what comes of nothing, and leave that as it was.
func TestMembersByComparisonAreThoseFromScratch(t *testing.T) {
	compared, compares, scratch := 0, map[string]int{}, 0
	for seed := range uint64(240) {
		f := newFleet(seed, 14, []int{6, 8, 12}[seed%3])
		var m *members
		for range 60 {
			for range []int{0, 1, 1, 1, 2, 5, 20}[f.IntN(7)] {
				f.change("web")
			}
			f.resolve()
			s := f.service("web")
			if s == nil {
				continue
			}
			want := newMembers(s, f.address)
			var was members
			if m != nil {
				was = *m
				was.servers = slices.Clone(m.servers)
			}
			got := m.after(s, f.address)
			if d := unlike(want, got); d != "" || (got.routed == s) != (want.routed == s) || got.of != s {
				t.Fatalf("seed %d, at %d: %s", seed, f.revision, d)
			}
			switch {
			case m == nil:
			case unlike(&was, m) != "":
				t.Fatalf("seed %d, at %d: the version before is another one now", seed, f.revision)
			case m.of == s:
				if got != m && !m.names {
					t.Fatalf("seed %d, at %d: what has not changed is made again", seed, f.revision)
				}
			case len(got.servers) > 0 && same(m.servers, got.servers):
				t.Fatalf("seed %d, at %d: what has changed is the same in memory", seed, f.revision)
			case !m.names && m.changed(s) != nil:
				compared++
				compares["held"] += len(got.held)
			default:
				scratch++
				compares["skipped"] += len(got.skipped)
			}
			m = got
		}
	}
	t.Logf("%d by comparison, %d from scratch, %v", compared, scratch, compares)
	if compared < 3000 || scratch < 1000 || compares["held"] < 100 || compares["skipped"] < 1000 {
		t.Errorf("%d by comparison, %d from scratch, %v: want many", compared, scratch, compares)
	}
}

// TestPicturesByComparisonAreThoseFromScratch does so with catalogs, of which some are never
// served, and some have services as they were before.
func TestPicturesByComparisonAreThoseFromScratch(t *testing.T) {
	shared, changed, settled := 0, 0, 0
	routing := Routing{Routes: []Route{{Host: "op", Service: "c"}}, TCP: []TCPRoute{{":5432", "d"}}}
	for seed := range uint64(150) {
		f := newFleet(seed, []int{1, 2, 10}[seed/3%3], []int{6, 8, 12}[seed%3])
		now := time.Unix(1e9, 0)
		clock := func() time.Time { return now }
		r := newRouter(routing, clock)
		var good picture
		var served *discovery.Catalog
		for range 60 {
			now = now.Add(time.Duration(f.IntN(20)) * time.Minute)
			for range []int{0, 1, 1, 2, 5}[f.IntN(5)] {
				f.change(string(rune('a' + f.IntN(5))))
			}
			f.resolve()
			c := f.catalog()
			if served != nil && f.IntN(4) == 0 {
				c = mix(c, served, func(name string) bool { return name == "b" })
			}
			last := r.last.hosts
			got := r.route(c, good.claims, templates.Balancer{}, f.address)
			if len(last) > 0 && len(got.Hosts) > 0 && &last[0] == &got.Hosts[0] {
				settled++
			}
			want := newRouter(routing, clock).route(c, forgotten(good.claims), templates.Balancer{}, f.address)
			if d := unlike(want, got); d != "" {
				t.Fatalf("seed %d, at %d: %s", seed, f.revision, d)
			}
			for _, was := range good.claims {
				n, ok := slices.BinarySearchFunc(got.claims, was.service, func(c claim, name string) int { return cmp.Compare(c.service, name) })
				if !ok || was.instances == nil || got.claims[n].instances == nil || len(was.members.servers) == 0 || was.members.names {
					continue
				}
				is := same(was.members.servers, got.Upstreams[n].Servers)
				if is != (was.instances == got.claims[n].instances) {
					t.Fatalf("seed %d, at %d: the servers of %s are the same in memory: %t", seed, f.revision, was.service, is)
				}
				if is {
					shared++
				} else {
					changed++
				}
			}
			if f.IntN(3) > 0 {
				good, served = got, c
			}
		}
	}
	t.Logf("services: %d unchanged, %d changed; %d pictures are settled as before", shared, changed, settled)
	if shared < 1000 || changed < 1000 || settled < 500 {
		t.Errorf("services: %d unchanged, %d changed; %d pictures are settled as before: want many", shared, changed, settled)
	}
}

// forgotten gives claims without what was found out about their instances.
func forgotten(claims []claim) []claim {
	claims = slices.Clone(claims)
	for n := range claims {
		claims[n].members = nil
		if claims[n].instances != nil {
			claims[n].instances = &discovery.Service{Name: claims[n].service}
		}
	}
	return claims
}

func TestRoutesOfAllRecords(t *testing.T) {
	f := newFleet(1, 5, 12)
	for range 2000 {
		f.change("web")
		s := f.service("web")
		if s == nil {
			continue
		}
		var want []Route
		for _, i := range s.Instances {
			want = append(want, recordRoutes(&discovery.Service{Name: "web", Instances: []*discovery.Instance{i}})...)
		}
		slices.SortFunc(want, compareRoutes)
		if got := recordRoutes(s); !slices.Equal(slices.Compact(want), got) {
			t.Fatalf("at %d: got %v, want %v", f.revision, got, want)
		}
	}
}

// Of two pictures without any route the claims differ in nothing but their names.
func TestSettledIsWhoIsNamed(t *testing.T) {
	r := newRouter(Routing{TCP: []TCPRoute{{":5432", "d"}}}, time.Now)
	d := member("d/1", "10.0.0.1", 80)
	for n, c := range []*discovery.Catalog{catalog(1, member("a..a/1", "10.0.0.2", 80), d), catalog(2, d, member("z..z/1", "10.0.0.3", 80))} {
		p := r.route(c, nil, templates.Balancer{}, known)
		if len(p.Services) != 1 || p.Services[0].Name != "d" {
			t.Errorf("picture %d leads to %v, want d", n, p.Services)
		}
	}
}

// What one member costs must not grow with how many there are.
func TestOneMemberAmongManyIsCheap(t *testing.T) {
	c := many(1, 250)
	r := newRouter(Routing{}, time.Now)
	past := r.route(c, nil, templates.Balancer{}, known).claims
	s := discovery.Service{Name: c.Services[0].Name, Instances: slices.Clone(c.Services[0].Instances)}
	s.Instances[100] = member(s.Instances[100].ID(), "10.0.0.250", 81)
	next := catalog(2)
	next.Services = append(next.Services, &s)
	if got := testing.AllocsPerRun(10, func() { r.route(next, past, templates.Balancer{}, known) }); got > 50 {
		t.Errorf("%.0f allocations for a change of one member among %d, want few", got, len(s.Instances))
	}
}

// A version of a service of 10,000 is a megabyte: nothing may keep those of before.
func TestOldVersionsAreForgotten(t *testing.T) {
	f := newFleet(1, 14, 1)
	r := newRouter(Routing{}, time.Now)
	var p picture
	var versions []weak.Pointer[discovery.Service]
	for range 300 {
		f.change("web")
		p = r.route(f.catalog(), p.claims, templates.Balancer{}, f.address)
		versions = append(versions, weak.Make(f.service("web")))
	}
	runtime.GC()
	kept := 0
	for _, v := range versions {
		if v.Value() != nil {
			kept++
		}
	}
	if kept > 1 {
		t.Errorf("%d versions of a service are kept, want the newest", kept)
	}
	f.services, f.latest = map[string]map[string]*discovery.Instance{}, map[string]*discovery.Service{}
	p = r.route(f.catalog(), p.claims, templates.Balancer{}, f.address)
	runtime.GC()
	if v := versions[len(versions)-1].Value(); v != nil {
		t.Error("a service that is gone is kept")
	}
	runtime.KeepAlive(r)
	runtime.KeepAlive(p)
}
