package templates

import (
	"fmt"
	"testing"
)

// catalog makes a balancer of many services, each with a host of its own.
func catalog(proxy string, services, servers int) Balancer {
	b := Balancer{
		Proxy: proxy, Standalone: true, Listen: []string{":80"}, IPv6: true, Control: "127.0.0.1:9403",
		PidFile: "/run/rollcall/pid", ErrorLog: "stderr", RunDir: "/run/rollcall", Modules: apacheModules, HostMap: "/run/rollcall/hosts.map",
		Settings: DefaultSettings(),
	}
	for i := range services {
		u := Upstream{Name: fmt.Sprintf("service-%05d", i)}
		for j := range servers {
			host := fmt.Sprintf("10.%d.%d.%d", i>>8, i&255, j&255)
			port := uint16(1024 + j)
			u.Servers = append(u.Servers, Server{
				Name: fmt.Sprintf("core-%05d", j), Host: host, Port: port,
				Address: fmt.Sprintf("%s:%d", host, port), Weight: 100, Version: "52c7248a14", Node: "core-01",
			})
		}
		b.Upstreams = append(b.Upstreams, u)
		b.Hosts = append(b.Hosts, VirtualHost{Name: u.Name, Routes: []Route{{Upstream: u.Name}}})
	}
	return b
}

func BenchmarkRender(b *testing.B) {
	for _, proxy := range proxies {
		for _, size := range []struct{ services, servers int }{{10000, 1}, {1, 10000}, {10, 3}} {
			data := catalog(proxy, size.services, size.servers)
			b.Run(fmt.Sprintf("%s/%dx%d", proxy, size.services, size.servers), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					mustRender(b, data)
				}
			})
		}
	}
}
