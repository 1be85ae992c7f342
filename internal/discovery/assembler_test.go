package discovery

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// put feeds keys, in the order given, at revisions 1, 2, 3, …
func put(a *Assembler, pairs ...string) {
	for n := 0; n < len(pairs); n += 2 {
		a.Put(pairs[n], []byte(pairs[n+1]), int64(n/2+1), 0)
	}
}

// show gives a catalog in short: "service/instance endpoint @revision", and "! key" for what is refused.
func show(c *Catalog) []string {
	var lines []string
	for _, s := range c.Services {
		for _, i := range s.Instances {
			lines = append(lines, fmt.Sprintf("%s %s @%d", i.ID(), i.Endpoint(), i.Revision))
		}
	}
	for _, r := range c.Refused {
		mark := "!"
		if r.Incomplete {
			mark = "?"
		}
		lines = append(lines, fmt.Sprintf("%s %s @%d", mark, r.Key, r.Revision))
	}
	return lines
}

func TestAssembler(t *testing.T) {
	tests := []struct {
		name string
		put  []string
		gone []string
		want []string
	}{
		{name: "nothing"},
		{name: "every layout, sorted", put: []string{
			"/services/web/web2", "10.0.0.6:80",
			"/services/web/web1", `{"host":"10.0.0.5","port":80}`,
			"/services/db/core-01:db:5432", "[2001:db8::5]:5432",
			"/services/web/web10/port", "80", "/services/web/web10/host", "10.0.0.7",
			"/services/api/a", "http://10.0.0.8:8080",
		}, want: []string{
			"api/a 10.0.0.8:8080 @6", "db/core-01:db:5432 [2001:db8::5]:5432 @3",
			"web/web1 10.0.0.5:80 @2", "web/web10 10.0.0.7:80 @5", "web/web2 10.0.0.6:80 @1",
		}},
		{
			name: "tcp and udp", put: []string{"/services/dns/a:53", "10.0.0.5:53", "/services/dns/a:53:udp", "10.0.0.5:53"},
			want: []string{"dns/a:53 10.0.0.5:53 @1", "dns/a:53:udp 10.0.0.5:53 @2"},
		},
		{name: "half a directory", put: []string{"/services/web/web01/port", "80"}, want: []string{"? /services/web/web01 @1"}},
		{
			name: "a directory lost its port", put: []string{"/services/web/web01/port", "80", "/services/web/web01/host", "a"},
			gone: []string{"/services/web/web01/port"}, want: []string{"? /services/web/web01 @2"},
		},
		{
			name: "a directory lost everything", put: []string{"/services/web/web01/port", "80", "/services/web/web01/host", "a"},
			gone: []string{"/services/web/web01/port", "/services/web/web01/host"},
		},
		{
			name: "a key of its own beats a directory", put: []string{"/services/web/a/host", "10.0.0.6", "/services/web/a", "10.0.0.5:80", "/services/web/a/port", "81"},
			want: []string{"web/a 10.0.0.5:80 @2"},
		},
		{
			name: "… even when it is refused", put: []string{"/services/web/a/host", "10.0.0.6", "/services/web/a/port", "81", "/services/web/a", "x"},
			want: []string{"! /services/web/a @3"},
		},
		{
			name: "… and the directory is back when it is gone", put: []string{"/services/web/a", "10.0.0.5:80", "/services/web/a/host", "10.0.0.6", "/services/web/a/port", "81"},
			gone: []string{"/services/web/a"}, want: []string{"web/a 10.0.0.6:81 @3"},
		},
		{name: "refused and put right", put: []string{"/services/web/a", "x", "/services/web/a", "10.0.0.5:80"}, want: []string{"web/a 10.0.0.5:80 @2"}},
		{name: "right and then refused", put: []string{"/services/web/a", "10.0.0.5:80", "/services/web/a", "x"}, want: []string{"! /services/web/a @2"}},
		{name: "refused and gone", put: []string{"/services/web/a", "x", "/services/web", "y"}, gone: []string{"/services/web/a", "/services/web"}},
		{name: "never there", gone: []string{"/services/web/a", "/services/web/a/port", "/services/x", "/other"}},
		{name: "not SERVICE/INSTANCE", put: []string{
			"/services", "10.0.0.5:80", "/services/", "10.0.0.5:80", "/services/web", "10.0.0.5:80", "/services/web/", "10.0.0.5:80", "/services//a", "10.0.0.5:80",
			"/services/web/a/b/c", "10.0.0.5:80", "/services/web/a/", "10.0.0.5:80", "services/web/a", "10.0.0.5:80", "/services/web" + strings.Repeat("/", 1000), "x",
		}, want: []string{
			"! /services @1", "! /services/ @2", "! /services//a @5", "! /services/web @3", "! /services/web/ @4",
			"! /services/web" + strings.Repeat("/", 1000) + " @9", "! /services/web/a/ @7", "! /services/web/a/b/c @6", "! services/web/a @8",
		}},
		{
			name: "a prefix is a path, not a string", put: []string{"/services2/web/a", "10.0.0.5:80", "/services/web/a", "10.0.0.6:80"},
			want: []string{"web/a 10.0.0.6:80 @2", "! /services2/web/a @1"},
		},
		{
			name: "names", put: []string{"/services/WEB/a", "10.0.0.5:80", "/services/web/a b", "10.0.0.5:80", "/services/../a", "10.0.0.5:80", "/services/w\x00b/\xff", "10.0.0.5:80"},
			want: []string{"! /services/../a @3", "! /services/WEB/a @1", "! /services/w\x00b/\xff @4", "! /services/web/a b @2"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			// In one step and with a catalog after every key: the same.
			for _, each := range []bool{false, true} {
				a := NewAssembler("/services")
				for n := 0; n < len(tt.put); n += 2 {
					a.Put(tt.put[n], []byte(tt.put[n+1]), int64(n/2+1), 0)
					if each {
						a.Catalog(int64(n))
					}
				}
				for _, key := range tt.gone {
					a.Delete(key)
					if each {
						a.Catalog(100)
					}
				}
				c := a.Catalog(1000)
				if diff := cmp.Diff(tt.want, show(c), cmpopts.EquateEmpty()); diff != "" {
					t.Errorf("catalog after each key %v: -want +got:\n%s", each, diff)
				}
				if c.Revision != 1000 {
					t.Errorf("Revision = %d", c.Revision)
				}
				for _, r := range c.Refused {
					checkReason(t, r.Key, r.Reason)
				}
			}
		})
	}
}

