// Package check asks endpoints over HTTP or TCP whether they are up, as often as
// each one's Spec says, and tells when the answer has changed. It knows endpoints
// and nothing of who lives there: no container, no record, no etcd. What follows
// from an answer is its caller's decision.
package check

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// What counts where nobody says anything else.
const (
	DefaultInterval = 2 * time.Second
	DefaultTimeout  = 1 * time.Second
	DefaultRise     = 2
	DefaultFall     = 3
)

const (
	minInterval = 100 * time.Millisecond
	maxInterval = time.Hour
	minTimeout  = time.Millisecond
	// maxTimeout is bound by itself and not by the interval: probes of one target
	// never overlap, so a long timeout only stretches the interval. But a probe that
	// waits holds one of the places that all targets share, and Fall of them pass
	// before an endpoint that hangs is found to be down.
	maxTimeout = time.Minute
	maxInRow   = 100
	maxPath    = 1024 // bytes
)

// A Spec says how an endpoint is checked.
type Spec struct {
	Scheme string // "http", "https" or "tcp"
	// Port is the container's port whose announced endpoint is asked; 0 is the
	// announced port itself. The caller makes a Target's address of it.
	Port uint16
	// Path is the request target of a http or https check, exactly as it is sent: it
	// begins with "/" and may hold a query. A tcp check has none.
	Path string

	Interval time.Duration // from the end of a probe to the next one, ±10 %
	Timeout  time.Duration // of a whole probe, from the connection to the answer's end
	Rise     int           // successes in a row that bring Down to Up
	Fall     int           // failures in a row that bring Up to Down
}

// A Target is one endpoint with its check.
type Target struct {
	Spec Spec
	Addr netip.AddrPort
}

// Parse reads a check as users write it: "http://:8080/healthz", "https:///up",
// "tcp://:5432", "tcp://". The place of the host stays empty, because the announced
// endpoint's is asked. What is not part of a URL is left zero: Interval, Timeout, Rise
// and Fall. Errors quote at most 80 bytes of s.
func Parse(s string) (Spec, error) {
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok {
		return Spec{}, fmt.Errorf("check %s is not a URL such as http://:8080/healthz or tcp://:5432", quote(s))
	}
	authority, path := rest, ""
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		authority, path = rest[:i], rest[i:]
	}
	if strings.Contains(authority, "@") {
		// Not quoted, because it may be a password.
		return Spec{}, errors.New("check holds user info; an endpoint is asked without")
	}
	spec := Spec{Scheme: strings.ToLower(scheme), Path: path}
	if err := validateScheme(spec.Scheme); err != nil {
		return Spec{}, err
	}
	if authority != "" {
		number, ok := strings.CutPrefix(authority, ":")
		if !ok {
			return Spec{}, fmt.Errorf("check %s names a host; the announced endpoint's is asked, so leave it out", quote(s))
		}
		// Also an empty one, which is more likely a variable that was never set.
		n, err := strconv.ParseUint(number, 10, 16)
		if err != nil || n == 0 {
			return Spec{}, fmt.Errorf("port %s is not a number from 1 to 65535", quote(number))
		}
		spec.Port = uint16(n)
	}
	if spec.Scheme != "tcp" && !strings.HasPrefix(path, "/") {
		spec.Path = "/" + path
	}
	if err := spec.validatePath(); err != nil {
		return Spec{}, err
	}
	return spec, nil
}

// String gives the check in the form that Parse reads, which has no room for
// Interval, Timeout, Rise and Fall.
func (s Spec) String() string {
	port := ""
	if s.Port != 0 {
		port = ":" + strconv.Itoa(int(s.Port))
	}
	return s.Scheme + "://" + port + s.Path
}

// Validate gives nil, or everything that is wrong as joined errors: an interval
// outside 100ms to 1h, a timeout outside 1ms to 1m, a rise or fall outside 1 to 100,
// and what Parse refuses.
func (s Spec) Validate() error {
	errs := []error{validateScheme(s.Scheme)}
	if errs[0] == nil {
		errs = append(errs, s.validatePath())
	}
	if s.Interval < minInterval || s.Interval > maxInterval {
		errs = append(errs, fmt.Errorf("interval %s is not from 100ms to 1h", s.Interval))
	}
	if s.Timeout < minTimeout || s.Timeout > maxTimeout {
		errs = append(errs, fmt.Errorf("timeout %s is not from 1ms to 1m", s.Timeout))
	}
	if s.Rise < 1 || s.Rise > maxInRow {
		errs = append(errs, fmt.Errorf("rise %d is not from 1 to %d", s.Rise, maxInRow))
	}
	if s.Fall < 1 || s.Fall > maxInRow {
		errs = append(errs, fmt.Errorf("fall %d is not from 1 to %d", s.Fall, maxInRow))
	}
	return errors.Join(errs...)
}

func validateScheme(scheme string) error {
	switch scheme {
	case "http", "https", "tcp":
		return nil
	}
	return fmt.Errorf("scheme %s is none of http, https and tcp", quote(scheme))
}

// validatePath lets through what can be sent as it is written. Anything else would
// have to be encoded first, and only who wrote it knows what was meant.
func (s Spec) validatePath() error {
	switch {
	case s.Scheme == "tcp" && s.Path != "":
		return fmt.Errorf("path %s has no meaning in a tcp check", quote(s.Path))
	case s.Scheme == "tcp":
		return nil
	case len(s.Path) > maxPath:
		return fmt.Errorf("path %s is longer than %d bytes", quote(s.Path), maxPath)
	case !strings.HasPrefix(s.Path, "/"):
		return fmt.Errorf("path %s must begin with /", quote(s.Path))
	case strings.Contains(s.Path, "#"):
		return fmt.Errorf("path %s holds a fragment, which is never sent", quote(s.Path))
	}
	u, err := url.ParseRequestURI(s.Path)
	if err != nil || u.RequestURI() != s.Path || strings.ContainsFunc(s.Path, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return fmt.Errorf("path %s holds something that must be percent-encoded", quote(s.Path))
	}
	return nil
}

// quote shows outside data in a message: escaped, and never more than a line's worth.
func quote(s string) string {
	if len(s) > 80 {
		return strconv.QuoteToASCII(s[:80]) + "…"
	}
	return strconv.QuoteToASCII(s)
}
