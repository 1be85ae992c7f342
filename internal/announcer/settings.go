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

// get finds a setting of one port: the port's own beats the container's, a label
// beats the environment, both beat registrator's SERVICE_* variables.
func (s settings) get(name string, port uint16) (string, bool) {
	p := strconv.Itoa(int(port))
	env := strings.ToUpper(name)
	for _, key := range []string{labelPrefix + p + "." + name, labelPrefix + name} {
		if v, ok := s.container.Labels[key]; ok {
			return strings.TrimSpace(v), true
		}
	}
	for _, key := range []string{"ROLLCALL_" + p + "_" + env, "ROLLCALL_" + env} {
		if v, ok := s.container.Env[key]; ok {
			return strings.TrimSpace(v), true
		}
	}
	return s.registrator(name, p)
}

// own is get for settings of one port alone, such as a service's name when each
// port has its own.
func (s settings) own(name string, port uint16) bool {
	p := strconv.Itoa(int(port))
	_, label := s.container.Labels[labelPrefix+p+"."+name]
	_, env := s.container.Env["ROLLCALL_"+p+"_"+strings.ToUpper(name)]
	_, old := s.lookup("SERVICE_" + p + "_NAME")
	return label || env || name == "service" && old
}

// registrator reads the variables that containers made for registrator carry.
func (s settings) registrator(name, port string) (string, bool) {
	suffix, ok := map[string]string{"service": "NAME", "instance": "ID", "ignore": "IGNORE"}[name]
	if !ok {
		return "", false
	}
	for _, key := range []string{"SERVICE_" + port + "_" + suffix, "SERVICE_" + suffix} {
		if v, ok := s.lookup(key); ok {
			return strings.TrimSpace(v), true
		}
	}
	return "", false
}

func (s settings) lookup(key string) (string, bool) {
	if v, ok := s.container.Labels[key]; ok {
		return v, true
	}
	v, ok := s.container.Env[key]
	return v, ok
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
	return ok && v != "" && v != "false"
}

func (s settings) bool(name string, port uint16) (bool, error) {
	v, ok := s.get(name, port)
	if !ok {
		return false, nil
	}
	b, err := strconv.ParseBool(v)
	if err != nil {
		return false, fmt.Errorf("rollcall.%s %q is neither true nor false", name, v)
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
// an optional protocol, "8080" or "53/udp", separated by commas.
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
			return nil, fmt.Errorf("protocol %q is neither tcp nor udp", proto)
		}
		ports = append(ports, docker.Port{Number: n, Proto: proto})
	}
	return ports, nil
}

// serviceOfImage is registrator's default for a service's name: the image's last
// path part without tag and digest.
func serviceOfImage(image string) string {
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
