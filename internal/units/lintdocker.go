package units

import (
	"slices"
	"strings"
)

// checkDocker looks at how containers are run.
func (s *subject) checkDocker() {
	runs := s.execs("ExecStart")
	before := s.execs("ExecStartPre")
	var removed []string // names that are free when the container starts
	for _, c := range before {
		for _, argv := range c.argvs() {
			verb, rest := docker(argv)
			_, shell := c.script()
			if slices.Contains([]string{"pull", "rm", "kill", "stop"}, verb) && !strings.Contains(c.prefix, "-") && !shell {
				why := "where there is no such container"
				if verb == "pull" {
					why = "where no registry answers"
				}
				s.find(c.at, "ExecStartPre=-"+c.words[0]+" "+verb+" …", "docker %s fails the unit %s", verb, why)
			}
			if verb == "rm" {
				removed = append(removed, rest...)
			}
			if verb == "run" || verb == "create" {
				s.checkTypo(c, rest)
			}
		}
	}
	for _, c := range s.execs("ExecStopPost") { // which is run however the last one ended
		for _, argv := range c.argvs() {
			if verb, rest := docker(argv); verb == "rm" {
				removed = append(removed, rest...)
			}
		}
	}
	for _, c := range runs {
		for _, argv := range c.argvs() {
			verb, rest := docker(argv)
			if verb == "rm" {
				removed = append(removed, rest...)
			}
			if verb == "run" {
				s.checkRun(c, rest, removed)
			}
		}
	}
}

func (s *subject) checkTypo(c placed, words []string) {
	if parseRun(words).typo {
		s.find(c.at, "write --rm", "docker run has no -rm: it exits with 125")
	}
}

func (s *subject) checkRun(c placed, words, removed []string) {
	s.checkTypo(c, words)
	r := parseRun(words)
	if r.detached && !r.watched {
		s.find(c.at, "leave -d and --detach out: the client then stays for as long as the container",
			"docker run in the background: systemd cannot tell when the container ends")
	}
	if s.whole && r.name != "" && !r.replaces && !slices.Contains(removed, r.name) {
		s.find(c.at, "ExecStartPre=-"+c.words[0]+" rm --force "+r.name,
			"the name %s is taken when a client was killed, and the container never starts again", r.name)
	}
}
