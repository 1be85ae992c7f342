package discovery

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	maxLabel    = 63  // RFC 1035, section 2.3.4
	maxName     = 253 // RFC 1123 by way of RFC 1035
	maxText     = 256 // bytes of a version, a node's name, …
	maxMetaText = 4096
	maxMeta     = 64
	maxHosts    = 64
	maxFields   = 256 // of a directory
)

// ValidateName checks a service's name: labels of [a-z0-9_-] joined by dots, each
// at most 63 characters, beginning and ending with a letter or a digit.
func ValidateName(name string) error {
	if name == "" {
		return errors.New("name is empty")
	}
	if len(name) > maxName {
		return fmt.Errorf("name %s is longer than %d characters", quote(name), maxName)
	}
	if !isAlnum(name[0]) || !isAlnum(name[len(name)-1]) {
		return fmt.Errorf("name %s must begin and end with a lower-case letter or a digit", quote(name))
	}
	for label := range strings.SplitSeq(name, ".") {
		if len(label) > maxLabel {
			return fmt.Errorf("name %s has a label longer than %d characters", quote(name), maxLabel)
		}
	}
	for i := range len(name) {
		if c := name[i]; !isAlnum(c) && c != '.' && c != '_' && c != '-' {
			return fmt.Errorf("name %s may hold only a-z, 0-9, '.', '_' and '-'", quote(name))
		}
	}
	return nil
}

// ValidateInstanceName checks an instance's name: a name as ValidateName has it,
// or several joined by colons, as registrator's "core-01:web1:80:udp".
func ValidateInstanceName(name string) error {
	if len(name) > maxName {
		return fmt.Errorf("name %s is longer than %d characters", quote(name), maxName)
	}
	for part := range strings.SplitSeq(name, ":") {
		if err := ValidateName(part); err != nil {
			return err
		}
	}
	return nil
}

// CanonicalHost gives a host in the form in which it is kept: an address in its
// shortest form, or a host name in lower case without a closing dot. Addresses
// that nothing can be sent to, and names outside RFC 1123, are errors.
func CanonicalHost(host string) (string, error) {
	if host == "" {
		return "", errors.New("host is empty")
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		zone := addr.Zone() // Unmap forgets it
		addr = addr.Unmap()
		if zone != "" || addr.IsUnspecified() || addr.IsMulticast() || addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
			return "", fmt.Errorf("host %s is not an address of one machine", quote(host))
		}
		if addr.Is6() && addr.IsLinkLocalUnicast() {
			return "", fmt.Errorf("host %s is an address of one link only; other machines cannot tell which", quote(host))
		}
		return addr.String(), nil
	}
	name := strings.ToLower(strings.TrimSuffix(host, "."))
	if err := validateHostName(name); err != nil {
		return "", err
	}
	return name, nil
}

// validateHostName checks a lower-case name against RFC 1123, section 2.1. A last
// label that is a number, decimal or 0x…, is refused: it is a mistyped address, and
// resolvers differ on it (inet_aton takes "127.1" and "0x7f000001" for 127.0.0.1).
func validateHostName(name string) error {
	if name == "" || len(name) > maxName {
		return fmt.Errorf("host %s is not an IP address and not a host name of 1 to %d characters", quote(name), maxName)
	}
	last := ""
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > maxLabel || !isAlnum(label[0]) || !isAlnum(label[len(label)-1]) {
			return fmt.Errorf("host %s is not an IP address and not a host name (RFC 1123)", quote(name))
		}
		for i := range len(label) {
			if c := label[i]; !isAlnum(c) && c != '-' {
				return fmt.Errorf("host %s is not an IP address and not a host name (RFC 1123)", quote(name))
			}
		}
		last = label
	}
	hex, isHex := strings.CutPrefix(last, "0x")
	if strings.Trim(last, "0123456789") == "" || isHex && strings.Trim(hex, "0123456789abcdef") == "" {
		return fmt.Errorf("host %s looks like an address but is none", quote(name))
	}
	return nil
}

// CanonicalHostName gives a virtual host's name in the form in which it is kept.
func CanonicalHostName(name string) (string, error) {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if err := validateHostName(name); err != nil {
		return "", err
	}
	return name, nil
}

