package pack

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPackage(t *testing.T) {
	t.Parallel()
	dist := t.TempDir()
	v1 := build(t, dist, "1.0.0")
	v2 := build(t, dist, "1.1.0")
	t.Run("reproducible", func(t *testing.T) { reproducible(t, v1) })
	t.Run("content", func(t *testing.T) { content(t, v1) })
	t.Run("upgrade", func(t *testing.T) { upgrade(t, v1, v2) })
	t.Run("failed upgrade", func(t *testing.T) { failedUpgrade(t, v1, v2) })
	t.Run("failed removal", func(t *testing.T) { failedRemoval(t, v1) })
	t.Run("without systemd", func(t *testing.T) { withoutSystemd(t, v1, v2) })
}

// build makes the package of a version and gives its file.
func build(t *testing.T, dist, version string, env ...string) string {
	t.Helper()
	said := run(t, append(env, "DIST="+dist), "make", "--silent", "package", "VERSION="+version)
	want := filepath.Join(dist, "rollcall_"+version+"_"+strings.TrimSpace(run(t, nil, "dpkg", "--print-architecture"))+".deb")
	if got := strings.TrimSpace(said); got != want {
		t.Fatalf("make package made %q, want %q", got, want)
	}
	return want
}

func reproducible(t *testing.T, first string) {
	// Another place, time zone, language and mask.
	second := build(t, t.TempDir(), "1.0.0", "TMPDIR="+t.TempDir(), "TZ=Asia/Tokyo", "LC_ALL=C.UTF-8", "XZ_DEFAULTS=-9")
	if _, err := try(t, nil, "cmp", first, second); err == nil {
		return
	}
	var trees []map[string]string
	for _, deb := range []string{first, second} {
		dir := t.TempDir()
		run(t, nil, "dpkg-deb", "--raw-extract", deb, dir)
		trees = append(trees, files(t, dir))
	}
	t.Error("the same tree gave two different packages")
	for name, content := range trees[0] {
		if trees[1][name] != content {
			t.Errorf("%s differs", name)
		}
	}
}

func content(t *testing.T, deb string) {
	dir := t.TempDir()
	run(t, nil, "dpkg-deb", "--raw-extract", deb, dir)
	got := files(t, dir)
	if want := "/etc/default/rollcall\n"; got["/DEBIAN/conffiles"] != want {
		t.Errorf("conffiles are %q, want %q", got["/DEBIAN/conffiles"], want)
	}
	for _, name := range []string{
		"/etc/default/rollcall", "/usr/bin/announce", "/usr/bin/render",
		"/lib/systemd/system/announce.service", "/lib/systemd/system/render-nginx.service", "/lib/systemd/system/render-apache.service",
		"/lib/systemd/system/render-haproxy.service", "/lib/systemd/system/balancer@.service",
		"/usr/share/man/man1/announce.1.gz", "/usr/share/man/man1/render-status.1.gz",
		"/usr/share/bash-completion/completions/render", "/usr/share/zsh/vendor-completions/_render",
		"/usr/share/fish/vendor_completions.d/announce.fish",
		"/usr/share/doc/rollcall/copyright", "/usr/share/doc/rollcall/changelog.gz", "/usr/share/doc/rollcall/licences.gz",
		"/usr/share/doc/rollcall/examples/web@.service", "/usr/share/doc/rollcall/examples/compose.yaml",
		"/usr/share/doc/rollcall/examples/announce.Dockerfile", "/usr/share/doc/rollcall/examples/haproxy.Dockerfile",
	} {
		if got[name] == "" {
			t.Errorf("%s is missing or empty", name)
		}
	}
	run(t, nil, "sh", "-c", `cd "$1" && md5sum --quiet --check DEBIAN/md5sums`, "-", dir)
	sums := strings.Count(got["/DEBIAN/md5sums"], "\n")
	if want := len(got) - len([]string{"conffiles", "control", "md5sums", "postinst", "postrm", "prerm", "/etc/default/rollcall"}); sums != want {
		t.Errorf("%d files have a checksum, want %d", sums, want)
	}
	if listed := run(t, nil, "dpkg-deb", "--contents", deb); strings.Count(listed, " root/root ") != strings.Count(listed, "\n") {
		t.Errorf("not all belongs to root:\n%s", listed)
	}
	static(t, dir+"/usr/bin/announce", dir+"/usr/bin/render")
	for _, program := range []string{"announce", "render"} {
		want := program + " version 1.0.0 ("
		if got := run(t, nil, dir+"/usr/bin/"+program, "--version"); !strings.HasPrefix(got, want) || !strings.Contains(got, runtime.Version()) {
			t.Errorf("%s --version says %q, want %q and %s", program, got, want, runtime.Version())
		}
	}
	pages, err := filepath.Glob(dir + "/usr/share/man/man1/*")
	if err != nil || len(pages) < 12 {
		t.Errorf("manual pages: %q, %v", pages, err)
	}
	for _, page := range pages {
		if said := run(t, nil, "sh", "-c", `gzip -dc "$1" | groff -man -K utf8 -T utf8 -ww -z 2>&1`, "-", page); said != "" {
			t.Errorf("%s: %s", filepath.Base(page), said)
		}
	}
	for _, script := range []string{"/DEBIAN/postinst", "/DEBIAN/prerm", "/DEBIAN/postrm", "/usr/share/bash-completion/completions/announce"} {
		shell := "sh"
		if strings.Contains(script, "bash") {
			shell = "bash"
		}
		run(t, nil, shell, "-n", dir+script)
	}
}

