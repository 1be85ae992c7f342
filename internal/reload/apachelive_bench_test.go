package reload

import (
	"fmt"
	"testing"

	"rollcall/internal/templates"
)

// BenchmarkApacheSync has one member of a pool leave and come back.
func BenchmarkApacheSync(b *testing.B) {
	for _, size := range []int{10, 1000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			servers := make([]templates.Server, size)
			members := make([]Member, size)
			for i := range size {
				members[i] = Member{fmt.Sprint("m", i), fmt.Sprintf("127.0.%d.%d:9", i/200, 1+i%200), 100}
				servers[i] = templates.Server{Name: members[i].Name, Address: members[i].Address, Weight: 100}
			}
			a := newLiveApache(b, func(balancer *templates.Balancer) { balancer.Upstreams[0].Servers = servers })
			a.sync(true, 0)
			b.ResetTimer()
			for i := range b.N {
				if i%2 == 0 {
					a.want("api", members[1:]...)
				} else {
					a.want("api", members...)
				}
				a.sync(false, 1)
			}
		})
	}
}
