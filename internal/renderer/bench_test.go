package renderer

import (
	"fmt"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"rollcall/internal/discovery"
	"rollcall/internal/inputs"
	"rollcall/internal/templates"
)

// BenchmarkRender measures one change among many services: the route and what the
// template costs.
func BenchmarkRender(b *testing.B) {
	for _, proxy := range []string{"nginx", "haproxy"} {
		for _, size := range []struct{ services, instances int }{{10_000, 1}, {1000, 50}} {
			b.Run(fmt.Sprintf("%s/%dx%d", proxy, size.services, size.instances), func(b *testing.B) {
				t, err := templates.Builtin(proxy)
				if err != nil {
					b.Fatal(err)
				}
				r := New(Config{
					Balancer: templates.Balancer{Proxy: proxy, Listen: []string{":80"}, Settings: templates.DefaultSettings()},
					Outputs:  []string{"/none"}, Logger: quiet(), Registerer: prometheus.NewRegistry(),
				})
				in := &input{Set: &inputs.Set{Templates: []*templates.Template{t}}}
				c := many(size.services, size.instances)
				if r.good, err = r.render(c, c, in); err != nil {
					b.Fatal(err)
				}
				rest := c.Services[1:]
				b.Run("route", func(b *testing.B) {
					b.ReportAllocs()
					for b.Loop() {
						r.router.route(touched(c, rest), r.good.claims, r.cfg.Balancer, r.resolver.address)
					}
				})
				b.Run("all", func(b *testing.B) {
					b.ReportAllocs()
					for b.Loop() {
						c := touched(c, rest)
						if _, err := r.render(c, c, in); err != nil {
							b.Fatal(err)
						}
					}
				})
			})
		}
	}
}

// many makes a catalog of services with so many instances each.
func many(services, instances int) *discovery.Catalog {
	var members []*discovery.Instance
	for s := range services {
		for i := range instances {
			members = append(members, member(fmt.Sprintf("service-%05d/core-%05d", s, i), fmt.Sprintf("10.%d.%d.%d", s>>8, s&255, i), uint16(1024+i)))
		}
	}
	return catalog(1, members...)
}

// touched gives a catalog of which the first service has changed.
func touched(c *discovery.Catalog, rest []*discovery.Service) *discovery.Catalog {
	first := *c.Services[0]
	return &discovery.Catalog{Revision: c.Revision + 1, Services: append([]*discovery.Service{&first}, rest...)}
}