// A system is a directory that dpkg installs to, with a systemctl that only takes notes.
type system struct {
	t    *testing.T
	root string
}

// newSystem makes one where units is what systemctl lists as active, or without systemd if that is nil.
func newSystem(t *testing.T, units []string) *system {
	t.Helper()
	s := &system{t, t.TempDir()}
	dirs := []string{"/var/lib/dpkg/info", "/var/lib/dpkg/updates", "/etc/systemd/system/multi-user.target.wants", "/fake", "/proc", "/run"}
	if units != nil {
		dirs = append(dirs, "/run/systemd/system")
	}
	for _, dir := range dirs {
		if err := os.MkdirAll(s.root+dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	s.write("/var/lib/dpkg/status", "")
	s.write("/var/lib/dpkg/available", "")
	s.write("/units", strings.Join(units, " loaded active\n")+"\n")
	s.write("/fake/systemctl", "#!/bin/sh\n[ \"$1\" != list-units ] || exec cat \"$DPKG_ROOT/units\"\necho \"$*\" >>\"$DPKG_ROOT/calls\"\n")
	if err := os.Chmod(s.root+"/fake/systemctl", 0o755); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *system) write(name, content string) {
	s.t.Helper()
	if err := os.WriteFile(s.root+name, []byte(content), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

func (s *system) there(name string) bool {
	_, err := os.Lstat(s.root + name)
	return err == nil
}

// dpkg runs dpkg and gives what it said and what was asked of systemd.
func (s *system) dpkg(args ...string) (string, []string, error) {
	s.t.Helper()
	os.Remove(s.root + "/calls")
	args = append([]string{"--root=" + s.root, "--force-script-chrootless", "--force-not-root", "--log=/dev/null"}, args...)
	said, err := try(s.t, []string{"PATH=" + s.root + "/fake:" + os.Getenv("PATH")}, "dpkg", args...)
	calls, _ := os.ReadFile(s.root + "/calls")
	return said, strings.Split(strings.TrimSpace(string(calls)), "\n"), err
}

// must is dpkg that may not fail, with the calls that have to be made.
func (s *system) must(want []string, args ...string) string {
	s.t.Helper()
	said, calls, err := s.dpkg(args...)
	if err != nil {
		s.t.Fatalf("dpkg %q: %v\n%s", args, err, said)
	}
	if diff := cmp.Diff(want, calls); diff != "" {
		s.t.Errorf("dpkg %q asked of systemd (-want +got):\n%s", args, diff)
	}
	return said
}

// broken makes a package of an existing one whose preinst fails.
func broken(t *testing.T, deb string, change func(control string) string) string {
	t.Helper()
	dir := t.TempDir()
	run(t, nil, "dpkg-deb", "--raw-extract", deb, dir+"/tree")
	control, err := os.ReadFile(dir + "/tree/DEBIAN/control")
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"control": change(string(control)), "preinst": "#!/bin/sh\nexit 1\n"} {
		if err := os.WriteFile(dir+"/tree/DEBIAN/"+name, []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	run(t, nil, "dpkg-deb", "-Znone", "--build", dir+"/tree", dir+"/broken.deb")
	return dir + "/broken.deb"
}
