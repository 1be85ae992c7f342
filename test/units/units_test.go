// Package units holds the unit files to what they promise: systemd takes them without a word, fleet takes
// them, what they run and name exists, and what is exposed is little. It knows nothing of what they do on a
// machine.
package units

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// folder is where the units are, seen from here.
const folder = "../../units"

// A unit is a unit file.
type unit struct {
	name     string // of the file
	lines    []string
	settings map[string]map[string][]string // by section and key
}

// get gives the last value of a key, which is the one that counts where only one can.
func (u unit) get(section, key string) string {
	values := u.settings[section][key]
	if len(values) == 0 {
		return ""
	}
	return values[len(values)-1]
}

// commands gives what a service runs, by the key that has it run: without the prefix that says what a
// failure means, as words.
func (u unit) commands() map[string][][]string {
	found := map[string][][]string{}
	for key, values := range u.settings["Service"] {
		for _, value := range values {
			if words := strings.Fields(strings.TrimLeft(value, "-+!:@")); strings.HasPrefix(key, "Exec") && len(words) > 0 {
				found[key] = append(found[key], words)
			}
		}
	}
	return found
}

// runs says that a service is one of these programs itself.
func (u unit) runs(programs ...string) bool {
	for _, words := range u.commands()["ExecStart"] {
		for _, p := range programs {
			if filepath.Base(words[0]) == p {
				return true
			}
		}
	}
	return false
}

// units reads all of them.
func units(t *testing.T) []unit {
	t.Helper()
	paths, err := filepath.Glob(folder + "/*.service")
	if err != nil {
		t.Fatal(err)
	}
	if len(paths) < 6 {
		t.Fatalf("only %d units in %s", len(paths), folder)
	}
	var all []unit
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, parse(filepath.Base(path), string(content)))
	}
	return all
}

// parse reads a unit file as systemd.syntax(7) has it.
func parse(name, content string) unit {
	u := unit{name: name, lines: strings.Split(content, "\n"), settings: map[string]map[string][]string{}}
	section, joined := "", ""
	for _, line := range u.lines {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "#") || strings.HasPrefix(line, ";") {
			continue
		}
		if head, more := strings.CutSuffix(line, `\`); more {
			joined += head + " "
			continue
		}
		line, joined = joined+line, ""
		if strings.HasPrefix(line, "[") {
			section = strings.Trim(line, "[]")
			u.settings[section] = map[string][]string{}
		} else if key, value, ok := strings.Cut(line, "="); ok {
			u.settings[section][key] = append(u.settings[section][key], value)
		}
	}
	return u
}

// instances gives the names under which systemd can load a unit.
func (u unit) instances() []string {
	prefix, ok := strings.CutSuffix(u.name, "@.service")
	switch {
	case !ok:
		return []string{u.name}
	case prefix == "balancer":
		return []string{"balancer@nginx.service", "balancer@apache.service", "balancer@haproxy.service"}
	default:
		return []string{prefix + "@1.service"}
	}
}
