package units

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// defaultTimeout is systemd's own, for starting and for stopping.
const defaultTimeout = 90 * time.Second

// checkTimes looks for times that cut each other short.
func (s *subject) checkTimes() {
	for _, c := range s.execs("ExecStart", "ExecStartPost", "ExecStartPre") {
		text, loops := c.script()
		if !loops && slices.ContainsFunc(c.words, func(w string) bool { return strings.Contains(w, "registrator") }) {
			text = strings.Join(c.words, " ")
		}
		if ttl, refresh := shortest(ttls(text)), longest(sleeps(text)); ttl > 0 && refresh >= ttl {
			s.find(c.at, "refresh at least three times within the TTL",
				"the record lives for %s and is refreshed every %s: it is gone in between", ttl, refresh)
		}
	}
	stop, stopAt := s.timeout("TimeoutStopSec")
	start, startAt := s.timeout("TimeoutStartSec")
	if !s.whole {
		return
	}
	for _, c := range s.execs("ExecStart") {
		if c.program() != "announce" || len(c.words) > 1 && !strings.HasPrefix(c.words[1], "-") {
			continue
		}
		drain, said := flagOf(c.words, "--drain-timeout")
		if !said {
			drain = 30 * time.Second
		}
		if stop <= drain {
			s.find(orElse(stopAt, c.at),
				"make it longer than --drain-timeout", "systemd kills announce after %s, and it waits for balancers for %s", stop, drain)
		}
		wait, _ := flagOf(c.words, "--wait-routed")
		notify, _ := s.last("Service", "Type")
		if wait > 0 && !strings.HasPrefix(notify.Value, "notify") {
			s.find(c.at, "Type=notify", "--wait-routed makes nobody wait without Type=notify")
		} else if wait > 0 && start <= wait {
			s.find(orElse(startAt, c.at),
				"make it longer than --wait-routed", "systemd gives the start up after %s, and announce waits for %s", start, wait)
		}
	}
	s.checkStops(stop, stopAt)
}

// checkStops adds up what the commands that stop a unit may take.
func (s *subject) checkStops(stop time.Duration, at located) {
	for _, c := range s.execs("ExecStop") {
		for _, argv := range c.argvs() {
			verb, rest := docker(argv)
			if verb != "stop" {
				continue
			}
			grace := 10 * time.Second // docker's own
			for i, w := range rest {
				name, value, has := strings.Cut(w, "=")
				if !slices.Contains([]string{"-t", "--time", "--timeout"}, name) {
					continue
				}
				if !has && i+1 < len(rest) {
					value = rest[i+1]
				}
				if n, err := strconv.Atoi(value); err == nil {
					grace = time.Duration(n) * time.Second
				}
			}
			if stop <= grace {
				s.find(orElse(at, c.at),
					"make it longer than the time that docker stop gives",
					"systemd kills docker stop after %s, and it gives the container %s", stop, grace)
			}
		}
	}
}

// timeout gives a limit of the unit's, and where it is said.
func (s *subject) timeout(name string) (time.Duration, located) {
	limit, at := defaultTimeout, located{}
	for _, e := range s.entries {
		if e.Section == "Service" && (e.Name == name || e.Name == "TimeoutSec") {
			if d, ok := parseSpan(e.Value); ok {
				limit, at = d, e
			}
		}
	}
	return limit, at
}

func orElse(at, other located) located {
	if at.Line == 0 {
		return other
	}
	return at
}

// flagOf reads a duration among a Go program's flags.
func flagOf(words []string, flag string) (time.Duration, bool) {
	for i, w := range words {
		name, value, has := strings.Cut(w, "=")
		if name != flag {
			continue
		}
		if !has && i+1 < len(words) {
			value = words[i+1]
		}
		d, err := time.ParseDuration(value)
		return d, err == nil
	}
	return 0, false
}

// ttls finds the lifetimes of records in a command: etcdctl's, curl's and registrator's.
func ttls(text string) []time.Duration {
	return spans(text, `(?:-ttl[= ]["']?|\bttl=["']?|lease grant )(\d+)()\b`)
}

// sleeps finds how long a loop waits, or registrator before it refreshes.
func sleeps(text string) []time.Duration {
	return spans(text, `(?:\bsleep |-ttl-refresh[= ])["']?(\d+)([smhd]?)\b`)
}

func spans(text, pattern string) []time.Duration {
	var all []time.Duration
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		if n, err := strconv.Atoi(m[1]); err == nil && n < 1_000_000 {
			all = append(all, time.Duration(n)*scaleOf(m[2]))
		}
	}
	return all
}

func shortest(all []time.Duration) time.Duration {
	if len(all) == 0 {
		return 0
	}
	return slices.Min(all)
}

func longest(all []time.Duration) time.Duration {
	if len(all) == 0 {
		return 0
	}
	return slices.Max(all)
}
