package renderer

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseRoute(t *testing.T) {
	for _, test := range []struct {
		text string
		want Route
		err  string
	}{
		{"www.example.com=web", Route{Host: "www.example.com", Service: "web"}, ""},
		{"WWW.Example.com./Shop/=web", Route{Host: "www.example.com", Path: "/Shop", Service: "web"}, ""},
		{"*=web", Route{Service: "web"}, ""},
		{"=web", Route{Service: "web"}, ""},
		{"/=web", Route{Service: "web"}, ""},
		{"/shop=web", Route{Path: "/shop", Service: "web"}, ""},
		{"*/shop=web", Route{Path: "/shop", Service: "web"}, ""},
		{"www", Route{}, `"www" is not HOST/PATH=SERVICE`},
		{"", Route{}, `"" is not HOST/PATH=SERVICE`},
		{"www=", Route{}, "service name is empty"},
		{"www=a=b", Route{}, `service name "a=b" may hold only`},
		{"10.0.0.1=web", Route{}, `host "10.0.0.1" looks like an address`},
		{"a b=web", Route{}, "not a host name"},
		{"www:80=web", Route{}, "not a host name"},
		{"www/../x=web", Route{}, "'..' segment"},
		{"www/a;b=web", Route{}, "may hold only letters, digits"},
	} {
		got, err := ParseRoute(test.text)
		if test.err == "" && err != nil || test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) {
			t.Errorf("%q: got error %v, want %q", test.text, err, test.err)
		}
		if d := cmp.Diff(test.want, got); d != "" {
			t.Errorf("%q (-want +got):\n%s", test.text, d)
		}
	}
}

func FuzzParseRoute(f *testing.F) {
	for _, s := range []string{"www.example.com/shop=shop", "*=web", "/a=b", "=", "a/b/c=d=e", "x/=y\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseRoute(s)
		if err != nil {
			if r != (Route{}) {
				t.Errorf("%q: route %v beside error %v", s, r, err)
			}
			return
		}
		if strings.ContainsAny(r.String(), " \t\r\n;{}\"'\\$#") {
			t.Errorf("%q gives %q, which cannot stand in a configuration", s, r)
		}
		again, err := ParseRoute(r.String())
		if err != nil || again != r {
			t.Errorf("%q gives %v, which reads as %v, %v", s, r, again, err)
		}
	})
}

func TestCovers(t *testing.T) {
	for _, test := range []struct {
		routing Routing
		want    []string
	}{
		{Routing{}, nil},
		{Routing{Routes: []Route{{Host: "www", Service: "web"}}}, nil}, // the others are reached by their names
		{Routing{Services: []string{"web", "api", "web"}}, []string{"api", "web"}},
		{Routing{Services: []string{"web"}, Routes: []Route{{Path: "/a", Service: "api"}}}, []string{"api", "web"}},
	} {
		if d := cmp.Diff(test.want, test.routing.Covers()); d != "" {
			t.Errorf("%+v (-want +got):\n%s", test.routing, d)
		}
	}
}
