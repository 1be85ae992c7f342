package templates

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// nginxWithLua stands for nginx as Balancer.Proxy, where tests go through the servers.
const nginxWithLua = "nginx-lua"

const luaSecret = "of the tests"

var luaModules = []string{"/usr/lib/nginx/modules/ndk_http_module.so", "/usr/lib/nginx/modules/ngx_http_lua_module.so"}

func withLua(proxies []string) []string { return append(slices.Clone(proxies), nginxWithLua) }

// vary makes the balancer one for nginx with Lua, if the server is that.
func (r *running) vary(b *Balancer) {
	if r.lua {
		b.Proxy, b.Members, b.LuaModules = "nginx", NginxMembers(luaSecret), luaModules
	}
}

func loading(modules []string) string {
	var text strings.Builder
	for _, m := range modules {
		fmt.Fprintf(&text, "load_module %s;\n", m)
	}
	return text.String()
}

// luaBalancer has a service of its own for each list of servers.
func luaBalancer(lists ...[]Server) Balancer {
	b := Balancer{
		Proxy: "nginx", Standalone: true, Listen: []string{"127.0.0.1:8080"}, PidFile: "/run/rollcall/pid", ErrorLog: "stderr", RunDir: "/run/rollcall",
		Members: NginxMembers(luaSecret), LuaModules: luaModules, Control: "/run/rollcall/control.sock", Gate: "/run/rollcall/gate", Settings: DefaultSettings(),
	}
	for i, servers := range lists {
		name := fmt.Sprint("s", i)
		b.Upstreams = append(b.Upstreams, Upstream{Name: name, Servers: servers})
		b.Hosts = append(b.Hosts, VirtualHost{Name: name + ".example", Routes: []Route{{"", name}, {"/x", name}}})
	}
	return b
}

// TestLuaStructure has members of every kind: none of them is structure, and nginx takes all.
func TestLuaStructure(t *testing.T) {
	one := Server{Name: "a", Host: "10.0.0.5", Port: 80, Address: "10.0.0.5:80", Weight: 100}
	off := Server{Name: "b", Host: "10.0.0.6", Port: 80, Address: "10.0.0.6:80"}
	six := Server{Name: "c", Host: "db", Port: 80, Address: "[2001:db8::5]:80", Weight: 256, Version: `"}]] --[[ {`, Node: `'\`}
	for _, standalone := range []bool{true, false} {
		structure := ""
		for _, servers := range [][]Server{nil, {one}, {off}, {one, off}, {one, off, six}, {six}, make([]Server, 0)} {
			b := luaBalancer(servers, []Server{one}, servers)
			b.Standalone = standalone
			out := mustRender(t, b)
			if structure == "" {
				structure = out.Structure
			}
			if out.Structure != structure || structure == "" {
				t.Errorf("%d servers: structure is %q, want %q", len(servers), out.Structure, structure)
			}
			checkConfiguration(t, b, string(out.Content))
		}
	}
	all := []func(*Balancer){
		func(b *Balancer) { b.Members = NginxMembers("other") },
		func(b *Balancer) { b.Settings.Balance = "leastconn" },
		func(b *Balancer) { b.Hosts[0].Name = "other.example" },
		func(b *Balancer) { b.Upstreams[1].Servers = make([]Server, 10_000) },
	}
	structures := map[string]bool{mustRender(t, luaBalancer(nil, nil)).Structure: true}
	for _, change := range all {
		b := luaBalancer(nil, nil)
		change(&b)
		structures[mustRender(t, b).Structure] = true
	}
	if len(structures) != len(all)+1 {
		t.Errorf("%d structures, want %d", len(structures), len(all)+1)
	}
}

// TestLuaMembers says what is no way to change nginx's members, and that without one
// nothing is different.
func TestLuaMembers(t *testing.T) {
	b := luaBalancer(nil)
	for _, members := range []string{"lua", "/run/socket", `lua:"`} {
		b.Members = members
		tmpl, err := Builtin("nginx")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tmpl.Render(b); err == nil || !strings.Contains(err.Error(), "cannot change members by") {
			t.Errorf("%q: %v", members, err)
		}
	}
	b.Members = ""
	if out := mustRender(t, b); out.Structure != "" || strings.Contains(string(out.Content), "lua") {
		t.Errorf("without: structure %q\n%s", out.Structure, out.Content)
	}
}
