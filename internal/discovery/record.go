package discovery

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// maxRecord bounds what is parsed: etcd itself would take 1.5 MiB.
const maxRecord = 64 << 10

// udpSuffix is how registrator marks the name of an instance whose host:port is of UDP.
const udpSuffix = ":udp"

// wire is the JSON record. Its field order is the order in which records are written.
type wire struct {
	Host      string            `json:"host"`
	Port      wirePort          `json:"port"`
	Version   string            `json:"version,omitempty"`
	Proto     string            `json:"proto,omitempty"`
	Weight    *int              `json:"weight,omitempty"`
	Node      string            `json:"node,omitempty"`
	Machine   string            `json:"machine,omitempty"`
	Container string            `json:"container,omitempty"`
	Started   string            `json:"started,omitempty"`
	Hosts     []string          `json:"hosts,omitempty"`
	Path      string            `json:"path,omitempty"`
	Meta      map[string]string `json:"meta,omitempty"`
}

var wireFields = []string{"host", "port", "version", "proto", "weight", "node", "machine", "container", "started", "hosts", "path", "meta"}

// wirePort reads a port as a number or, as shell scripts like to write it, as a string of digits.
type wirePort uint16

func (p *wirePort) UnmarshalJSON(b []byte) error {
	s := string(b)
	if u, err := strconv.Unquote(s); err == nil {
		s = u
	}
	port, err := ParsePort(s)
	*p = wirePort(port)
	return err
}

// DecodeRecord reads a record's value: a JSON object, "host:port", or a URL.
// The instance's service and name are the key's; they are validated too.
func DecodeRecord(service, name string, value []byte) (*Instance, error) {
	i := &Instance{Service: service, Name: name, Proto: "tcp", Weight: DefaultWeight}
	if len(value) > maxRecord {
		return nil, fmt.Errorf("value is longer than %d bytes", maxRecord)
	}
	if !utf8.Valid(value) {
		return nil, errors.New("value is not valid UTF-8") // encoding/json would mend it in silence
	}
	text := strings.TrimSpace(string(value))
	var err error
	switch {
	case text == "":
		err = errors.New("value is empty")
	case text[0] == '{':
		err = i.decodeJSON([]byte(text))
	case strings.Contains(text, "://"):
		err = i.decodeURL(text)
	default:
		i.Host, i.Port, err = SplitHostPort(text)
		if strings.HasSuffix(name, udpSuffix) {
			i.Proto = "udp"
		}
	}
	if err != nil {
		return nil, err
	}
	if err := i.canonicalize(); err != nil {
		return nil, err
	}
	return i, nil
}

func (i *Instance) decodeJSON(value []byte) error {
	var w wire
	if err := json.Unmarshal(value, &w); err != nil {
		if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			// Its own text quotes a number in full, however long.
			kind, _, _ := strings.Cut(wrong.Value, " ")
			return fmt.Errorf("value is not a record: field %s may not be of type %s", quote(wrong.Field), kind)
		}
		return fmt.Errorf("value is not a record: %w", err)
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(value, &all); err != nil {
		return fmt.Errorf("value is not a record: %w", err)
	}
	for k, v := range all {
		if !slices.ContainsFunc(wireFields, func(f string) bool { return strings.EqualFold(f, k) }) {
			var compact bytes.Buffer
			if err := json.Compact(&compact, v); err != nil {
				return fmt.Errorf("value is not a record: %w", err)
			}
			i.setExtra(k, compact.String())
		}
	}
	if w.Host == "" {
		return errors.New("host is missing")
	}
	i.Host, i.Port, i.Version = w.Host, uint16(w.Port), w.Version
	i.Node, i.Machine, i.Container = w.Node, w.Machine, w.Container
	i.Hosts, i.Path, i.Meta = w.Hosts, w.Path, w.Meta
	if w.Proto != "" {
		i.Proto = w.Proto
	}
	if w.Weight != nil {
		i.Weight = *w.Weight
	}
	return i.setStarted(w.Started)
}

// decodeURL reads "http://host:port" and the like; the scheme's own port serves when none is written.
func (i *Instance) decodeURL(text string) error {
	u, err := url.Parse(text)
	if err != nil {
		return fmt.Errorf("value %s is not a URL", quote(text))
	}
	if u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("URL %s may hold only scheme, host and port", quote(text))
	}
	i.Host = u.Hostname()
	switch u.Scheme {
	case "http", "ws", "tcp":
		i.Port = 80
	case "https", "wss":
		return fmt.Errorf("URL %s: backends are spoken to in plain text; https is not supported", quote(text))
	case "udp":
		i.Proto = "udp"
	default:
		return fmt.Errorf("URL %s has an unknown scheme", quote(text))
	}
	if u.Scheme == "tcp" || u.Scheme == "udp" || u.Port() != "" {
		i.Port, err = ParsePort(u.Port())
	}
	return err
}

// SplitHostPort reads "10.0.0.5:80", "[2001:db8::5]:80" or "name:80".
func SplitHostPort(s string) (host string, port uint16, err error) {
	colon := strings.LastIndexByte(s, ':')
	if colon < 0 {
		return "", 0, fmt.Errorf("%s is not host:port", quote(s))
	}
	host = s[:colon]
	if bare, ok := strings.CutPrefix(host, "["); ok {
		if bare, ok = strings.CutSuffix(bare, "]"); !ok || !strings.Contains(bare, ":") {
			return "", 0, fmt.Errorf("%s is not host:port", quote(s))
		}
		host = bare
	} else if strings.Contains(host, ":") {
		return "", 0, fmt.Errorf("%s is not host:port; an IPv6 address needs brackets", quote(s))
	}
	port, err = ParsePort(s[colon+1:])
	return host, port, err
}

// encodeJSON writes the record that DecodeRecord reads. Weight and protocol are
// always written, so that a script need not know the defaults.
func (i *Instance) encodeJSON() ([]byte, error) { return json.Marshal(i.wire()) }

func (i *Instance) wire() wire {
	w := wire{
		Host: i.Host, Port: wirePort(i.Port), Version: i.Version, Proto: i.Proto, Weight: &i.Weight,
		Node: i.Node, Machine: i.Machine, Container: i.Container, Hosts: i.Hosts, Path: i.Path, Meta: i.Meta,
	}
	if !i.Started.IsZero() {
		w.Started = i.Started.Format(time.RFC3339)
	}
	return w
}

// setStarted reads a time as records have it; none is no error.
func (i *Instance) setStarted(s string) (err error) {
	if s == "" {
		return nil
	}
	if i.Started, err = time.Parse(time.RFC3339, s); err != nil {
		return fmt.Errorf("started %s is not a time as RFC 3339 has it", quote(s))
	}
	return nil
}

// setExtra keeps an unknown field if it can be printed. It is never a reason to
// refuse a record: what it is meant to be is its writer's business.
func (i *Instance) setExtra(k, v string) {
	if k == "" || validateText(k, maxLabel) != nil || validateText(v, maxMetaText) != nil {
		return
	}
	if i.Extra == nil {
		i.Extra = map[string]string{}
	}
	i.Extra[k] = v
}

// clone copies an instance deeply enough to be changed without touching the original.
func (i *Instance) clone() *Instance {
	c := *i
	c.Hosts, c.Meta, c.Extra = slices.Clone(i.Hosts), maps.Clone(i.Meta), maps.Clone(i.Extra)
	return &c
}
