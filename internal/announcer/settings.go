package announcer

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"rollcall/internal/discovery/docker"
)

const (
	labelPrefix    = "rollcall."
	variablePrefix = "ROLLCALL_"
)

// A Setting is something that was said of a port, and who said it.
type Setting struct {
	Name  string `json:"name"`
	Value string `json:"value"`
	From  string `json:"from"`
}

// settings are what is said of one port of a container, or of the container as a
// whole. A flag beats a label, a label beats a variable, and all beat what
// registrator reads; within labels and within variables the port's own comes first.
type settings struct {
	rules     *Rules
	container *docker.Container
	port      docker.Port // its zero value stands for the container as a whole
	used      []Setting
	legacy    func() legacy // what registrator would read, read when it is asked for
}

func (r *Rules) settings(c *docker.Container, p docker.Port) *settings {
	return &settings{rules: r, container: c, port: p, legacy: sync.OnceValue(func() legacy {
		return readLegacy(c.Labels, c.Env, p.Number)
	})}
}

// get finds a setting, which counts as used from now on.
func (s *settings) get(name string) (value string, ok bool) {
	value, _, from := s.find(name)
	if value != "" {
		s.use(name, value, from)
	}
	return value, value != ""
}

// maxShown bounds what is kept of a value to be shown to people.
const maxShown = 200

// use notes what was taken, and from where.
func (s *settings) use(name, value, from string) {
	if len(value) > maxShown {
		value = strings.ToValidUTF8(value[:maxShown], "") + "…"
	}
	if !slices.ContainsFunc(s.used, func(o Setting) bool { return o.Name == name }) {
		s.used = append(s.used, Setting{name, value, from})
	}
}

// source gives who said what find finds.
func (s *settings) source(name string) string {
	_, _, from := s.find(name)
	return from
}

// find looks for a setting. Own is true of what was said of this port alone. An empty
// value counts as none: what an image says can be emptied, but not taken back.
func (s *settings) find(name string) (value string, own bool, from string) {
	if v := s.rules.Flags[name]; v != "" {
		return v, false, "flag --" + flagOf(name)
	}
	upper := strings.ToUpper(strings.ReplaceAll(name, ".", "_"))
	for _, at := range s.places(".", "/") {
		key := labelPrefix + at + name
		if v := strings.TrimSpace(s.container.Labels[key]); v != "" {
			return v, at != "", "label " + key
		}
	}
	for _, at := range s.places("_", "_") {
		key := variablePrefix + strings.ToUpper(at) + upper
		if v := strings.TrimSpace(s.container.Env[key]); v != "" {
			return v, at != "", "variable " + key
		}
	}
	return s.old(name)
}

// flagOf gives the flag that says the same as a setting.
func flagOf(setting string) string {
	if setting == "version" {
		return "service-version" // --version is the program's own
	}
	return strings.ReplaceAll(setting, ".", "-")
}

// places gives what stands before a setting's name for this port, the most special first:
// "53/udp.", "53." and "".
func (s *settings) places(end, proto string) []string {
	if s.port.Number == 0 {
		return []string{""}
	}
	number := strconv.Itoa(int(s.port.Number))
	return []string{number + proto + s.port.Proto + end, number + end, ""}
}

// old finds a setting among those of registrator.
func (s *settings) old(name string) (value string, own bool, from string) {
	l := s.legacy()
	switch name {
	case "service":
		return l.Name, l.OwnName, l.names["name"]
	case "instance":
		return l.ID, l.OwnID, l.names["id"]
	case "ignore":
		if l.Ignore {
			return "true", false, l.names["ignore"]
		}
	}
	url, interval, timeout, ok := l.check()
	switch {
	case !ok || s.port.Proto == "udp": // a check of a whole container was never one of its udp ports
		return "", false, ""
	case name == "check":
		return url, false, cmp.Or(l.names["check_http"], l.names["check_https"], l.names["check_tcp"])
	case name == "check.interval":
		return interval, false, l.names["check_interval"]
	case name == "check.timeout":
		return timeout, false, l.names["check_timeout"]
	}
	return "", false, ""
}

// ignored says whether the port is to be left alone. "false" takes back what an image says. Of a
// container that is announced by name only single ports are: as a whole it is asked for.
func (s *settings) ignored() bool {
	v, own, _ := s.find("ignore")
	return v != "" && v != "false" && (own || !s.rules.Single)
}

// meta gathers what is to be told beside: registrator's attributes and tags, variables,
// labels, flags, each over those before it, and a port's own over the container's.
func (s *settings) meta() map[string]string {
	meta := s.legacy().meta()
	for _, at := range slices.Backward(s.places("_", "_")) {
		prefix := variablePrefix + strings.ToUpper(at) + "META_"
		// In their order, because two may differ in nothing but case.
		for _, k := range slices.Sorted(maps.Keys(s.container.Env)) {
			if key, ok := strings.CutPrefix(k, prefix); ok {
				meta[strings.ToLower(key)] = s.container.Env[k]
			}
		}
	}
	for _, at := range slices.Backward(s.places(".", "/")) {
		for k, v := range s.container.Labels {
			if key, ok := strings.CutPrefix(k, labelPrefix+at+"meta."); ok {
				meta[key] = v
			}
		}
	}
	maps.Copy(meta, s.rules.Meta)
	if len(meta) == 0 {
		return nil
	}
	return meta
}

// asks says whether a container asks to be announced by anything that is rollcall's.
func asks(c *docker.Container) bool {
	for k := range c.Labels {
		if strings.HasPrefix(k, labelPrefix) {
			return true
		}
	}
	for k := range c.Env {
		if strings.HasPrefix(k, variablePrefix) {
			return true
		}
	}
	return false
}

// known are the settings that a label or a variable may make.
var known = []string{
	"service", "instance", "port", "version", "weight", "host", "path", "internal", "network", "ignore",
	"check", "check.interval", "check.timeout", "check.rise", "check.fall",
}

// misspelt gives the labels and variables that are meant for rollcall and mean nothing to it.
func misspelt(c *docker.Container) []Setting {
	var unknown []Setting
	for _, k := range slices.Sorted(maps.Keys(c.Labels)) {
		if name, ok := strings.CutPrefix(k, labelPrefix); ok {
			if first, rest, more := strings.Cut(name, "."); more && first != "" && first[0] >= '0' && first[0] <= '9' {
				name = rest
			}
			if !slices.Contains(known, name) && !strings.HasPrefix(name, "meta.") {
				unknown = append(unknown, Setting{Name: fmt.Sprintf("%+.80q", k), Value: "no setting is called so", From: "label"})
			}
		}
	}
	for _, k := range slices.Sorted(maps.Keys(c.Env)) {
		if name, ok := strings.CutPrefix(k, variablePrefix); ok {
			name = strings.TrimLeft(name, "0123456789_")
			for _, proto := range []string{"TCP_", "UDP_"} {
				name = strings.TrimPrefix(name, proto)
			}
			isKnown := func(o string) bool { return strings.ToUpper(strings.ReplaceAll(o, ".", "_")) == name }
			if !slices.ContainsFunc(known, isKnown) && !strings.HasPrefix(name, "META_") {
				unknown = append(unknown, Setting{Name: fmt.Sprintf("%+.80q", k), Value: "no setting is called so", From: "variable"})
			}
		}
	}
	const most = 20 // whoever has more knows by then
	return unknown[:min(len(unknown), most)]
}

// named says whether a port has a name for registrator, which its own -explicit goes by.
func (s *settings) named() bool { return s.legacy().Name != "" }

// list splits a setting that holds several values.
func list(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
}
