package main

import "testing"

func TestLuaIn(t *testing.T) {
	const fragment = "/etc/nginx/conf.d/rollcall.conf"
	module := "# configuration file /etc/nginx/modules-enabled/50-mod-http-lua.conf:\nload_module modules/ngx_http_lua_module.so;\n\n"
	own := "# configuration file " + fragment + ":\n    init_by_lua_block {\n    }\n"
	for name, tc := range map[string]struct {
		text string
		want bool
	}{
		"loaded":        {"# configuration file /etc/nginx/nginx.conf:\nhttp {\n}\n" + module, true},
		"with our own":  {module + own, true},
		"in quotes":     {"# configuration file /a:\nload_module \"/usr/lib/nginx/modules/ngx_http_lua_module.so\";\n", true},
		"not loaded":    {"# configuration file /etc/nginx/nginx.conf:\n# load_module modules/ngx_http_lua_module.so;\n", false},
		"taken":         {module + "# configuration file /etc/nginx/nginx.conf:\nhttp {\n  init_by_lua_file x.lua;\n}\n", false},
		"our own alone": {own, false},
		"nothing":       {"", false},
	} {
		if got := luaIn(tc.text, fragment); got != tc.want {
			t.Errorf("%s: got %v, want %v", name, got, tc.want)
		}
	}
}
