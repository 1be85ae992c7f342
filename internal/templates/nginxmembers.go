package templates

import (
	"crypto/sha1"
	_ "embed" // what nginx runs
	"encoding/base64"
	"fmt"
	"strings"
)

var (
	//go:embed nginx.lua
	nginxLua string
	//go:embed nginxcontrol.lua
	nginxControlLua string
)

const luaMembers = "lua:"

// NginxMembers gives Balancer.Members for nginx. Whoever knows the secret, which should
// have 128 random bits at least, may change the members; every user of the machine may
// read the configuration and reach its socket, so only the secret's hash is told.
func NginxMembers(secret string) string {
	sum := sha1.Sum([]byte(secret)) // nginx's Lua has no other at hand, and a secret cannot be found by collisions
	return luaMembers + base64.StdEncoding.EncodeToString(sum[:])
}

// A LuaMembers is what nginx's configuration needs when its members change through Lua.
type LuaMembers struct {
	Secret string // the hash that tells who may change them
	SizeMB int    // of the memory that the workers share
	Code   string
}

// LuaMembers gives nil if members only change by a reload.
func (b Balancer) LuaMembers() (*LuaMembers, error) {
	if b.Members == "" {
		return nil, nil
	}
	secret, ok := strings.CutPrefix(b.Members, luaMembers)
	if !ok || strings.ContainsAny(secret, "\"\\\n") {
		return nil, fmt.Errorf("nginx cannot change members by %q", b.Members)
	}
	return &LuaMembers{Secret: secret, SizeMB: b.luaMegabytes(), Code: nginxLua + nginxControlLua}, nil
}

// luaMegabytes is the size of the memory of members. A service takes about 0.7 KiB of
// it, and a member 0.1 KiB with 0.1 KiB more for each worker that has a request of its.
// The steps are wide, because the size is structure: what crosses one costs a reload.
// Memory that is not used yet costs next to nothing.
func (b Balancer) luaMegabytes() int {
	n := 0
	for _, u := range b.HTTPUpstreams() {
		n += 1 + len(u.Servers)
	}
	size := 32
	for room := 10_000; room < n; room *= 4 {
		size *= 4
	}
	return size
}

// Indented gives the code with as many blanks in front of each line, and without its comments.
func (l *LuaMembers) Indented(blanks string) string {
	var code strings.Builder
	for line := range strings.Lines(l.Code) {
		line = strings.TrimRight(line, "\n")
		if text := strings.TrimLeft(line, " "); text == "" || strings.HasPrefix(text, "--") {
			continue
		}
		code.WriteString("\n" + blanks + line)
	}
	return code.String()
}
