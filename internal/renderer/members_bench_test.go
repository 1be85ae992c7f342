package renderer

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"rollcall/internal/discovery"
	"rollcall/internal/templates"
)

// BenchmarkRoute measures what one changed member costs in the picture, in a catalog that
// shares all else with the one before.
func BenchmarkRoute(b *testing.B) {
	for _, size := range []struct{ services, instances int }{{1, 10_000}, {10_000, 1}} {
		b.Run(fmt.Sprintf("%dx%d", size.services, size.instances), func(b *testing.B) {
			c := many(size.services, size.instances)
			for _, s := range c.Services {
				for n, i := range s.Instances {
					i.Host, i.Hosts = fmt.Sprintf("10.0.%d.%d", n>>8, n&255), []string{s.Name + ".example.com"}
				}
			}
			r := newRouter(Routing{}, time.Now)
			resolver := newResolver(nil, quiet())
			p := r.route(c, nil, templates.Balancer{}, resolver.address)
			at, port := size.services/2, uint16(0)
			b.ReportAllocs()
			for b.Loop() {
				port++
				s := discovery.Service{Name: c.Services[at].Name, Instances: slices.Clone(c.Services[at].Instances)}
				i := *s.Instances[size.instances/2]
				i.Port = 10_000 + port%100
				s.Instances[size.instances/2] = &i
				c = &discovery.Catalog{Revision: c.Revision + 1, Services: slices.Clone(c.Services)}
				c.Services[at] = &s
				p = r.route(c, p.claims, templates.Balancer{}, resolver.address)
			}
		})
	}
}
