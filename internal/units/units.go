// Package units writes systemd units for an application container and its announcer, as
// files or as bodies for fleet's HTTP API, and looks for the known traps in units that
// people wrote. It reads and writes text only: it knows nothing of etcd, and asks neither
// Docker nor systemd.
package units

import (
	"encoding/json"
	"fmt"
	"strings"
)

// maxLine is what fleet, and old systemds, take of one line, in bytes.
const maxLine = 2048

// A Unit is one unit file that is being written.
type Unit struct {
	Name  string // web@.service
	lines []line
}

// A line is an option, or a comment when it has no name.
type line struct {
	section, name string
	value         string
	groups        []string // instead of a value: words of a command that stay on one line
}

// An Option is one setting of a unit, as fleet's API has it.
type Option struct {
	Section string `json:"section"`
	Name    string `json:"name"`
	Value   string `json:"value"`
}

func (u *Unit) comment(section string, lines ...string) {
	for _, text := range lines {
		u.lines = append(u.lines, line{section: section, value: text})
	}
}

func (u *Unit) set(section, name string, values ...string) {
	for _, value := range values {
		u.lines = append(u.lines, line{section: section, name: name, value: value})
	}
}

func (u *Unit) run(name string, groups ...string) {
	u.lines = append(u.lines, line{section: "Service", name: name, groups: groups})
}

// Options gives what the unit sets, each command on one line.
func (u *Unit) Options() []Option {
	var options []Option
	for _, l := range u.lines {
		if l.name != "" {
			options = append(options, Option{l.section, l.name, l.value + strings.Join(l.groups, " ")})
		}
	}
	return options
}

// Text gives the unit file.
func (u *Unit) Text() string {
	var b strings.Builder
	section := ""
	for _, l := range u.lines {
		if l.section != section {
			section = l.section
			fmt.Fprintf(&b, "\n[%s]\n", section)
		}
		switch {
		case l.name == "":
			b.WriteString(strings.TrimRight("# "+l.value, " ") + "\n")
		case l.groups != nil:
			b.WriteString(fold(l.name+"="+l.groups[0], l.groups[1:]) + "\n")
		default:
			b.WriteString(l.name + "=" + l.value + "\n")
		}
	}
	return b.String()
}

// fold breaks a command that is too long to be read.
func fold(first string, groups []string) string {
	const width = 100
	text, column := first, len(first)
	for _, g := range groups {
		if column+1+len(g) > width {
			text, column = text+" \\\n   ", 3
		}
		text, column = text+" "+g, column+1+len(g)
	}
	return text
}

// InstanceName gives the name that the unit has as one instance of the template.
func (u *Unit) InstanceName(instance string) string { return instanceOf(u.Name, instance) }

// instanceOf gives the name of a template's instance.
func instanceOf(template, instance string) string {
	return strings.Replace(template, "@.", "@"+instance+".", 1)
}

// Body gives what is PUT to fleet's /fleet/v1/units/<name> for one instance of the
// unit: the API expands no templates, so each instance is told in full. Systemd and fleet
// expand the specifiers, which is why the options of all instances are the same.
func (u *Unit) Body(instance string) ([]byte, error) {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(struct {
		Name         string   `json:"name"`
		DesiredState string   `json:"desiredState"`
		Options      []Option `json:"options"`
	}{u.InstanceName(instance), "launched", u.Options()})
	return []byte(b.String()), err
}
