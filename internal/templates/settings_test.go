package templates

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseSettings(t *testing.T) {
	s, err := ParseSettings("nginx", []string{
		"balance=ip_hash", "connect-timeout=500ms", "server-timeout=1h", "client-timeout=30s", "keep-alive=1s",
		"shutdown-timeout=1m", "max-body=1g", "max-body=10m", "http2=off", "redirect=on", "gate=250ms",
	})
	want := Settings{
		Balance: "source", ConnectTimeout: 500 * time.Millisecond, ServerTimeout: time.Hour, ClientTimeout: 30 * time.Second,
		KeepAlive: time.Second, ShutdownTimeout: time.Minute, MaxBody: 10 << 20, Redirect: true, Gate: 250 * time.Millisecond,
	}
	if diff := cmp.Diff(want, s); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	for _, proxy := range append(proxies, "file") {
		if s, err := ParseSettings(proxy, nil); err != nil || s != DefaultSettings() {
			t.Errorf("%s without settings: got %+v, %v", proxy, s, err)
		}
	}
}

func TestBalanceSynonyms(t *testing.T) {
	for value, want := range map[string]string{
		"roundrobin": "roundrobin", "round_robin": "roundrobin", "byrequests": "roundrobin",
		"leastconn": "leastconn", "least_conn": "leastconn", "bybusyness": "leastconn",
		"source": "source", "ip_hash": "source", "random": "random",
	} {
		for _, proxy := range proxies {
			s, err := ParseSettings(proxy, []string{"balance=" + value})
			if cannot := proxy == "apache" && (want == "source" || want == "random"); cannot != (err != nil) || !cannot && s.Balance != want {
				t.Errorf("%s: balance=%s: got %q, %v, want %q", proxy, value, s.Balance, err, want)
			}
		}
	}
}

func TestTimeoutsThatContradict(t *testing.T) {
	_, err := ParseSettings("nginx", []string{"connect-timeout=3s", "server-timeout=3s"})
	if err == nil || !strings.Contains(err.Error(), "3s is not less than server-timeout, 3s") {
		t.Errorf("got %v", err)
	}
	if _, err := ParseSettings("nginx", []string{"connect-timeout=1s", "server-timeout=2s"}); err != nil {
		t.Error(err)
	}
}

func TestParseSettingsMistakes(t *testing.T) {
	for setting, want := range map[string]string{
		"":                        `is not KEY=VALUE (hint: for example balance=leastconn)`,
		"http2":                   `is not KEY=VALUE (hint: for example balance=leastconn)`,
		"timeout=5s":              `there is no such key (hint: there are balance, connect-timeout, server-timeout, client-timeout, keep-alive, shutdown-timeout, max-body, http2, redirect, dynamic, gate)`,
		"balance=":                `is not a way to balance (hint: there are roundrobin, leastconn, also called bybusyness, byrequests, ip_hash, least_conn, round_robin)`,
		"balance=random":          `apache cannot balance so (hint: it can by roundrobin, leastconn)`,
		"balance=ip_hash":         `apache cannot balance so (hint: it can by roundrobin, leastconn)`,
		"connect-timeout=2":       `is not a time (hint: for example 90s, 10m or 1h)`,
		"connect-timeout=99ms":    `is not from 100ms to 5s`,
		"connect-timeout=1.5ms":   `is not from 100ms to 5s`,
		"connect-timeout=0.15s":   "",
		"connect-timeout=100.5ms": `is finer than 1ms`,
		"server-timeout=0s":       `is not from 1s to 24h`,
		"server-timeout=1.5s":     `is finer than 1s`,
		"client-timeout=25h":      `is not from 1s to 24h`,
		"keep-alive=-1s":          `is not from 1s to 1h`,
		"shutdown-timeout=59s":    `is not from 1m to 24h`,
		"max-body=":               `is not a number of bytes up to 1024g (hint: for example 500k, 10m or 2g; 0 is any)`,
		"max-body=-1":             `is not a number of bytes up to 1024g (hint: for example 500k, 10m or 2g; 0 is any)`,
		"max-body=1025g":          `is not a number of bytes up to 1024g (hint: for example 500k, 10m or 2g; 0 is any)`,
		"max-body=1024G":          "",
		"max-body=1t":             `is not a number of bytes up to 1024g (hint: for example 500k, 10m or 2g; 0 is any)`,
		"http2=yes":               `is neither on nor off`,
		"redirect=ON":             `is neither on nor off`,
	} {
		_, err := ParseSettings("apache", []string{setting})
		got := ""
		if err != nil {
			_, got, _ = strings.Cut(err.Error(), `": `)
		}
		if got != want {
			t.Errorf("%q:\ngot  %s\nwant %s", setting, got, want)
		}
	}
	_, err := ParseSettings("nginx", []string{"http2=1", "redirect=off", "gzip=on"})
	want := "--set \"http2=1\": is neither on nor off\n--set \"gzip=on\": there is no such key"
	if err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("got %v, want both mistakes", err)
	}
}

// TestSettingsHelp takes the defaults from the help: they must be what they say.
func TestSettingsHelp(t *testing.T) {
	want := "balance=roundrobin|leastconn (roundrobin), connect-timeout=TIME (2s), server-timeout=TIME (5m), client-timeout=TIME (1m), " +
		"keep-alive=TIME (1m15s), shutdown-timeout=TIME (10m), max-body=BYTES, as 10m (0, any), http2=on|off (on), redirect=on|off (off), dynamic=on|off (on), gate=TIME (5s)"
	if got := SettingsHelp("apache"); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := SettingsHelp("nginx"); !strings.HasPrefix(got, "balance=roundrobin|leastconn|source|random (roundrobin), ") {
		t.Errorf("nginx: got %s", got)
	}
}

// FuzzParseSettings holds what is parsed to what each server takes.
func FuzzParseSettings(f *testing.F) {
	for _, setting := range []string{
		"balance=random", "connect-timeout=1.5s", "server-timeout=1h2m3s", "max-body=1024g", "max-body=9223372036854775807k", "max-body=18446744073709551616",
		"http2=on", "keep-alive=9223372036854775807ns", "=", "shutdown-timeout=\x00", "balance=leastconn;\n}",
	} {
		f.Add(setting)
	}
	f.Fuzz(func(t *testing.T, setting string) {
		for _, proxy := range proxies {
			s, err := ParseSettings(proxy, []string{setting})
			if err != nil {
				if s != DefaultSettings() || strings.ContainsFunc(err.Error(), func(r rune) bool { return r < ' ' }) {
					t.Errorf("%s: %q: got %+v, %q", proxy, setting, s, err)
				}
				continue
			}
			for _, d := range []time.Duration{s.ServerTimeout, s.ClientTimeout, s.KeepAlive, s.ShutdownTimeout} {
				if d < time.Second || d > 24*time.Hour || d%time.Second != 0 {
					t.Errorf("%s: %q: got %s", proxy, setting, d)
				}
			}
			if s.ConnectTimeout < 100*time.Millisecond || s.ShutdownTimeout < time.Minute || s.MaxBody < 0 || s.MaxBody > 1<<40 {
				t.Errorf("%s: %q: got %+v", proxy, setting, s)
			}
		}
	})
}
