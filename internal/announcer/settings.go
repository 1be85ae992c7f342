package announcer

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"rollcall/internal/discovery"
	"rollcall/internal/discovery/docker"
)

const labelPrefix = "rollcall."

// names are the settings a container may carry, as "rollcall.<name>" or
// "rollcall.<port>.<name>" among its labels, or "ROLLCALL_<NAME>" in its environment.
type settings struct {
	container *docker.Container
}

// get finds a setting of one port; ok is false when nobody says anything.
func (s settings) get(name string, port uint16) (value string, ok bool) {
	value, _ = s.find(name, port)
	return value, value != ""
}

// own says whether the value that get finds was said of this port alone.
func (s settings) own(name string, port uint16) bool {
	_, own := s.find(name, port)
	return own
}

// find looks for a setting: a label beats the environment, both beat registrator's
// SERVICE_* variables, and within each the port's own beats the container's. An empty
// value counts as none: what an image says can be emptied, but not taken back.
func (s settings) find(name string, port uint16) (value string, own bool) {
	p := strconv.Itoa(int(port))
	env := strings.ToUpper(name)
	for _, from := range []struct {
		said map[string]string
		key  string
		own  bool
	}{
		{s.container.Labels, labelPrefix + p + "." + name, true},
		{s.container.Labels, labelPrefix + name, false},
		{s.container.Env, "ROLLCALL_" + p + "_" + env, true},
		{s.container.Env, "ROLLCALL_" + env, false},
	} {
		if v := strings.TrimSpace(from.said[from.key]); v != "" {
			return v, from.own
		}
	}
	return s.registrator(name, p)
}

// registrator reads what containers made for registrator carry, as labels or variables.
func (s settings) registrator(name, port string) (value string, own bool) {
	suffix, ok := map[string]string{"service": "NAME", "instance": "ID", "ignore": "IGNORE"}[name]
	if !ok {
		return "", false
	}
	for _, key := range []string{"SERVICE_" + port + "_" + suffix, "SERVICE_" + suffix} {
		for _, from := range []map[string]string{s.container.Labels, s.container.Env} {
			if v := strings.TrimSpace(from[key]); v != "" {
				return v, key != "SERVICE_"+suffix
			}
		}
	}
	return "", false
}

// explicit says whether the container asks to be announced.
func (s settings) explicit() bool {
	for k := range s.container.Labels {
		if strings.HasPrefix(k, labelPrefix) {
			return true
		}
	}
	for k := range s.container.Env {
		if strings.HasPrefix(k, "ROLLCALL_") {
			return true
		}
	}
	return false
}

// ignored follows registrator: any value but an explicit "false" ignores.
func (s settings) ignored(port uint16) bool {
	v, ok := s.get("ignore", port)
	return ok && v != "false"
}

func (s settings) bool(name string, port uint16) (bool, error) {
	v, ok := s.get(name, port)
	if !ok {
		return false, nil
	}
	b, err := strconv.ParseBool(v)
	if err != nil {
		return false, fmt.Errorf("rollcall.%s %.80q is neither true nor false", name, v)
	}
	return b, nil
}

// meta gathers rollcall.meta.<key> and rollcall.<port>.meta.<key>, the port's own last.
func (s settings) meta(port uint16) map[string]string {
	meta := map[string]string{}
	for _, prefix := range []string{labelPrefix + "meta.", labelPrefix + strconv.Itoa(int(port)) + ".meta."} {
		for k, v := range s.container.Labels {
			if key, ok := strings.CutPrefix(k, prefix); ok {
				meta[key] = v
			}
		}
	}
	return meta
}

// ValidatePorts checks what --port says.
func ValidatePorts(s string) error {
	_, err := parsePorts(s)
	return err
}

// parsePorts reads the setting that chooses among the container's ports: numbers, with
// an optional protocol, "8080" or "53/udp", separated by commas. One named twice counts once.
func parsePorts(s string) ([]docker.Port, error) {
	var ports []docker.Port
	for part := range strings.SplitSeq(s, ",") {
		number, proto, ok := strings.Cut(strings.TrimSpace(part), "/")
		if !ok {
			proto = "tcp"
		}
		n, err := discovery.ParsePort(number)
		if err != nil {
			return nil, err
		}
		if proto != "tcp" && proto != "udp" {
			return nil, fmt.Errorf("protocol %.80q is neither tcp nor udp", proto)
		}
		if !slices.ContainsFunc(ports, func(p docker.Port) bool { return p.Number == n && p.Proto == proto }) {
			ports = append(ports, docker.Port{Number: n, Proto: proto})
		}
	}
	return ports, nil
}

// serviceOfImage is registrator's default for a service's name: the image's last
// path part without tag and digest. An image that was started by its id has no name.
func serviceOfImage(image string) string {
	if strings.HasPrefix(image, "sha256:") {
		return ""
	}
	image, _, _ = strings.Cut(image, "@")
	image = image[strings.LastIndexByte(image, '/')+1:]
	image, _, _ = strings.Cut(image, ":")
	return strings.ToLower(image)
}

func list(s string) []string {
	parts := strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
	return slices.DeleteFunc(parts, func(p string) bool { return p == "" })
}

// merged gives the container's meta values with the operator's own on top.
func merged(container, flags map[string]string) map[string]string {
	maps.Copy(container, flags)
	if len(container) == 0 {
		return nil
	}
	return container
}
