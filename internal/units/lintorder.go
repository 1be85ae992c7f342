package units

import (
	"slices"
	"strings"
)

// checkDependencies looks at what starts, stops and comes back with what.
func (s *subject) checkDependencies(all []*subject) {
	s.checkOrder(all)
	bound := s.names("Unit", "BindsTo")
	for _, e := range s.all("Service", "RestartKillSignal") {
		if slices.Contains([]string{"SIGUSR1", "USR1", "10"}, e.Value) && slices.ContainsFunc(bound, isContainer) {
			s.find(e, "leave it out: a sidekick always withdraws",
				"restarting what this is bound to restarts this too, which then leaves its record in etcd while the container is stopped")
		}
	}
	for _, e := range s.all("Unit", "BindsTo") {
		for main := range strings.FieldsSeq(e.Value) {
			i := slices.IndexFunc(all, func(o *subject) bool { return o.whole && o != s && same(o.name, main) })
			if i >= 0 && s.whole && isContainer(main) && !s.comesBackWith(all[i]) {
				s.find(e, "Wants="+s.mention(main)+" in "+all[i].name,
					"when %s has died and starts again, nothing starts this again", main)
			}
		}
	}
}

// isContainer says whether a unit may be that of a container, and not a device, a mount or Docker itself.
func isContainer(name string) bool {
	return strings.HasSuffix(name, ".service") && name != "docker.service" && name != "containerd.service"
}

// mention gives this unit's name as another would say it that has the same instances.
func (s *subject) mention(main string) string {
	if strings.Contains(main, "@%i.") {
		return instanceOf(s.name, "%i")
	}
	return s.name
}

// comesBackWith says whether starting the other unit starts this one.
func (s *subject) comesBackWith(main *subject) bool {
	isThis := func(name string) bool { return same(name, s.name) }
	isMain := func(name string) bool { return same(name, main.name) }
	return slices.ContainsFunc(main.names("Unit", "Wants", "Requires", "BindsTo", "Upholds"), isThis) ||
		slices.ContainsFunc(s.names("Install", "WantedBy", "RequiredBy", "UpheldBy"), isMain)
}

// same says whether two names are of one unit, or of one template's.
func same(a, b string) bool { return template(a) == template(b) }

func template(name string) string {
	prefix, rest, ok := strings.Cut(name, "@")
	if dot := strings.LastIndexByte(rest, '.'); ok && dot >= 0 {
		return prefix + "@" + rest[dot:]
	}
	return name
}

// checkOrder looks for what is needed, but not waited for.
func (s *subject) checkOrder(all []*subject) {
	if !s.whole || strings.HasSuffix(s.name, ".target") {
		return
	}
	ordered := s.names("Unit", "After", "Before")
	for _, setting := range []string{"BindsTo", "Requires"} {
		for _, e := range s.all("Unit", setting) {
			for name := range strings.FieldsSeq(e.Value) {
				if slices.Contains(ordered, name) || hasOrder(name, s.name) || s.orderedBy(all, name) {
					continue
				}
				s.find(e, "After="+name,
					"%s=%s without After=: both start at once, and this may come first; when both stop, neither waits for the other", setting, name)
			}
		}
	}
}

// orderedBy says whether the other unit says it, in a file that is given.
func (s *subject) orderedBy(all []*subject, other string) bool {
	return slices.ContainsFunc(all, func(o *subject) bool {
		return same(o.name, other) && slices.ContainsFunc(o.names("Unit", "Before", "After"), func(n string) bool { return same(n, s.name) })
	})
}

// hasOrder says whether systemd orders the unit after the other by itself.
func hasOrder(other, unit string) bool {
	stem := func(s string) string { return s[:max(0, strings.LastIndexByte(s, '.'))] }
	return strings.HasSuffix(other, ".slice") || other == "basic.target" || other == "sysinit.target" ||
		strings.HasSuffix(other, ".socket") && stem(other) == stem(unit)
}
