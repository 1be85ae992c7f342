package renderer

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rollcall/internal/inputs"
	"rollcall/internal/reload"
	"rollcall/internal/templates"
)

// withCertificates gives the template with two certificates.
func withCertificates(pem string) func() (*inputs.Set, error) {
	return func() (*inputs.Set, error) {
		set, err := template(`{{.ListenTLS}}{{range .Certificates}} {{.Name}}={{.File}}{{end}} {{.CertificateList}} {{.HostMap}} {{.DropIns}} {{.Generation}}`)
		set.ID += pem
		set.Pairs = []inputs.Pair{{Name: "*.example.com", PEM: []byte(pem)}, {PEM: []byte("default")}}
		return set, err
	}
}

func tls(proxy string) func(*Config) {
	return func(cfg *Config) {
		cfg.Balancer = templates.Balancer{Proxy: proxy, Listen: []string{":80"}, ListenTLS: []string{":443"}}
		cfg.Routing.TCP = []TCPRoute{{Listen: ":5432", Service: "db"}}
	}
}

func TestAssets(t *testing.T) {
	for _, test := range []struct {
		proxy  string
		assets []string
		listen []string
	}{
		{"nginx", []string{"/assets/_.example.com-a7937b64b8ca.pem", "/assets/default-37a8eec1ce19.pem"}, []string{":80", ":443", ":5432"}},
		{"apache", []string{"/assets/_.example.com-a7937b64b8ca.pem", "/assets/default-37a8eec1ce19.pem"}, []string{":80", ":443", ":5432", "127.0.0.1:9403"}},
		{"haproxy", []string{"/assets/_.example.com-a7937b64b8ca.pem", "/assets/default-37a8eec1ce19.pem", "/assets/certificates-*.list", "/assets/hosts-*.map"}, []string{":80", ":443", ":5432"}},
	} {
		t.Run(test.proxy, func(t *testing.T) {
			running(t, func(t *testing.T, g *rig) {
				g.set(func(g *rig) { g.load = withCertificates("first") })
				g.offer(catalog(1, member("web/1", "10.0.0.1", 80)))
				after(time.Second)
				c := g.applied[0]
				var paths []string
				for _, a := range c.Assets {
					if !strings.Contains(g.content(), a.Path) {
						t.Errorf("%s is not named in %q", a.Path, g.content())
					}
					if extension := a.Path[strings.LastIndexByte(a.Path, '.'):]; extension != ".pem" {
						a.Path = a.Path[:strings.LastIndexByte(a.Path, '-')+1] + "*" + extension
					}
					paths = append(paths, a.Path)
				}
				if d := cmp.Diff(test.assets, paths); d != "" {
					t.Errorf("assets (-want +got):\n%s", d)
				}
				if d := cmp.Diff(test.listen, c.Listen); d != "" {
					t.Errorf("listens (-want +got):\n%s", d)
				}
				if !strings.HasPrefix(g.content(), "[:443] =/assets/default-37a8eec1ce19.pem *.example.com=/assets/_.") {
					t.Errorf("got %q, want sorted certificates", g.content())
				}

				g.edit(withCertificates("renewed"))
				after(time.Second)
				if s := g.Status(); s.Changes[0] != (Change{Kind: Edited, File: "certificate of *.example.com"}) {
					t.Errorf("the reload was for %+v, want the certificate", s.Changes)
				}
			}, tls(test.proxy), func(cfg *Config) { cfg.Balancer.Control = "127.0.0.1:9403" })
		})
	}
}

func TestNoTLSWithoutCertificates(t *testing.T) {
	running(t, func(t *testing.T, g *rig) {
		g.set(func(g *rig) { g.load = loads(template("{{.ListenTLS}} {{.CertificateList}}")) })
		g.offer(catalog(1, member("web/1", "10.0.0.1", 80)))
		after(0)
		if got := g.content(); got != "[] \n" {
			t.Errorf("got %q, want nothing to listen on with TLS", got)
		}
		if d := cmp.Diff([]string{":80", ":5432"}, g.applied[0].Listen); d != "" {
			t.Errorf("listens (-want +got):\n%s", d)
		}
	}, tls("haproxy"))
}

func TestOriginsGoToTheTransaction(t *testing.T) {
	running(t, func(t *testing.T, g *rig) {
		g.set(func(g *rig) {
			g.load = func() (*inputs.Set, error) {
				set, err := template("first\n{{range .DropIns}}{{.Content}}\n{{end}}")
				set.DropIns = []templates.Fragment{{Path: "/own.conf", Content: "a\nb\n"}}
				return set, err
			}
		})
		g.offer(catalog(1, member("web/1", "10.0.0.1", 80)))
		after(0)
		if d := cmp.Diff([]reload.Origin{{Line: 2, End: 4, Path: "/own.conf"}}, g.applied[0].Files[0].Origins); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
	})
}
