package pack

import (
	"debug/elf"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestInstallAndUninstall(t *testing.T) {
	t.Parallel()
	const prefix = "/opt/roll-call"
	dest := filepath.Join(t.TempDir(), "a root")
	config := filepath.Join(dest, "etc/default/rollcall")
	args := []string{"--silent", "DESTDIR=" + dest, "PREFIX=" + prefix}
	run(t, nil, "make", append(args, "install")...)

	installed := files(t, dest)
	for _, name := range []string{
		"/etc/default/rollcall",
		prefix + "/bin/announce", prefix + "/bin/render",
		prefix + "/lib/systemd/system/announce.service", prefix + "/lib/systemd/system/balancer@.service",
		prefix + "/lib/systemd/system/render-apache.service", prefix + "/lib/systemd/system/render-haproxy.service",
		prefix + "/lib/systemd/system/render-nginx.service",
		prefix + "/share/bash-completion/completions/announce", prefix + "/share/fish/vendor_completions.d/render.fish",
		prefix + "/share/zsh/site-functions/_announce",
		prefix + "/share/doc/rollcall/operations.md",
		prefix + "/share/doc/rollcall/examples/announce@.service", prefix + "/share/doc/rollcall/examples/compose.yaml",
		prefix + "/share/doc/rollcall/examples/etcd.service", prefix + "/share/doc/rollcall/examples/nginx.Dockerfile",
		prefix + "/share/doc/rollcall/examples/web@.service",
		prefix + "/share/man/man1/announce-wait.1.gz", prefix + "/share/man/man1/render-nginx.1.gz",
	} {
		if installed[name] == "" {
			t.Errorf("%s is missing or empty", name)
		}
	}
	elsewhere := regexp.MustCompile(`/usr/(bin/(announce|render)\b|share/doc/rollcall)`)
	for name, content := range installed {
		if where := elsewhere.FindString(content); where != "" && strings.HasSuffix(name, ".service") {
			t.Errorf("%s names %s, which is not there", name, where)
		}
	}
	static(t, filepath.Join(dest, prefix, "bin/announce"), filepath.Join(dest, prefix, "bin/render"))

	// Again, over what an administrator has edited.
	if err := os.WriteFile(config, []byte("ANNOUNCE_TTL=20s\n"), 0o640); err != nil {
		t.Fatal(err)
	}
	if said := run(t, nil, "make", append(args, "install")...); !strings.Contains(said, "kept "+config) {
		t.Errorf("make install says %q, and not that it kept %s", said, config)
	}
	run(t, nil, "make", append(args, "uninstall")...)
	left := files(t, dest)
	if len(left) != 1 || left["/etc/default/rollcall"] != "ANNOUNCE_TTL=20s\n" {
		t.Errorf("after make uninstall there is %q, want the edited settings alone", left)
	}
	if said, err := try(t, nil, "make", append(args, "uninstall")...); err == nil || !strings.Contains(said, "nothing was installed there") {
		t.Errorf("a second uninstall: %v, %q", err, said)
	}
}

func TestInstallRefuses(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, setting, want string }{
		{"a prefix that units cannot name", "PREFIX=/opt/a b", "install: /opt/a b is no path that units can name"},
		{"a prefix that is sed's", "PREFIX=/opt/#x", "install: /opt/#x is no path that units can name"},
		{"a relative prefix", "PREFIX=usr", "install: usr is no path that units can name"},
		{"no programs", "BIN=/nowhere", "install: there is no /nowhere/announce; run first: make build"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := try(t, []string{"DESTDIR=" + t.TempDir(), tc.setting}, "scripts/install")
			if err == nil || !strings.HasPrefix(got, tc.want) {
				t.Errorf("got %q, %v; want %q", got, err, tc.want)
			}
		})
	}
}

// static fails the test unless the programs need no library and no loader.
func static(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		f, err := elf.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range f.Progs {
			if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
				t.Errorf("%s is linked dynamically", name)
			}
		}
		f.Close()
	}
}
