package templates

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
)

// TestSectionsAreHermetic changes a balancer at random, over and over: a template that
// remembers what it made before gives the same as one that has never made anything.
func TestSectionsAreHermetic(t *testing.T) {
	for _, proxy := range proxies {
		t.Run(proxy, func(t *testing.T) {
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			random := rand.New(rand.NewPCG(seed, 0))
			warm, err := Builtin(proxy)
			if err != nil {
				t.Fatal(err)
			}
			b := Balancer{Proxy: proxy, Listen: []string{":80"}, Settings: DefaultSettings(), HostMap: "/run/hosts.map", RunDir: "/run/rollcall"}
			for step := range 300 {
				wander(random, &b)
				got, err := warm.Render(b)
				if err != nil {
					t.Fatal(err)
				}
				want := mustRender(t, b)
				if got.Generation != want.Generation || string(got.Content) != string(want.Content) {
					t.Fatalf("step %d (-cold +warm):\n%s", step, cmp.Diff(string(want.Content), string(got.Content)))
				}
				if diff := cmp.Diff(want.Origins, got.Origins); diff != "" {
					t.Fatalf("step %d: origins (-cold +warm):\n%s", step, diff)
				}
			}
		})
	}
}

// wander changes something of b, and leaves all memory as it is that earlier renderings saw.
func wander(random *rand.Rand, b *Balancer) {
	b.Revision++
	toggle := func(p *bool) { *p = !*p }
	pick := func(list ...string) []string { return list[:random.IntN(len(list)+1)] }
	switch random.IntN(12) {
	case 0, 1, 2: // one service changes
		name := fmt.Sprintf("service-%d", random.IntN(8))
		b.Upstreams = slices.DeleteFunc(slices.Clone(b.Upstreams), func(u Upstream) bool { return u.Name == name })
		u := Upstream{Name: name}
		for i := range random.IntN(4) {
			u.Servers = append(u.Servers, Server{
				Name: fmt.Sprintf("core-%d", i), Host: "10.0.0.5", Port: 80, Address: "10.0.0.5:80",
				Weight: random.IntN(3) * 100, Version: []string{"", "v1", "v2"}[random.IntN(3)],
			})
		}
		b.Upstreams = append(b.Upstreams, u)
		sortUpstreams(b)
	case 3, 4, 5: // some hosts change
		names := []string{"a.example.com", "b.example.com", "c.example", "d"}
		b.Hosts = nil
		for _, name := range names[random.IntN(3):] {
			b.Hosts = append(b.Hosts, VirtualHost{Name: name, Routes: routes(random, b)})
		}
	case 6:
		b.Default.Routes = routes(random, b)
	case 7:
		toggle(&b.Standalone)
	case 8:
		b.ListenTLS, b.Certificates = pick(":443", "[::1]:8443"), nil
		for _, name := range pick("", "*.example.com", "a.example.com", "other") {
			b.Certificates = append(b.Certificates, Certificate{Name: name, File: fmt.Sprintf("/run/%d.pem", random.IntN(2))})
		}
		b.CertificateList = "/run/certificates.list"
	case 9:
		toggle(&b.Settings.Redirect)
	case 10:
		b.Settings.Balance = balances(b.Proxy)[random.IntN(2)]
		b.Settings.ServerTimeout++
		b.TCP = nil
		for i, u := range b.Upstreams[:min(len(b.Upstreams), random.IntN(3))] {
			b.TCP = append(b.TCP, TCPListener{Listen: fmt.Sprintf(":%d", 5432+i), Upstream: u.Name})
		}
	case 11:
		b.DropIns = nil
		for _, text := range pick("# one\n", "\n# two") {
			b.DropIns = append(b.DropIns, Fragment{Path: "/etc/" + text[2:], Content: text})
		}
	}
	// What a route leads to is always declared.
	for _, v := range append(slices.Clone(b.Hosts), b.Default) {
		for _, r := range v.Routes {
			if _, err := b.Upstream(r.Upstream); err != nil {
				b.Upstreams = append(slices.Clone(b.Upstreams), Upstream{Name: r.Upstream})
				sortUpstreams(b)
			}
		}
	}
}

func routes(random *rand.Rand, b *Balancer) []Route {
	var list []Route
	for _, path := range []string{"/shop", ""}[random.IntN(2):] {
		if len(b.Upstreams) > 0 {
			list = append(list, Route{Path: path, Upstream: b.Upstreams[random.IntN(len(b.Upstreams))].Name})
		}
	}
	return list
}

