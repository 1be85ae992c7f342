package main

import (
	"context"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// luaModules finds the modules of nginx by which members change while it runs, in the
// order in which they are loaded, where distributions keep them; nil without them, or
// without the library that they do not start without.
func luaModules() []string {
	if !exists("/usr/share/lua/5.1/resty/core.lua") {
		return nil
	}
	for _, dir := range []string{"/usr/lib/nginx/modules", "/usr/lib64/nginx/modules"} {
		ndk, lua := dir+"/ndk_http_module.so", dir+"/ngx_http_lua_module.so"
		if exists(ndk) && exists(lua) {
			return []string{ndk, lua}
		}
	}
	return nil
}

var (
	luaLoaded = regexp.MustCompile(`(?m)^[ \t]*load_module[ \t]+[^;\n]*ngx_http_lua_module\.so"?[ \t]*;`)
	luaTaken  = regexp.MustCompile(`(?m)(?:^|[;{}])[ \t]*(?:init|rewrite|log)_by_lua`)
)

// luaInside says whether an nginx of this machine that includes a fragment has Lua for
// it: its whole configuration, as its own program prints it, loads the module, and none
// but the fragment, which is left out, has what there can be only one of.
func luaInside(ctx context.Context, program, main, fragment string) bool {
	if luaModules() == nil {
		return false
	}
	text, err := exec.CommandContext(ctx, program, "-T", "-q", "-c", main).Output()
	return err == nil && luaIn(string(text), fragment)
}

// luaIn reads what nginx -T prints: each file below a line with its name.
func luaIn(text, fragment string) bool {
	loaded := false
	for i, file := range strings.Split(text, "# configuration file ") {
		name, content, _ := strings.Cut(file, ":\n")
		if i == 0 || real(name) == real(fragment) {
			continue
		}
		loaded = loaded || luaLoaded.MatchString(content)
		if luaTaken.MatchString(content) {
			return false
		}
	}
	return loaded
}

// real follows links: Debian's sites-enabled has nothing else.
func real(path string) string {
	if p, err := filepath.EvalSymlinks(path); err == nil {
		return p
	}
	return filepath.Clean(path)
}
