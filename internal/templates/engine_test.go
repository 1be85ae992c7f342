package templates

import (
	"strings"
	"testing"
)

func TestRenderErrors(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"syntax", "one\ntwo {{if}}\n", `own.tmpl:2: missing value for if`},
		{"unknown function", "{{env \"HOME\"}}", `own.tmpl:1: function "env" not defined`},
		{"unknown field", "one\n{{range .Upstreams}}{{.Nome}}{{end}}", `own.tmpl:2:22: executing "own.tmpl" at <.Nome>: can't evaluate field Nome in type templates.Upstream`},
		{"unquotable", "\n\n{{quote \"a\\nb\"}}", `own.tmpl:3:2: executing "own.tmpl" at <quote "a\nb">: error calling quote: "a\nb" holds a control character and cannot be quoted`},
		{"undeclared upstream", `{{.Upstream "nobody"}}`, `own.tmpl:1:2: executing "own.tmpl" at <.Upstream>: error calling Upstream: route to upstream "nobody", which is not declared`},
		{"too much", "{{range $i := 100000000}}0123456789{{end}}", `own.tmpl: output is longer than 1000 bytes`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tmpl, err := Parse("own.tmpl", tc.text)
			if err == nil {
				tmpl.limit = 1000
				_, err = tmpl.Render(Balancer{Upstreams: []Upstream{{Name: "web"}}})
			}
			if err == nil || err.Error() != tc.want {
				t.Errorf("got  %v\nwant %v", err, tc.want)
			}
		})
	}
}

// TestBuiltinIsComplete has a route to an upstream that is not there: the built-in
// balancers must stop rather than name it.
func TestBuiltinIsComplete(t *testing.T) {
	for _, proxy := range proxies {
		tmpl, err := Builtin(proxy)
		if err != nil {
			t.Fatal(err)
		}
		b := Balancer{Listen: []string{":80"}, Default: VirtualHost{Routes: []Route{{"", "nobody"}}}}
		place := proxy + ".tmpl:"
		if _, err = tmpl.Render(b); proxy == "haproxy" { // has its routes elsewhere
			_, err = HostMap(b)
			place = "route to upstream"
		}
		if err == nil || !strings.HasPrefix(err.Error(), place) || !strings.Contains(err.Error(), `"nobody"`) {
			t.Errorf("%s: got %v, want the template's line and the name", proxy, err)
		}
	}
	if _, err := Builtin("squid"); err == nil || !strings.Contains(err.Error(), `"squid"`) {
		t.Errorf("got %v, want an error that names squid", err)
	}
}

func TestGeneration(t *testing.T) {
	tmpl, err := Parse("own.tmpl", "{{.Generation}} of {{.Revision}}: {{range .Listen}}{{.}}{{end}}")
	if err != nil {
		t.Fatal(err)
	}
	render := func(revision int64, listen string) Output {
		t.Helper()
		out, err := tmpl.Render(Balancer{Revision: revision, Generation: "ignored", Listen: []string{listen}})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	one, again, next, other := render(1, ":80"), render(1, ":80"), render(9000, ":80"), render(1, ":81")
	if string(one.Content) != string(again.Content) || one.Generation != again.Generation {
		t.Errorf("the same data: got %q, then %q", one.Content, again.Content)
	}
	if got, want := string(next.Content), one.Generation+" of 9000: :80\n"; got != want {
		t.Errorf("next revision: got %q, want %q", got, want)
	}
	if one.Generation != next.Generation {
		t.Errorf("generation changes from %s to %s with the revision alone", one.Generation, next.Generation)
	}
	if one.Generation == other.Generation {
		t.Errorf("generation stays %s although the content changes", one.Generation)
	}
	if len(one.Generation) != 12 || strings.Trim(one.Generation, "0123456789abcdef") != "" {
		t.Errorf("got generation %q, want 12 hexadecimal digits", one.Generation)
	}
}

// TestRenderEndsLine: a file without a last newline is one that HAProxy refuses.
func TestRenderEndsLine(t *testing.T) {
	for text, want := range map[string]string{"": "\n", "a": "a\n", "a\n": "a\n", "a\n\n": "a\n\n"} {
		tmpl, err := Parse("own.tmpl", text)
		if err != nil {
			t.Fatal(err)
		}
		out, err := tmpl.Render(Balancer{})
		if err != nil || string(out.Content) != want {
			t.Errorf("%q: got %q, %v, want %q", text, out.Content, err, want)
		}
	}
}
