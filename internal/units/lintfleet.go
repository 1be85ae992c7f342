package units

import (
	"path"
	"slices"
	"strings"
)

// checkFleet looks at the section that only fleet reads. It refuses some of it, and
// ignores without a word what it does not know.
func (s *subject) checkFleet() {
	for _, e := range s.entries {
		switch {
		case strings.EqualFold(e.Section, "X-Fleet") && e.Section != "X-Fleet", e.Section == "Fleet":
			s.find(e, "the section is called [X-Fleet]", "[%s] is read by nobody", e.Section)
		case e.Section == "X-Fleet":
			s.checkFleetEntry(e)
		}
	}
	s.checkCombinations()
}

func (s *subject) checkFleetEntry(e located) {
	known := []string{
		"MachineID", "MachineOf", "MachineMetadata", "Conflicts", "Global", "Replaces", "X-ConditionMachineID",
		"X-ConditionMachineBootID", "X-ConditionMachineOf", "X-ConditionMachineMetadata", "X-Conflicts",
	}
	if !slices.Contains(known, e.Name) {
		hint := "fleet knows MachineID, MachineOf, MachineMetadata, Conflicts, Global and Replaces"
		bare := strings.TrimPrefix(strings.TrimPrefix(e.Name, "X-"), "Condition")
		for _, k := range known[:6] {
			if strings.EqualFold(k, bare) || strings.EqualFold(strings.TrimSuffix(k, "s"), bare) {
				hint = "it is called " + k
			}
		}
		s.find(e, hint, "fleet ignores %s=, and may start the unit anywhere", e.Name)
		return
	}
	if name, legacy := strings.CutPrefix(e.Name, "X-"); legacy {
		s.find(e, "write "+strings.TrimPrefix(name, "Condition"), "%s= is a legacy spelling", e.Name)
	}
	checkFleetSpecifiers(s, e)
	values := fleetValues(e.Value)
	for _, v := range values {
		if strings.HasSuffix(e.Name, "MachineMetadata") && !wellFormed(v) {
			s.find(e, "KEY=VALUE", "fleet ignores %q, which is not KEY=VALUE", v)
		}
		if strings.ContainsAny(v, " \t") {
			s.find(e, "write one to a line", "fleet takes %q for one value, blanks and all", v)
		}
	}
}

func wellFormed(metadata string) bool {
	key, value, _ := strings.Cut(metadata, "=")
	return key != "" && value != "" && strings.Count(metadata, "=") == 1
}

func checkFleetSpecifiers(s *subject, e located) {
	for i := 0; i+1 < len(e.Value); i++ {
		if e.Value[i] != '%' {
			continue
		}
		if strings.IndexByte("nNpi", e.Value[i+1]) < 0 {
			s.find(e, "only %n, %N, %p and %i are expanded here", "fleet takes %s literally", e.Value[i:i+2])
		}
		i++
	}
}

// fleetValues splits a line into its values: several are each in quotes.
func fleetValues(line string) []string {
	if !strings.HasPrefix(line, `"`) || !strings.HasSuffix(line, `"`) || len(line) < 2 {
		return []string{line}
	}
	return strings.Split(line[1:len(line)-1], `" "`)
}

// checkCombinations looks for what fleet refuses as a whole.
func (s *subject) checkCombinations() {
	var all []located
	values := map[string][]located{}
	for _, e := range s.entries {
		if e.Section != "X-Fleet" || e.Value == "" {
			continue
		}
		name := strings.TrimPrefix(strings.TrimPrefix(e.Name, "X-"), "Condition")
		values[name] = append(values[name], e)
		all = append(all, e)
	}
	if g := values["Global"]; len(g) > 0 && truthy(g[len(g)-1].Value) {
		for _, other := range slices.Concat(values["MachineOf"], values["Replaces"]) {
			s.find(other, "beside a Global unit runs another Global unit with the same MachineMetadata",
				"fleet refuses %s= in a Global unit", other.Name)
		}
	}
	if len(values["MachineID"]) > 0 {
		for _, other := range all {
			if !strings.HasSuffix(other.Name, "MachineID") {
				s.find(other, "the machine is chosen already", "fleet refuses %s= beside MachineID=", other.Name)
			}
		}
	}
	if len(values["Conflicts"]) > 0 {
		for _, other := range values["Replaces"] {
			s.find(other, "", "fleet refuses Replaces= beside Conflicts=")
		}
	}
	for _, peer := range values["MachineOf"] {
		for _, c := range values["Conflicts"] {
			for _, glob := range fleetValues(c.Value) {
				if matched, _ := path.Match(glob, peer.Value); matched {
					s.find(c, "the container's unit has the Conflicts=; the sidekick follows it",
						"fleet refuses Conflicts=%s, which matches the unit's own MachineOf=%s", glob, peer.Value)
				}
			}
		}
	}
}

// truthy says what fleet takes for true.
func truthy(s string) bool {
	return slices.Contains([]string{"true", "yes", "1", "on", "t"}, strings.ToLower(s))
}