// CanonicalPath gives a path prefix in the form in which it is kept: "/" and
// everything below is "", "/shop/" is "/shop". Only characters that need no
// quoting in any server's configuration are allowed.
func CanonicalPath(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	if path[0] != '/' {
		return "", fmt.Errorf("path %s must begin with /", quote(path))
	}
	if len(path) > maxName {
		return "", fmt.Errorf("path %s is longer than %d characters", quote(path), maxName)
	}
	path = strings.TrimSuffix(path, "/")
	for i, seg := range strings.Split(path, "/") {
		if i > 0 && (seg == "" || seg == "." || seg == "..") {
			return "", fmt.Errorf("path %s has an empty, '.' or '..' segment", quote(path))
		}
		for j := range len(seg) {
			if c := seg[j]; !isAlnum(c) && (c < 'A' || c > 'Z') && !strings.ContainsRune("-._~", rune(c)) {
				return "", fmt.Errorf("path %s may hold only letters, digits and -._~/", quote(path))
			}
		}
	}
	return path, nil
}

// ParsePort reads a decimal port, 1–65535, without sign or blanks.
func ParsePort(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("port %s is not a number from 1 to 65535", quote(s))
	}
	return uint16(n), nil
}

// canonicalize brings an instance into the form in which it is kept, or says
// the first thing that is wrong with it.
func (i *Instance) canonicalize() error {
	if err := ValidateName(i.Service); err != nil {
		return fmt.Errorf("service %w", err)
	}
	if err := ValidateInstanceName(i.Name); err != nil {
		return fmt.Errorf("instance %w", err)
	}
	var err error
	if i.Host, err = CanonicalHost(i.Host); err != nil {
		return err
	}
	if i.Port == 0 {
		return errors.New("port is missing")
	}
	if i.Proto != "tcp" && i.Proto != "udp" {
		return fmt.Errorf("proto %s is neither tcp nor udp", quote(i.Proto))
	}
	if i.Weight < 0 || i.Weight > MaxWeight {
		return fmt.Errorf("weight %d is not from 0 to %d", i.Weight, MaxWeight)
	}
	if len(i.Hosts) > maxHosts {
		return fmt.Errorf("more than %d hosts", maxHosts)
	}
	var hosts []string // a name twice would be a conflict in a server's configuration
	for _, h := range i.Hosts {
		if h, err = CanonicalHostName(h); err != nil {
			return err
		}
		if !slices.Contains(hosts, h) {
			hosts = append(hosts, h)
		}
	}
	i.Hosts = hosts
	if i.Path, err = CanonicalPath(i.Path); err != nil {
		return err
	}
	return i.canonicalizeText()
}

func (i *Instance) canonicalizeText() error {
	for _, f := range []struct {
		field string
		text  *string
	}{
		{"version", &i.Version}, {"node", &i.Node}, {"machine", &i.Machine}, {"container", &i.Container},
	} {
		*f.text = strings.TrimSpace(*f.text)
		if err := validateText(*f.text, maxText); err != nil {
			return fmt.Errorf("%s %w", f.field, err)
		}
	}
	i.Started = i.Started.UTC().Truncate(time.Second)
	if y := i.Started.Year(); y < 1 || y > 9999 {
		return errors.New("started is not in the years 1 to 9999, which RFC 3339 can write")
	}
	return i.canonicalizeMeta()
}

func (i *Instance) canonicalizeMeta() error {
	if len(i.Meta) > maxMeta {
		return fmt.Errorf("more than %d meta values", maxMeta)
	}
	for k, v := range i.Meta {
		v = strings.TrimSpace(v)
		i.Meta[k] = v
		if err := ValidateMeta(k, v); err != nil {
			return err
		}
	}
	return nil
}

// ValidateMeta checks a meta value with its key: both one printable line, of 1 to 63 and
// at most 4096 bytes.
func ValidateMeta(key, value string) error {
	if err := validateText(key, maxLabel); err != nil || key == "" {
		return fmt.Errorf("meta key %s is empty, too long or not printable", quote(key))
	}
	if err := validateText(value, maxMetaText); err != nil {
		return fmt.Errorf("meta %s: value %w", quote(key), err)
	}
	return nil
}

// validateText keeps out what could end a line or a comment in a configuration or
// play tricks on a terminal: control characters, line separators, broken UTF-8. A
// backslash at the end would make the next line part of a comment (Apache does).
func validateText(s string, limit int) error {
	if len(s) > limit {
		return fmt.Errorf("is longer than %d bytes", limit)
	}
	if !utf8.ValidString(s) {
		return errors.New("is not valid UTF-8")
	}
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return fmt.Errorf("%s holds a character that cannot be printed", quote(s))
		}
	}
	if strings.HasSuffix(s, `\`) {
		return fmt.Errorf("%s ends in a backslash", quote(s))
	}
	return nil
}

func isAlnum(c byte) bool { return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' }

// quote shows outside data in a message: escaped, and never more than a line's worth.
func quote(s string) string {
	if len(s) > 80 {
		return strconv.QuoteToASCII(s[:80]) + "…"
	}
	return strconv.QuoteToASCII(s)
}
