package pack

import (
	"os"
	"strings"
	"testing"
)

// Announce is restarted first and alone, and nothing is stopped.
var restarts = []string{
	"daemon-reload",
	"try-restart announce.service",
	"try-restart render-nginx.service",
	"try-restart render-apache.service",
	"try-restart render-haproxy.service",
}

// Announce goes first, because it waits for the balancers to let go.
var stops = []string{
	"stop announce.service",
	"stop balancer@*.service",
	"stop render-nginx.service",
	"stop render-apache.service",
	"stop render-haproxy.service",
	"daemon-reload",
	"reset-failed announce.service render-nginx.service render-apache.service render-haproxy.service balancer@*.service",
}

func upgrade(t *testing.T, v1, v2 string) {
	s := newSystem(t, []string{"balancer@nginx.service"})
	s.must([]string{"daemon-reload"}, "--install", v1)
	enabled := []string{"announce.service", "balancer@nginx.service", "mine.service"}
	for _, unit := range enabled {
		if err := os.Symlink("/lib/systemd/system/"+unit, s.root+"/etc/systemd/system/multi-user.target.wants/"+unit); err != nil {
			t.Fatal(err)
		}
	}
	s.write("/etc/default/rollcall", "ANNOUNCE_TTL=20s\n")

	// A sidekick that still runs the program which dpkg has just replaced.
	for name, program := range map[string]string{"/proc/17": "/usr/bin/announce (deleted)", "/proc/18": "/usr/bin/announce", "/proc/19": "/usr/bin/sh (deleted)"} {
		if err := os.Mkdir(s.root+name, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(program, s.root+name+"/exe"); err != nil {
			t.Fatal(err)
		}
		s.write(name+"/cgroup", "0::/system.slice/system-announce.slice/announce@"+strings.TrimPrefix(name, "/proc/")+".service\n")
	}
	said := s.must(restarts, "--install", v2)
	for unit, want := range map[string]bool{"announce@17": true, "announce@18": false, "announce@19": false, "balancer@nginx": true} {
		if got := strings.Contains(said, "\n  "+unit+".service"); got != want {
			t.Errorf("%s is said to run the old program: %t, want %t:\n%s", unit, got, want, said)
		}
	}
	s.must(restarts, "--install", v2) // once more changes nothing
	s.must(restarts, "--install", v1) // and backwards is no different

	said = s.must(stops, "--remove", "rollcall")
	for name, want := range map[string]bool{
		"/etc/default/rollcall": true, "/usr/bin/announce": false, "/lib/systemd/system/announce.service": false,
		"/etc/systemd/system/multi-user.target.wants/announce.service":       false,
		"/etc/systemd/system/multi-user.target.wants/balancer@nginx.service": false,
		"/etc/systemd/system/multi-user.target.wants/mine.service":           true,
		"/run/rollcall.removing": false,
	} {
		if s.there(name) != want {
			t.Errorf("after a removal %s is there: %t, want %t\n%s", name, !want, want, said)
		}
	}

	for _, name := range []string{"/var/lib/private/rollcall", "/var/lib/rollcall", "/var/cache/rollcall", "/etc/nginx/conf.d"} {
		if err := os.MkdirAll(s.root+name+"/x", 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"rollcall.conf", ".rollcall-rollcall.conf.secret", ".rollcall-rollcall.conf.before"} {
		s.write("/etc/nginx/conf.d/"+name, "x")
	}
	s.must([]string{""}, "--purge", "rollcall")
	for name, want := range map[string]bool{
		"/etc/default/rollcall": false, "/usr/share/doc/rollcall": false,
		"/var/lib/private/rollcall": false, "/var/lib/rollcall": false, "/var/cache/rollcall": false,
		"/etc/nginx/conf.d/rollcall.conf": true, "/etc/nginx/conf.d/.rollcall-rollcall.conf.before": true,
		"/etc/nginx/conf.d/.rollcall-rollcall.conf.secret": false,
	} {
		if s.there(name) != want {
			t.Errorf("after a purge %s is there: %t, want %t", name, !want, want)
		}
	}
}

func failedUpgrade(t *testing.T, v1, v2 string) {
	s := newSystem(t, []string{})
	s.must([]string{"daemon-reload"}, "--install", v1)
	same := func(control string) string { return control }
	said, calls, err := s.dpkg("--install", broken(t, v2, same))
	if err == nil {
		t.Fatalf("a package whose preinst fails was installed:\n%s", said)
	}
	if got := strings.Join(calls, "; "); got != "daemon-reload" {
		t.Errorf("a failed upgrade asked systemd for %q, want nothing but to read the units again", got)
	}
	if got := run(t, nil, s.root+"/usr/bin/announce", "--version"); !strings.Contains(got, " 1.0.0 ") {
		t.Errorf("after a failed upgrade there is %s", got)
	}
	s.must(restarts, "--install", v2)
}

// A package that was to replace this one, which was stopped for that, cannot be installed.
func failedRemoval(t *testing.T, v1 string) {
	s := newSystem(t, []string{"announce.service", "render-nginx.service"})
	s.must([]string{"daemon-reload"}, "--install", v1)
	replacing := func(control string) string {
		return strings.Replace(control, "Package: rollcall\n", "Package: other\nConflicts: rollcall\nReplaces: rollcall\n", 1)
	}
	said, calls, err := s.dpkg("--auto-deconfigure", "--install", broken(t, v1, replacing))
	if err == nil {
		t.Fatalf("a package whose preinst fails was installed:\n%s", said)
	}
	if got := strings.Join(calls, "; "); !strings.HasPrefix(got, "stop announce.service; ") || !strings.Contains(got, "start announce.service; start render-nginx.service") {
		t.Errorf("systemd was asked for %q, want what was stopped to be started again\n%s", got, said)
	}
}

func withoutSystemd(t *testing.T, v1, v2 string) {
	s := newSystem(t, nil)
	s.must([]string{""}, "--install", v1)
	s.must([]string{""}, "--install", v2)
	s.must([]string{""}, "--remove", "rollcall")
	s.must([]string{""}, "--purge", "rollcall")
	for name := range files(t, s.root) {
		if !strings.HasPrefix(name, "/var/lib/dpkg/") && name != "/units" && name != "/fake/systemctl" {
			t.Errorf("after a purge there is still %s", name)
		}
	}
}