// TestSectionsAreRemembered: after a change of one service, no section is made again
// but those of the service and its host; after its end, nothing of it is kept.
func TestSectionsAreRemembered(t *testing.T) {
	for proxy, want := range map[string]int{"nginx": 2, "apache": 1, "haproxy": 1} {
		t.Run(proxy, func(t *testing.T) {
			tmpl, err := Builtin(proxy)
			if err != nil {
				t.Fatal(err)
			}
			made := map[*byte]bool{}
			render := func(b Balancer) (again, all int) {
				t.Helper()
				if _, err := tmpl.Render(b); err != nil {
					t.Fatal(err)
				}
				for _, list := range tmpl.memory.Load().texts {
					for _, text := range list.of {
						if at := unsafe.StringData(text.content); !made[at] {
							made[at] = true
							again++
						}
						all++
					}
				}
				return again, all
			}
			b := catalog(proxy, 10, 3)
			first, _ := render(b)
			b.Revision++
			if again, all := render(b); again != 0 || all != first {
				t.Errorf("of %d sections %d are made again, although nothing has changed, and %d remembered", first, again, all)
			}
			b.Upstreams = slices.Clone(b.Upstreams)
			b.Upstreams[5].Servers = b.Upstreams[5].Servers[1:]
			if again, all := render(b); again != want || all != first {
				t.Errorf("of %d sections %d are made again, and %d remembered, want %d and all", first, again, all, want)
			}
			b.Upstreams, b.Hosts = slices.Delete(b.Upstreams, 5, 6), slices.Delete(slices.Clone(b.Hosts), 5, 6)
			if again, all := render(b); again != 0 || all != first-want {
				t.Errorf("of %d sections %d are made again, and %d remembered, want none and %d", first, again, all, first-want)
			}
		})
	}
}

// TestSections calls them in ways that the built-in balancers do not.
func TestSections(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"any list", `{{define "s"}}<{{.Item}}{{.With}}>{{end}}{{sections "s" (list 1 "a" 1) "x" | join ","}}`, "<1x>,<ax>,<1x>\n"},
		{"the same name twice", `{{define "s"}}{{.Item}}{{.With}} {{end}}{{range list 1 2}}{{range sections "s" $.Listen .}}{{.}}{{end}}{{end}}`, ":801 :802 \n"},
		{"the revision", `{{define "s"}}{{.Item}} {{.With}}{{end}}{{range sections "s" .Listen .Revision}}{{.}}{{end}}`, ":80 7\n"},
		{"the balancer", `{{define "s"}}{{.With.Revision}}{{end}}{{range sections "s" .Listen .}}{{.}}{{end}}`, "7\n"},
		{"no list", "\n{{sections \"s\" 5 0}}", `own.tmpl:2:2: executing "own.tmpl" at <sections "s" 5 0>: error calling sections: int is no list`},
		{"no template", `{{sections "s" .Listen 0}}`, `own.tmpl:1:2: executing "own.tmpl" at <sections "s" .Listen 0>: error calling sections: no template "s" is defined`},
		{"an error within", "{{define \"s\"}}\n{{fail \"no\"}}{{end}}{{sections \"s\" .Listen 0}}", `own.tmpl:2:22: executing "own.tmpl" at <sections "s" .Listen 0>: error calling sections: own.tmpl:2:2: executing "s" at <fail "no">: error calling fail: no`},
		{"without end", `{{define "s"}}{{sections "s" (list 1) 0}}{{end}}{{sections "s" .Listen 0}}`, `own.tmpl:1:50: executing "own.tmpl" at <sections "s" .Listen 0>: error calling sections: own.tmpl:1:16: executing "s" at <sections "s" (list 1) 0>: error calling sections: a section has no sections: "s" is called from one`},
		{"too much", `{{define "s"}}{{.Item | indent 400}}{{end}}{{sections "s" (list "a" "b" "c") 0}}`, `own.tmpl:1:45: executing "own.tmpl" at <sections "s" (list "a" "b" "c") 0>: error calling sections: output is longer than 1000 bytes`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tmpl, err := Parse("own.tmpl", tc.text)
			if err != nil {
				t.Fatal(err)
			}
			tmpl.limit = 1000
			for range 2 {
				out, err := tmpl.Render(Balancer{Listen: []string{":80"}, Revision: 7})
				got := string(out.Content)
				if err != nil {
					got = err.Error()
				}
				if got != tc.want {
					t.Errorf("got  %s\nwant %s", got, tc.want)
				}
			}
		})
	}
}

// TestSectionsAtOnce renders different balancers with one template at the same time.
func TestSectionsAtOnce(t *testing.T) {
	tmpl, err := Builtin("nginx")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for n := range 4 {
		wg.Go(func() {
			b := catalog("nginx", 10, n)
			want := string(mustRender(t, b).Content)
			for range 10 {
				out, err := tmpl.Render(b)
				if err != nil || string(out.Content) != want {
					t.Errorf("with %d servers: got %v and (-alone +at once):\n%s", n, err, cmp.Diff(strings.Split(want, "\n"), strings.Split(string(out.Content), "\n")))
					return
				}
			}
		})
	}
	wg.Wait()
}
