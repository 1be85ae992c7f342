package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rollcall/internal/cli"
	"rollcall/internal/reload"
)

// call runs the program as main does, and gives its exit code and what it said.
func call(env map[string]string, args ...string) (code int, stdout, stderr string) {
	lookup := func(k string) (string, bool) { v, ok := env[k]; return v, ok }
	root := newCommand(lookup)
	cli.BindEnv(root, "RENDER", lookup)
	var out, errs bytes.Buffer
	root.SetOut(&out)
	code = cli.Execute(context.Background(), root, args, &errs)
	return code, out.String(), errs.String()
}

// parsed gives the options that arguments and environment make.
func parsed(t *testing.T, p proxy, env map[string]string, args ...string) (*options, error) {
	t.Helper()
	o := &options{proxy: p, lookup: func(k string) (string, bool) { v, ok := env[k]; return v, ok }}
	cmd := newBalancer(p, o.lookup)
	cmd.ResetFlags()
	o.addFlags(cmd)
	cmd.PreRunE = nil
	cmd.SetErr(&bytes.Buffer{})
	if err := cmd.ParseFlags(args); err != nil {
		t.Fatal(err)
	}
	return o, o.validate(cmd)
}

// TestTimeout has every command of the operator's bounded by --timeout.
func TestTimeout(t *testing.T) {
	o, err := parsed(t, nginx(), nil, "--timeout", "40s", "--confirm", "true", "--output", filepath.Join(t.TempDir(), "out.conf"))
	if err != nil {
		t.Fatal(err)
	}
	want := reload.Timeouts{Validate: 40 * time.Second, Reload: 40 * time.Second, Confirm: 40 * time.Second, Gate: 5 * time.Second}
	if diff := cmp.Diff(want, o.timeouts()); diff != "" {
		t.Errorf("timeouts (-want +got):\n%s", diff)
	}
}