func TestAssemblerDoesNotKeepTheBuffer(t *testing.T) {
	a := NewAssembler("/services")
	value := []byte("10.0.0.5:80")
	a.Put("/services/web/a", value, 1, 0)
	copy(value, "99.9.9.9:99")
	if got, want := show(a.Catalog(1)), []string{"web/a 10.0.0.5:80 @1"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestCatalog(t *testing.T) {
	a := NewAssembler("/services")
	if c := a.Catalog(0); c.Len() != 0 {
		t.Errorf("Len of an empty catalog = %d", c.Len())
	}
	put(a, "/services/b/1", "10.0.0.5:80", "/services/a/1", "10.0.0.5:80", "/services/b/2", "10.0.0.6:80", "/services/bad/1", "x")
	c := a.Catalog(4)
	if c.Len() != 3 {
		t.Errorf("Len = %d, want 3", c.Len())
	}
	for name, want := range map[string]int{"a": 1, "b": 2, "bad": 0, "": 0, "c": 0} {
		s, ok := c.Service(name)
		if ok != (want > 0) || ok && (s.Name != name || len(s.Instances) != want) {
			t.Errorf("Service(%q) = %+v, %v, want %d instances", name, s, ok, want)
		}
	}
}

// TestAssemblerShares: what did not change is the very same, so that a reader may
// compare pointers to find what to do.
func TestAssemblerShares(t *testing.T) {
	a := NewAssembler("/services")
	put(a, "/services/a/1", "10.0.0.5:80", "/services/a/2", "10.0.0.6:80", "/services/b/1", "10.0.0.5:80", "/services/c/1/host", "x", "/services/c/1/port", "80", "/services/x/1", "bad")
	before := a.Catalog(6)
	service := func(c *Catalog, name string) *Service {
		s, _ := c.Service(name)
		return s
	}

	same := a.Catalog(7)
	if same.Revision != 7 || before.Revision != 6 {
		t.Errorf("revisions %d and %d, want 6 and 7", before.Revision, same.Revision)
	}
	a.Put("/services/b/9", []byte("bad"), 8, 0)         // refused: b is as it was
	a.Put("/services/b/8/host", []byte("x"), 9, 0)      // incomplete: b is as it was
	a.Put("/services/b/1/weight", []byte("200"), 10, 0) // behind b/1's own key
	same = a.Catalog(10)
	if !slices.Equal(before.Services, same.Services) {
		t.Error("records that are refused or hidden changed a service")
	}
	if len(same.Refused) != 3 || len(before.Refused) != 1 {
		t.Errorf("refused: %v, before %v", same.Refused, before.Refused)
	}

	a.Put("/services/a/2", []byte("10.0.0.7:80"), 11, 0)
	after := a.Catalog(11)
	if service(after, "b") != service(before, "b") || service(after, "c") != service(before, "c") {
		t.Error("services that did not change are not shared")
	}
	was, is := service(before, "a"), service(after, "a")
	if is == was || is.Instances[0] != was.Instances[0] || is.Instances[1] == was.Instances[1] {
		t.Error("of a, just instance 2 and the service should be new")
	}
	if &after.Refused[0] != &same.Refused[0] {
		t.Error("the list of refusals is not shared although it did not change")
	}

	a.Delete("/services/b/1") // the fields behind it are no directory
	if got, want := show(a.Catalog(12)), []string{
		"a/1 10.0.0.5:80 @1", "a/2 10.0.0.7:80 @11", "c/1 x:80 @5",
		"? /services/b/1 @10", "? /services/b/8 @9", "! /services/b/9 @8", "! /services/x/1 @6",
	}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestAssemblerLease: an instance has the lease of its newest key, which may be none.
func TestAssemblerLease(t *testing.T) {
	a := NewAssembler("/services")
	for n, step := range []struct {
		key, value string
		lease      int64
		want       int64
	}{
		{"/services/web/a", "10.0.0.5:80", 7, 7},
		{"/services/web/a", "10.0.0.5:80", 8, 8}, // the same record, taken up by another
		{"/services/web/a", "10.0.0.5:80", 0, 0},
		{"/services/web/b/host", "10.0.0.6", 9, 0},
		{"/services/web/b/port", "80", 3, 3},
		{"/services/web/b/host", "10.0.0.7", 4, 4},
	} {
		a.Put(step.key, []byte(step.value), int64(n+1), step.lease)
		s, _ := a.Catalog(int64(n + 1)).Service("web")
		if got := s.Instances[len(s.Instances)-1].Lease; got != step.want {
			t.Errorf("after %+v the lease is %d", step, got)
		}
	}
}
