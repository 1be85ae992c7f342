package units

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// A Finding is one thing in a unit file that does not do what it seems to.
type Finding struct {
	Path    string
	Line    int
	Message string
	Hint    string // how to put it right; may be empty
}

// String gives the finding as compilers do, and the hint in a line of its own.
func (f Finding) String() string {
	text := fmt.Sprintf("%s:%d: %s", f.Path, f.Line, f.Message)
	if f.Hint != "" {
		text += "\n   hint: " + f.Hint
	}
	return text
}

// A subject is a unit, of all the files given that are part of it.
type subject struct {
	name     string
	whole    bool // not drop-ins alone, of which nothing is known to be missing
	entries  []located
	findings []Finding
}

type located struct {
	Entry
	path string
}

// Check looks at unit files for what the field has learned the hard way. Files that belong
// together are looked at together: a sidekick beside its container, a drop-in as
// part of its unit.
func Check(files ...*File) []Finding {
	var subjects []*subject
	var findings []Finding
	for _, f := range slices.SortedStableFunc(slices.Values(files), mainFirst) {
		findings = append(findings, f.findings...)
		key := filepath.Base(f.unit())
		i := slices.IndexFunc(subjects, func(s *subject) bool { return s.name == key && f.dropIn() })
		if i < 0 {
			subjects = append(subjects, &subject{name: key})
			i = len(subjects) - 1
		}
		s := subjects[i]
		s.whole = s.whole || !f.dropIn()
		for _, e := range f.Entries {
			s.entries = append(s.entries, located{e, f.Path})
		}
	}
	for _, s := range subjects {
		s.checkFleet()
		s.checkWords()
		s.checkDocker()
		s.checkTimes()
		s.checkDependencies(subjects)
		findings = append(findings, s.findings...)
	}
	slices.SortStableFunc(findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Line, b.Line))
	})
	return slices.Compact(findings)
}

// mainFirst has units stand before their drop-ins.
func mainFirst(a, b *File) int {
	order := func(f *File) int {
		if f.dropIn() {
			return 1
		}
		return 0
	}
	return order(a) - order(b)
}

func (s *subject) find(at located, hint, format string, args ...any) {
	s.findings = append(s.findings, Finding{at.path, at.Line, fmt.Sprintf(format, args...), hint})
}

// all gives the assignments of one setting that hold: an empty one takes back those before it.
func (s *subject) all(section, name string) []located {
	var found []located
	for _, e := range s.entries {
		switch {
		case e.Section != section || e.Name != name:
		case e.Value == "":
			found = nil
		default:
			found = append(found, e)
		}
	}
	return found
}

// last gives the value of a setting that has one.
func (s *subject) last(section, name string) (located, bool) {
	found := s.all(section, name)
	if len(found) == 0 {
		return located{}, false
	}
	return found[len(found)-1], true
}

// names gives all units that a setting lists.
func (s *subject) names(section string, settings ...string) []string {
	var names []string
	for _, setting := range settings {
		for _, e := range s.all(section, setting) {
			names = append(names, strings.Fields(e.Value)...)
		}
	}
	return names
}

// A placed command is one with the setting that it stands in.
type placed struct {
	*command
	at located
}

// execs gives the commands of some settings; what cannot be split is told elsewhere.
func (s *subject) execs(settings ...string) []placed {
	var all []placed
	for _, setting := range settings {
		for _, e := range s.all("Service", setting) {
			split, _ := commands(e.Entry)
			for _, c := range split {
				all = append(all, placed{c, e})
			}
		}
	}
	return all
}