func TestMistakes(t *testing.T) {
	dir := t.TempDir()
	broken := filepath.Join(dir, "broken.tmpl")
	if err := os.WriteFile(broken, []byte("one\n{{.Name\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	long := "/" + strings.Repeat("x", 107)
	for _, test := range []struct {
		name string
		env  map[string]string
		args []string
		want []string
	}{
		{
			"several at once",
			map[string]string{"RENDER_SERVICE": "A_", "RENDER_MIN_WAIT": "soon"},
			[]string{"--listen", "localhost:80", "--route", "x", "--bogus=1", "--supervise", "--once"},
			[]string{
				"6 mistakes:",
				"--bogus: unknown flag",
				"RENDER_MIN_WAIT: \"soon\" is not a duration\n     hint: write a number and a unit: 500ms, 15s, 5m",
				"--service: name \"A_\" must begin and end with a lower-case letter or a digit\n     hint: for example website",
				"--route: \"x\" is not HOST/PATH=SERVICE\n     hint: for example www.example.com/shop=shop, or *=website",
				"--listen: \"localhost\" is not an IP address\n     hint: for example :80, 127.0.0.1:8080 or [::1]:80",
				"--supervise: there is nothing to supervise with --once or --dry-run\n     hint: leave one of both out",
			},
		},
		{"once and dry-run", nil, []string{"--once", "--dry-run"}, []string{"--once: --dry-run changes nothing, --once does\n   hint: leave one of both out"}},
		{"two routes for one place", nil, []string{"--route", "www=a", "--route", "WWW/=b"}, []string{`--route: "WWW/=b" leads to where a is already`}},
		{"an address twice", nil, []string{"--listen", ":80,0.0.0.0:80"}, []string{`--listen: "0.0.0.0:80" is given twice`}},
		{"no address", nil, []string{"--listen", ""}, []string{"--listen: is empty"}},
		{"a zone", nil, []string{"--listen", "[fe80::1%;x]:80"}, []string{`--listen: "fe80::1%;x" is not an IP address`}},
		{"waits", nil, []string{"--min-wait", "2s"}, []string{"--min-wait, --max-wait: 2s and 1s: the first must be positive and no longer than the second"}},
		{"stop-timeout", nil, []string{"--stop-timeout", "-1s"}, []string{"--stop-timeout: -1s is negative"}},
		{"status-listen", nil, []string{"--status-listen", "9402"}, []string{"--status-listen: address 9402: missing port in address"}},
		{"control", nil, []string{"--control", "x"}, []string{`--control: "x" is not an absolute path`}},
		{"long control", nil, []string{"--control", long}, []string{"is longer than the 107 bytes that a unix socket's path may have"}},
		{"id", nil, []string{"--id", "a/b"}, []string{`--id: name "a/b" may hold only`}},
		{"run-as", nil, []string{"--run-as", "no-such-user"}, []string{"--run-as: user: unknown user no-such-user"}},
		{"no template", nil, []string{"--template", dir + "/none"}, []string{"--template: template " + dir + "/none: no such file or directory"}},
		{"bad template", nil, []string{"--template", broken}, []string{"--template: " + broken + ":3: unclosed action started at " + broken + ":2"}},
		{"max-loss", nil, []string{"--max-loss", "2"}, []string{`--max-loss: "2" is no share from 0% to 100%`}},
		{"hold", nil, []string{"--hold", "0s"}, []string{"--hold: 0s is not between 0 and 24h"}},
		{"tcp", nil, []string{"--tcp", "5432=db"}, []string{`--tcp: "5432" is not host:port`}},
		{"tcp on what is taken", nil, []string{"--tcp", ":80=db"}, []string{`--tcp: ":80" is what --listen listens on already`}},
		{"tcp in a fragment", nil, []string{"--tcp", ":5432=db"}, []string{"--tcp: a fragment inside http{} cannot hold nginx's TCP services"}},
		{"quotes", nil, []string{"--reload", "systemctl 'reload"}, []string{"--reload: "}},
		{"shell for nothing", nil, []string{"--shell"}, []string{"--shell: there is no command to give to a shell"}},
		{"two ways to reload", nil, []string{"--unit", "nginx.service", "--reload", "true"}, []string{"--reload: --unit says already how the server is reloaded"}},
		{"unit of a child", nil, []string{"--unit", "nginx.service", "--supervise"}, []string{"--unit: a supervised server is no unit of systemd's"}},
		{"settings", nil, []string{"--set", "balance=best", "--set", "max-body=much"}, []string{"2 mistakes:", "balance", "max-body"}},
		{"another's setting", nil, []string{"--set", "shutdown-timeout=2m"}, []string{"--set: shutdown-timeout belongs to the server's own main configuration when that is not render's\n   hint: put worker_shutdown_timeout there"}},
		{"two templates", nil, []string{"--template", "/a", "--template", "/b"}, []string{"--template, --output: a balancer is one file"}},
		{"argument", nil, []string{"more"}, []string{"render nginx: takes no arguments, and was given \"more\"\n   hint: everything is said by flags"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			code, _, stderr := call(test.env, append([]string{"nginx", "--run-dir", dir}, test.args...)...)
			if code != cli.ExitUsage {
				t.Errorf("exit code %d, want %d", code, cli.ExitUsage)
			}
			for _, want := range test.want {
				if !strings.Contains(stderr, want) {
					t.Errorf("does not say %q:\n%s", want, stderr)
				}
			}
		})
	}
	const tcp = "--tcp: Apache has no TCP services\n   hint: use HAProxy, or nginx with --supervise"
	if code, _, stderr := call(nil, "apache", "--tcp", ":5432=db"); code != cli.ExitUsage || !strings.Contains(stderr, tcp) {
		t.Errorf("exit code %d:\n%s", code, stderr)
	}
	if _, _, stderr := call(nil, "apache", "--control", "0.0.0.0:1"); !strings.Contains(stderr, `--control: "0.0.0.0" is not a loopback address`) {
		t.Errorf("got:\n%s", stderr)
	}
}

func TestFileMistakes(t *testing.T) {
	for _, test := range []struct {
		args []string
		want string
	}{
		{nil, "--template: is missing"},
		{[]string{"--template", "/a"}, "--output: 0 for 1 templates"},
		{[]string{"--listen", ":80"}, "--listen: unknown flag"},
		{[]string{"--set", "balance=random"}, "--set: unknown flag"},
		{[]string{"--tcp", ":1=db"}, "--tcp: unknown flag"},
		{[]string{"--template", "/a", "--template", "/b", "--output", "/c", "--output", "/d/../c"}, `--output: "/d/../c" is given twice`},
		{[]string{"more"}, `render file: takes no arguments, and was given "more"`},
	} {
		if code, _, stderr := call(nil, append([]string{"file"}, test.args...)...); code != cli.ExitUsage || !strings.Contains(stderr, test.want) {
			t.Errorf("%q: exit code %d, want %q:\n%s", test.args, code, test.want, stderr)
		}
	}
}

func TestDefaults(t *testing.T) {
	// Only root may write where a socket is to be at any boot.
	beside := func(name string) string {
		if os.Getuid() == 0 {
			return "/run/rollcall-" + name + ".sock"
		}
		return "/r/control.sock"
	}
	for _, test := range []struct {
		proxy                      proxy
		args                       []string
		output, main, pid, control string
		standalone                 bool
	}{
		{nginx(), nil, "/etc/nginx/conf.d/rollcall.conf", "/etc/nginx/nginx.conf", "/run/nginx.pid", beside("nginx"), false},
		{nginx(), []string{"--supervise"}, "/r/nginx.conf", "/r/nginx.conf", "/r/nginx.pid", "/r/control.sock", true},
		{nginx(), []string{"--supervise", "--output", "/o", "--pid-file", "/p"}, "/o", "/o", "/p", "/r/control.sock", true},
		{nginx(), []string{"--supervise", "--config", "/m"}, "/r/nginx.conf", "/m", "/r/nginx.pid", "/r/control.sock", false},
		{nginx(), []string{"--output", "/o", "--config", "/m", "--control", "/c"}, "/o", "/m", "/run/nginx.pid", "/c", false},
		{apache(), nil, "/etc/apache2/conf-enabled/rollcall.conf", "/etc/apache2/apache2.conf", "/run/apache2/apache2.pid", "127.0.0.1:9403", false},
		{apache(), []string{"--supervise"}, "/r/apache.conf", "/r/apache.conf", "/r/apache.pid", "127.0.0.1:9403", true},
		{haproxy(), nil, "/etc/haproxy/rollcall.cfg", "/etc/haproxy/haproxy.cfg", "/run/haproxy.pid", beside("haproxy"), false},
		{haproxy(), []string{"--supervise"}, "/r/haproxy.cfg", "/r/haproxy.cfg", "/r/haproxy.pid", "/r/control.sock", true},
	} {
		o, err := parsed(t, test.proxy, map[string]string{"RUNTIME_DIRECTORY": "/r:/other"}, test.args...)
		if err != nil {
			t.Errorf("%s %q: %v", test.proxy.name, test.args, err)
			continue
		}
		got := []any{o.outputs[0], o.main, o.pidFile, o.balancer.Control, o.balancer.Standalone, o.prefix}
		want := []any{test.output, test.main, test.pid, test.control, test.standalone, "/services"}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s %q (-want +got):\n%s", test.proxy.name, test.args, d)
		}
	}
}

// A command of the operator's takes the place of asking the server, unless they say where.
func TestConfirmNeedsNoControl(t *testing.T) {
	for want, args := range map[string][]string{
		"":   {"--confirm", "true"},
		"/c": {"--confirm", "true", "--control", "/c"},
	} {
		o, err := parsed(t, nginx(), nil, args...)
		if err != nil || o.balancer.Control != want {
			t.Errorf("%q: got %q, %v, want %q", args, o.balancer.Control, err, want)
		}
	}
}

func TestPrintTemplate(t *testing.T) {
	for _, name := range []string{"nginx", "apache", "haproxy"} {
		// What else is wrong does not matter: there may be no server here.
		code, stdout, stderr := call(nil, name, "--print-template", "--config", "", "--listen", "x")
		text, err := os.ReadFile("../../internal/templates/" + name + ".tmpl")
		if err != nil {
			t.Fatal(err)
		}
		if code != 0 || stdout != string(text) || stderr != "" {
			t.Errorf("%s: exit code %d, %d bytes, %q, want the built-in template", name, code, len(stdout), stderr)
		}
	}
}

func TestDryRunNeedsNoServer(t *testing.T) {
	missing := nginx()
	missing.programs = []string{"no-such-server"}
	if _, err := parsed(t, missing, nil, "--dry-run"); err != nil {
		t.Errorf("--dry-run without the server gives %v", err)
	}
	if _, err := parsed(t, missing, nil, "--once"); err == nil || !strings.Contains(err.Error(), "find no-such-server") {
		t.Errorf("--once without the server gives %v", err)
	}
}

func TestEnvironment(t *testing.T) {
	t.Parallel()
	// $RENDER_OUTPUT is the file of a configuration, nothing that status should choke on.
	_, _, stderr := call(map[string]string{"RENDER_OUTPUT": "/x.conf", "RENDER_STATUS_LISTEN": "127.0.0.1:1"}, "status")
	if !strings.Contains(stderr, "127.0.0.1:1/status") || !strings.Contains(stderr, "hint: is render running?") {
		t.Errorf("got:\n%s", stderr)
	}
	code, _, stderr := call(map[string]string{"RENDER_OUTPUT": "/x.conf"}, "status", "--output", "xml")
	if code != cli.ExitUsage || !strings.Contains(stderr, `--output: "xml" is neither table nor json`) {
		t.Errorf("exit code %d:\n%s", code, stderr)
	}
}

func TestHelp(t *testing.T) {
	for _, name := range []string{"nginx", "apache", "haproxy"} {
		code, stdout, _ := call(nil, name, "--help")
		if code != 0 {
			t.Errorf("exit code %d, want 0", code)
		}
		for _, want := range []string{"--listen ADDRESS ", "--service SERVICE ", "--route HOST/PATH=SERVICE ", "--min-wait TIME ", "(env RENDER_OUTPUT)"} {
			if !strings.Contains(stdout, want) {
				t.Errorf("%s --help does not say %q", name, want)
			}
		}
		if got, want := strings.Contains(stdout, "must include it"), name != "haproxy"; got != want {
			t.Errorf("%s --help speaks of an include: %t, want %t", name, got, want)
		}
		if got, want := strings.Contains(stdout, "--tcp "), name != "apache"; got != want {
			t.Errorf("%s --help has --tcp: %t, want %t", name, got, want)
		}
		for _, bad := range []string{" string ", " strings ", " stringArray ", " duration ", "`"} {
			if _, flags, _ := strings.Cut(stdout, "Flags:"); strings.Contains(flags, bad) {
				t.Errorf("%s --help says %q", name, bad)
			}
		}
	}
}
