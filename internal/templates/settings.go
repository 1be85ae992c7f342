package templates

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Settings are what --set changes of a built-in balancer. DefaultSettings gives the others.
type Settings struct {
	// Balance is how a server is chosen: "roundrobin", "leastconn", "source" (the
	// client's address) or "random".
	Balance string
	// ConnectTimeout is how long a server behind may take to accept a connection,
	// ServerTimeout how long it may be silent, ClientTimeout how long a client may be.
	ConnectTimeout, ServerTimeout, ClientTimeout time.Duration
	// KeepAlive is how long a client's connection may be idle between requests.
	KeepAlive time.Duration
	// ShutdownTimeout bounds how long what serves an older configuration may finish
	// requests and WebSockets. Minutes: when it ends, they are cut off.
	ShutdownTimeout time.Duration
	// MaxBody is the longest request body in bytes; 0 leaves that to the server behind.
	MaxBody int64
	// HTTP2 is spoken to clients that ask for it over TLS.
	HTTP2 bool
	// Redirect sends clients of hosts that have a certificate to https.
	Redirect bool
	// Gate is how long a reload may wait for the clients of kept connections to come by, of
	// nginx and Apache; 0 waits for nobody.
	Gate time.Duration
	// Dynamic says whether members change while the server runs: "on", for nginx "lua", or
	// "off". "" is "on", and for nginx "lua" where its module for Lua is installed.
	Dynamic string
}

// DefaultSettings are those without --set.
func DefaultSettings() Settings {
	return Settings{
		Balance: "roundrobin", ConnectTimeout: 2 * time.Second, ServerTimeout: 5 * time.Minute, ClientTimeout: time.Minute,
		KeepAlive: 75 * time.Second, ShutdownTimeout: 10 * time.Minute, HTTP2: true,
		Gate: 5 * time.Second,
	}
}

// RetryTimeout is how long a request may look for a server that takes it. It is never
// longer than ServerTimeout: to nginx a server that was silent for so long is one to be
// passed over, and the next would carry out the same request.
func (s Settings) RetryTimeout() time.Duration { return min(10*time.Second, s.ServerTimeout) }

// ParseSettings reads KEY=VALUE settings for a proxy, "nginx", "apache" or "haproxy".
// Of a key that is there twice, the last value counts. What is wrong is told all at
// once, joined by errors.Join, and in terms of --set.
func ParseSettings(proxy string, list []string) (Settings, error) {
	s := DefaultSettings()
	keys := s.keys(proxy)
	var mistakes []error
	for _, item := range list {
		key, value, ok := strings.Cut(item, "=")
		i := slices.IndexFunc(keys, func(k setting) bool { return k.key == key })
		var err error
		switch {
		case !ok:
			err = errors.New("is not KEY=VALUE (hint: for example balance=leastconn)")
		case i < 0:
			err = fmt.Errorf("there is no such key (hint: there are %s)", strings.Join(keyNames(keys), ", "))
		default:
			err = keys[i].parse(value)
		}
		if err != nil {
			mistakes = append(mistakes, fmt.Errorf("--set %.80q: %w", item, err))
		}
	}
	if len(mistakes) == 0 && s.ConnectTimeout >= s.ServerTimeout {
		mistakes = append(mistakes, fmt.Errorf("--set connect-timeout: %s is not less than server-timeout, %s: no other server would be tried (hint: 2s is a good value)", short(s.ConnectTimeout), short(s.ServerTimeout)))
	}
	if len(mistakes) > 0 {
		return DefaultSettings(), errors.Join(mistakes...)
	}
	return s, nil
}

// SettingsHelp lists a proxy's keys with what each takes and its default, in one line.
func SettingsHelp(proxy string) string {
	s := DefaultSettings()
	keys := s.keys(proxy)
	list := make([]string, len(keys))
	for i, k := range keys {
		list[i] = fmt.Sprintf("%s=%s (%s)", k.key, k.takes, k.value)
	}
	return strings.Join(list, ", ")
}

// A setting is one key: what it takes, its default, and how a value is put into Settings.
type setting struct {
	key, takes, value string
	parse             func(string) error
}

