package reload

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"rollcall/internal/templates"
)

// BenchmarkNginxLuaSync changes one member of many, in a pool and as a service of its
// own, and looks at all without a change.
func BenchmarkNginxLuaSync(b *testing.B) {
	for _, n := range []int{10, 1000, 10_000} {
		server := func(i int) templates.Server {
			return templates.Server{Name: fmt.Sprintf("m%05d", i), Address: fmt.Sprintf("10.0.%d.%d:80", i/250, i%250+1), Weight: 100}
		}
		pool := luaUpstream()
		var services []templates.Upstream
		for i := range n {
			pool.Servers = append(pool.Servers, server(i))
			// What differs stands first, see nginx.tmpl.
			services = append(services, templates.Upstream{Name: fmt.Sprintf("%d-service", i), Servers: []templates.Server{server(i)}})
		}
		slices.SortFunc(services, func(a, b templates.Upstream) int { return strings.Compare(a.Name, b.Name) })
		for name, upstreams := range map[string][]templates.Upstream{"pool": {pool}, "services": services[:min(n, 1000)]} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				s := newLuaServer(b, upstreams...)
				want := s.members()
				if _, err := s.nginx.Sync(b.Context(), want, false); err != nil {
					b.Fatal(err)
				}
				i := 0
				b.Run("one", func(b *testing.B) {
					for range b.N {
						i++
						changed := *want.Pools[0]
						changed.Members = append([]Member(nil), changed.Members...)
						changed.Members[0].Address = fmt.Sprintf("10.9.%d.%d:%d", i>>8&255, i&255, 1024+i>>16)
						want.Pools[0] = &changed
						if n, err := s.nginx.Sync(b.Context(), want, false); err != nil || n != 2 {
							b.Fatal(n, err)
						}
						for _, l := range s.nginx.Leaving() {
							if err := l.Wait(b.Context()); err != nil {
								b.Fatal(err)
							}
						}
					}
				})
				b.Run("readback", func(b *testing.B) {
					for range b.N {
						if n, err := s.nginx.Sync(b.Context(), want, true); err != nil || n != 0 {
							b.Fatal(n, err)
						}
					}
				})
			})
		}
	}
}
