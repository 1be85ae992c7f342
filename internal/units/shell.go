package units

import (
	"path"
	"slices"
	"strings"
)

// script gives what a command has a shell run, if that is what it does.
func (c *command) script() (string, bool) {
	if !slices.Contains([]string{"sh", "bash", "dash", "ash", "ksh", "zsh"}, c.program()) {
		return "", false
	}
	for i, w := range c.words[1:] {
		if !strings.HasPrefix(w, "-") {
			return "", false
		}
		if !strings.HasPrefix(w, "--") && strings.Contains(w, "c") && i+2 < len(c.words) {
			return c.words[i+2], true
		}
	}
	return "", false
}

// argvs gives the command, or the simple commands of the script that it has a shell run.
// A shell's grammar is far larger than this: what is looked for stands at their beginnings.
func (c *command) argvs() [][]string {
	script, ok := c.script()
	if !ok {
		return [][]string{c.words}
	}
	separators := strings.NewReplacer("&&", "\n", "||", "\n", ";", "\n", "|", "\n", "&", "\n", "(", "\n", ")", "\n")
	var all [][]string
	for l := range strings.SplitSeq(separators.Replace(script), "\n") {
		words := strings.Fields(strings.NewReplacer(`"`, "", `'`, "").Replace(l))
		for len(words) > 0 && (leads(words[0]) || isVariable(strings.SplitN(words[0], "=", 2)[0]) && strings.Contains(words[0], "=")) {
			words = words[1:]
		}
		if len(words) > 0 {
			all = append(all, words)
		}
	}
	return all
}

// leads says whether a word of a script only stands before a command.
func leads(word string) bool {
	return slices.Contains([]string{"while", "until", "if", "then", "else", "elif", "do", "!", "{", "exec", "sudo", "env"}, word)
}

// isVariable says whether a shell and systemd would call a variable so.
func isVariable(s string) bool {
	for i, c := range []byte(s) {
		letter := c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}

// docker gives the subcommand of docker that is run, and what follows it.
func docker(argv []string) (verb string, rest []string) {
	if len(argv) == 0 || path.Base(argv[0]) != "docker" && path.Base(argv[0]) != "podman" {
		return "", nil
	}
	rest = argv[1:]
	for len(rest) > 0 && strings.HasPrefix(rest[0], "-") {
		switch rest[0] {
		case "-H", "--host", "-c", "--context", "--config", "-l", "--log-level", "--tlscacert", "--tlscert", "--tlskey":
			rest = rest[1:]
		}
		rest = rest[min(1, len(rest)):]
	}
	if len(rest) > 1 && (rest[0] == "container" || rest[0] == "image") {
		rest = rest[1:]
	}
	if len(rest) == 0 {
		return "", nil
	}
	return rest[0], rest[1:]
}

// flagOfRun says whether an option of docker run takes no value.
func flagOfRun(name string) bool {
	return slices.Contains([]string{
		"--detach", "--disable-content-trust", "--help", "--init", "--interactive", "--no-healthcheck", "--oom-kill-disable",
		"--privileged", "--publish-all", "--quiet", "--read-only", "--rm", "--sig-proxy", "--tty", "--replace", "--tls-verify", "--rmi",
	}, name)
}

// A dockerRun is what the linter has to know of the options of docker run.
type dockerRun struct {
	name           string
	detached, typo bool // -rm was meant to be --rm
	replaces       bool // podman's --replace
	watched        bool // podman's monitor stays in the unit, and systemd knows it
}

// parseRun reads the options before the image.
func parseRun(words []string) (r dockerRun) {
	for i := 0; i < len(words) && strings.HasPrefix(words[i], "-") && len(words[i]) > 1; i++ {
		w := words[i]
		if w == "-rm" {
			r.typo = true
			continue
		}
		if !strings.HasPrefix(w, "--") {
			for j, c := range w[1:] {
				switch {
				case c == 'd':
					r.detached = true
					continue
				case strings.ContainsRune("itPq", c):
					continue
				case j+2 == len(w): // its value is the next word
					i++
				}
				break
			}
			continue
		}
		name, value, has := strings.Cut(w, "=")
		if !has && !flagOfRun(name) && i+1 < len(words) {
			i++
			value = words[i]
		}
		switch name {
		case "--name":
			r.name = value
		case "--detach":
			r.detached = value != "false"
		case "--sdnotify", "--conmon-pidfile":
			r.watched = r.watched || value == "conmon" || name == "--conmon-pidfile"
		case "--replace":
			r.replaces = value != "false"
		}
	}
	return r
}
