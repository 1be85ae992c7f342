package units

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// TestNothingEndsThem holds the services to coming back, whatever happens how often.
func TestNothingEndsThem(t *testing.T) {
	for _, u := range units(t) {
		if got := u.get("Service", "Restart"); got != "always" {
			t.Errorf("%s: Restart=%s, want always", u.name, got)
		}
		if got := u.get("Unit", "StartLimitIntervalSec"); got != "0" {
			t.Errorf("%s: StartLimitIntervalSec=%s, want 0: five quick failures end it otherwise", u.name, got)
		}
		if got := duration(t, u, "RestartSec"); got > 2*time.Second {
			t.Errorf("%s: RestartSec=%s", u.name, got)
		}
		for _, key := range []string{"Requires", "Requisite"} {
			if names := u.settings["Unit"][key]; names != nil {
				t.Errorf("%s: %s=%s: it does not start when that fails, and nothing tries again", u.name, key, names)
			}
		}
		if !u.runs("announce", "render") {
			continue
		}
		if got := u.get("Service", "Type"); got != "notify" {
			t.Errorf("%s: Type=%s, want notify", u.name, got)
		}
		if duration(t, u, "WatchdogSec") == 0 {
			t.Errorf("%s: no WatchdogSec=", u.name)
		}
		for _, file := range []string{"-/etc/environment", "-/etc/default/rollcall"} {
			if !slices.Contains(u.settings["Service"]["EnvironmentFile"], file) {
				t.Errorf("%s: no EnvironmentFile=%s", u.name, file)
			}
		}
	}
}

// TestAnnouncersStop looks at how records live on or go. A restart of the machine's announcer keeps them. That
// of a sidekick comes along with its container's, which may not stop while it is routed to.
func TestAnnouncersStop(t *testing.T) {
	const drain, ttl = 30 * time.Second, 15 * time.Second // the defaults
	announcers := 0
	for _, u := range units(t) {
		if !u.runs("announce") {
			continue
		}
		announcers++
		want := ""
		if u.name == "announce.service" {
			want = "SIGUSR1"
		}
		if got := u.get("Service", "RestartKillSignal"); got != want {
			t.Errorf("%s: RestartKillSignal=%s, want %q", u.name, got, want)
		}
		if got := duration(t, u, "TimeoutStopSec"); got <= drain {
			t.Errorf("%s: TimeoutStopSec=%s, want more than --drain-timeout, %s", u.name, got, drain)
		}
		// At the worst it hangs right before it would have renewed its lease.
		if got := duration(t, u, "WatchdogSec") + duration(t, u, "TimeoutAbortSec") + duration(t, u, "RestartSec"); got >= ttl-ttl/3 {
			t.Errorf("%s: one that hangs is replaced after %s, when its lease may have ended", u.name, got)
		}
		if got := u.get("Service", "TimeoutStartSec"); got != "infinity" {
			t.Errorf("%s: TimeoutStartSec=%s, want infinity: at its end systemd stops it, and it withdraws what lives", u.name, got)
		}
		for _, after := range []string{"docker.service", "etcd.service", "render-nginx.service", "haproxy.service", "balancer@apache.service"} {
			if !strings.Contains(strings.Join(u.settings["Unit"]["After"], " "), after) {
				t.Errorf("%s: not After=%s, which at shutdown would not wait for it", u.name, after)
			}
		}
	}
	if announcers == 0 {
		t.Error("there is no announcer")
	}
}

// duration reads a time span; 0 if there is none.
func duration(t *testing.T, u unit, key string) time.Duration {
	t.Helper()
	value := u.get("Service", key)
	if value == "" {
		return 0
	}
	d, err := time.ParseDuration(strings.ReplaceAll(value, "min", "m"))
	if err != nil {
		t.Fatalf("%s: %s: %v", u.name, key, err)
	}
	return d
}