// keys binds the keys to s, which is given what they parse.
func (s *Settings) keys(proxy string) []setting {
	// Apache's own timeouts are in whole seconds, but for the time to connect.
	duration := func(key string, to *time.Duration, unit, least, most time.Duration) setting {
		return setting{key, "TIME", short(*to), func(v string) error { return parseDuration(to, v, unit, least, most) }}
	}
	toggle := func(key string, to *bool) setting {
		return setting{key, "on|off", map[bool]string{true: "on", false: "off"}[*to], func(v string) error { return parseToggle(to, v) }}
	}
	list := []setting{
		{"balance", strings.Join(balances(proxy), "|"), s.Balance, func(v string) error { return parseBalance(&s.Balance, v, proxy) }},
		duration("connect-timeout", &s.ConnectTimeout, time.Millisecond, 100*time.Millisecond, 5*time.Second), // two attempts within the time to look for a server
		duration("server-timeout", &s.ServerTimeout, time.Second, time.Second, 24*time.Hour),
		duration("client-timeout", &s.ClientTimeout, time.Second, time.Second, 24*time.Hour),
		duration("keep-alive", &s.KeepAlive, time.Second, time.Second, time.Hour),
		// Shorter ones cut off what is merely slow, at every reload.
		duration("shutdown-timeout", &s.ShutdownTimeout, time.Second, time.Minute, 24*time.Hour),
		{"max-body", "BYTES, as 10m", strconv.FormatInt(s.MaxBody, 10) + ", any", func(v string) error { return parseSize(&s.MaxBody, v) }},
		toggle("http2", &s.HTTP2),
		toggle("redirect", &s.Redirect),
		{
			"dynamic", strings.Join(dynamics(proxy), "|"), dynamics(proxy)[0] + map[bool]string{true: " where there is the module"}[proxy == "nginx"],
			func(v string) error { return parseDynamic(&s.Dynamic, v, proxy) },
		},
	}
	if proxy != "haproxy" { // it needs none
		list = append(list, duration("gate", &s.Gate, time.Millisecond, 0, time.Minute))
	}
	return list
}

// dynamics lists the ways in which a proxy's members change while it runs.
func dynamics(proxy string) []string {
	if proxy == "nginx" {
		return []string{"lua", "off"}
	}
	return []string{"on", "off"}
}

func parseDynamic(to *string, value, proxy string) error {
	if !slices.Contains(dynamics(proxy), value) {
		return fmt.Errorf("is neither %s", strings.Join(dynamics(proxy), " nor "))
	}
	*to = value
	return nil
}

func keyNames(keys []setting) []string {
	names := make([]string, len(keys))
	for i, k := range keys {
		names[i] = k.key
	}
	return names
}

// balances lists the ways to choose a server that a proxy has.
func balances(proxy string) []string {
	if proxy == "apache" {
		return []string{"roundrobin", "leastconn"}
	}
	return []string{"roundrobin", "leastconn", "source", "random"}
}

// parseBalance knows the ways to choose a server also by what nginx and Apache call them.
func parseBalance(to *string, value, proxy string) error {
	synonyms := map[string]string{
		"round_robin": "roundrobin", "least_conn": "leastconn", "ip_hash": "source",
		"byrequests": "roundrobin", "bybusyness": "leastconn",
	}
	name, ok := synonyms[value]
	if !ok {
		name = value
	}
	if slices.Contains(balances(proxy), name) {
		*to = name
		return nil
	}
	if slices.Contains(balances(""), name) {
		return fmt.Errorf("%s cannot balance so (hint: it can by %s)", proxy, strings.Join(balances(proxy), ", "))
	}
	return fmt.Errorf("is not a way to balance (hint: there are %s, also called %s)",
		strings.Join(balances(proxy), ", "), strings.Join(slices.Sorted(maps.Keys(synonyms)), ", "))
}

// parseDuration takes whole units from least to most.
func parseDuration(to *time.Duration, value string, unit, least, most time.Duration) error {
	d, err := time.ParseDuration(value)
	switch {
	case err != nil:
		return errors.New("is not a time (hint: for example 90s, 10m or 1h)")
	case d < least || d > most:
		return fmt.Errorf("is not from %s to %s", short(least), short(most))
	case d%unit != 0:
		return fmt.Errorf("is finer than %s", short(unit))
	}
	*to = d
	return nil
}

// parseSize takes bytes, with k, m and g for the powers of 1024.
func parseSize(to *int64, value string) error {
	const most = 1 << 40
	number, shift := value, 0
	if n := len(value); n > 0 {
		if i := strings.IndexByte("kmg", value[n-1]|0x20); i >= 0 {
			number, shift = value[:n-1], 10*(i+1)
		}
	}
	n, err := strconv.ParseUint(number, 10, 63)
	if err != nil || n > most>>shift {
		return fmt.Errorf("is not a number of bytes up to %dg (hint: for example 500k, 10m or 2g; 0 is any)", most>>30)
	}
	*to = int64(n) << shift
	return nil
}

func parseToggle(to *bool, value string) error {
	if value != "on" && value != "off" {
		return errors.New("is neither on nor off")
	}
	*to = value == "on"
	return nil
}

// short writes a duration without the units that are none: 10m, not 10m0s.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
