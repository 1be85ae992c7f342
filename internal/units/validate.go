package units

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"rollcall/internal/discovery"
)

// A Mistake is one setting of an App that is wrong.
type Mistake struct {
	Setting string // as on the command line, in lower case; in capitals what is no flag
	Err     error
	Hint    string
}

// Mistakes gives everything that is wrong with the App, except for the syntax of Ports and
// Check, which whoever announces knows.
func (a *App) Mistakes() []Mistake {
	var all []Mistake
	add := func(setting, hint string, err error) {
		if err != nil {
			all = append(all, Mistake{setting, err, hint})
		}
	}
	add("ANNOUNCE", "install it at a path such as /usr/local/bin/announce", checkProgram(a.Announce, a.Global))
	add("name", "for example web: containers are called web-1, units web@1.service", checkName(a.Name))
	add("image", "for example hello:1.2 or registry.example.com:5000/team/hello:1.2", checkImage(a.Image))
	add("service", "for example website", discovery.ValidateName(a.Service))
	if a.Ports == "" {
		add("port", "the port that the container listens on, for example 8080", errors.New("is missing"))
	}
	add("service-version", "one printable line", checkText(a.Version))
	for h := range strings.SplitSeq(a.Host, ",") {
		if a.Host != "" {
			_, err := discovery.CanonicalHostName(strings.TrimSpace(h))
			add("host", "for example www.example.com", err)
		}
	}
	_, err := discovery.CanonicalPath(a.Path)
	add("path", "for example /shop", err)
	add("check-url", "for example http://:8080/healthz", checkText(a.Check))
	for _, e := range a.Env {
		add("env", "KEY=VALUE, or KEY alone for a variable in /etc/default/NAME", checkEnv(e))
	}
	for _, v := range a.Volumes {
		add("volume", "for example data:/var/lib/app or /srv/www:/srv/www:ro", checkVolume(v))
	}
	for _, o := range a.Options {
		add("docker-option", "one word, for example --docker-option=--memory=256m", checkOption(o))
	}
	for _, c := range a.Command {
		add("COMMAND", "", checkText(c))
	}
	for _, m := range a.Metadata {
		add("metadata", "for example role=web", checkMetadata(m))
	}
	if len(a.Metadata) > 0 && !a.Fleet {
		add("metadata", "add --fleet", errors.New("only fleet chooses machines"))
	}
	add("wait-routed", "for example 30s, or 0 for not at all", checkDuration(a.WaitRouted, 0))
	add("drain-timeout", "for example 30s", checkDuration(a.DrainTimeout, time.Second))
	add("stop-timeout", "for example 20s: what the container may take between TERM and KILL", checkDuration(a.StopTimeout, time.Second))
	if len(all) == 0 && a.Fleet {
		add("fleet", "put long commands into the image, and long values into a file that --docker-option=--env-file=FILE names", a.checkLines())
	}
	return all
}

// checkProgram takes no path that would have to be quoted: behind the - of an ExecStop= none can be.
// Nor one that a sidekick does not see, unless it may be anywhere.
func checkProgram(path string, anywhere bool) error {
	if !regexp.MustCompile(`^/[A-Za-z0-9._/+-]+$`).MatchString(path) {
		return fmt.Errorf("%q is no path that a unit can name", path)
	}
	for _, hidden := range []string{"/home/", "/root/", "/run/user/"} {
		if !anywhere && strings.HasPrefix(path, hidden) {
			return fmt.Errorf("%s is hidden from its own unit, which sees nothing of %s (ProtectHome=)", path, hidden)
		}
	}
	return nil
}

// checkName has to satisfy systemd, Docker and etcd: it is in the names of units, containers and records.
func checkName(name string) error {
	if err := discovery.ValidateName(name); err != nil {
		return err
	}
	if len(name) > 63 {
		return fmt.Errorf("name %q is longer than 63 characters", name)
	}
	return nil
}

// CheckInstance says whether a replica may have this name: that of its container and
// of its record end with it.
func CheckInstance(name string) error {
	if err := discovery.ValidateName(name); err != nil {
		return err
	}
	if len(name) > 63 {
		return fmt.Errorf("instance %q is longer than 63 characters", name)
	}
	return nil
}

// checkImage checks the form of a reference, as Docker's documentation of `docker tag` has it.
func checkImage(image string) error {
	const (
		domain    = `([a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?(\.[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?)*(:[0-9]+)?/)?`
		component = `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
		suffix    = `(:[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127})?(@[a-z0-9]+:[0-9a-f]{32,})?`
	)
	switch {
	case image == "":
		return errors.New("is missing")
	case len(image) > 512 || !regexp.MustCompile(`^`+domain+component+`(/`+component+`)*`+suffix+`$`).MatchString(image):
		return fmt.Errorf("%.80q is not an image", image)
	}
	return nil
}

// checkText keeps out what a line of a unit cannot hold.
func checkText(s string) error {
	switch {
	case !utf8.ValidString(s):
		return fmt.Errorf("%.80q is not valid UTF-8", s)
	case strings.ContainsFunc(s, unicode.IsControl):
		return fmt.Errorf("%.80q holds a line break or another control character", s)
	}
	return nil
}

func checkEnv(e string) error {
	key, _, _ := strings.Cut(e, "=")
	if key == "" || strings.ContainsAny(key, " ") {
		return fmt.Errorf("%.80q is not KEY=VALUE", e)
	}
	return checkText(e)
}

func checkVolume(v string) error {
	source, target, ok := strings.Cut(v, ":")
	if !ok || source == "" || !strings.HasPrefix(target, "/") {
		return fmt.Errorf("%.80q is not SOURCE:/PATH", v)
	}
	return checkText(v)
}

// checkOption refuses what is no option in one word, and what the unit itself says.
func checkOption(o string) error {
	name, _, value := strings.Cut(o, "=")
	switch {
	case !strings.HasPrefix(o, "--") || len(name) < 3:
		return fmt.Errorf("%.80q does not begin with --", o)
	case slices.Contains([]string{"--detach", "--name", "--rm", "--restart", "--stop-timeout", "--tty", "--interactive"}, name):
		return fmt.Errorf("%s cannot be chosen: systemd needs the container in the foreground, under its name", name)
	case !value && !flagOfRun(name):
		return fmt.Errorf("%.80q has no value", o)
	}
	return checkText(o)
}

// checkMetadata obeys fleet, which ignores what has another form without a word.
func checkMetadata(m string) error {
	key, value, _ := strings.Cut(m, "=")
	if key == "" || value == "" || strings.ContainsAny(m, " \t\"%") || strings.Count(m, "=") != 1 {
		return fmt.Errorf("%.80q is not KEY=VALUE without blanks", m)
	}
	return checkText(m)
}

func checkDuration(d, least time.Duration) error {
	if d < least || d > time.Hour {
		return fmt.Errorf("%s is not from %s to 1h", d, least)
	}
	return nil
}

// checkLines looks for what fleet would refuse. It passes each option on in one line.
func (a *App) checkLines() error {
	for _, u := range a.Units() {
		for _, o := range u.Options() {
			if n := len(o.Name) + 1 + len(o.Value); n > maxLine {
				return fmt.Errorf("%s of %s has %d bytes, and fleet takes %d", o.Name, u.Name, n, maxLine)
			}
		}
	}
	return nil
}
