package units

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestPrograms holds the units to the programs as they are.
func TestPrograms(t *testing.T) {
	bin := t.TempDir()
	if out, err := exec.Command("go", "build", "-o", bin+"/", "rollcall/cmd/announce", "rollcall/cmd/render").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	t.Run("commands exist", func(t *testing.T) { commandsExist(t, bin) })
	t.Run("unknown flags are seen", func(t *testing.T) { unknownFlagsAreSeen(t, bin) })
	t.Run("settings are all there", func(t *testing.T) { settingsAreAllThere(t, bin) })
}

// commandsExist asks each program for help on what a unit runs: it parses all flags first, and there is
// no help where one of them does not exist.
func commandsExist(t *testing.T, bin string) {
	asked := 0
	for _, u := range units(t) {
		for key, commands := range u.commands() {
			for _, words := range commands {
				if asks(t, bin, u, key, words) {
					asked++
				}
			}
		}
	}
	if asked < 8 {
		t.Errorf("%d commands are known, want 8 at least", asked)
	}
}

// asks is false for a program that nobody here knows.
func asks(t *testing.T, bin string, u unit, key string, words []string) bool {
	t.Helper()
	specifiers := strings.NewReplacer("%i", "nginx", "%H", "core-01", "%p", "web", "%%", "%")
	for i := range words {
		words[i] = specifiers.Replace(words[i])
	}
	name := filepath.Base(words[0])
	usage := "Usage:\n  " + name
	switch name {
	case "announce", "render":
		words[0] = filepath.Join(bin, name)
		if len(words) > 1 && !strings.HasPrefix(words[1], "-") {
			usage += " " + words[1]
		}
	case "docker":
		words[0], usage = "docker", "Usage:  docker "+words[1]
	default:
		return false
	}
	// Last of docker's own flags, not of the container's.
	argv := slices.Concat(words[:1], []string{"--help"}, words[1:])
	if len(words) > 1 && !strings.HasPrefix(words[1], "-") {
		argv = slices.Concat(words[:2], []string{"--help"}, words[2:])
	}
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	if err != nil || !strings.Contains(strings.ReplaceAll(string(out), "docker container ", "docker "), usage) {
		t.Errorf("%s, %s=%s: %v\n%s", u.name, key, strings.Join(words, " "), err, out)
	}
	return true
}

// unknownFlagsAreSeen shows that asking for help means something.
func unknownFlagsAreSeen(t *testing.T, bin string) {
	lines := []string{bin + "/announce --help --drain 3s", bin + "/render nginx --help --supervised", "docker create --help --nome x"}
	for _, line := range lines {
		words := strings.Fields(line)
		if out, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err == nil {
			t.Errorf("%s succeeds:\n%s", line, out)
		}
	}
}

// TestNamesExist looks for units of ours that are called by another name than they have.
func TestNamesExist(t *testing.T) {
	known := []string{
		"network-online.target", "nss-lookup.target", "multi-user.target", "docker.service", "containerd.service",
		"podman.socket", "nginx.service", "apache2.service", "haproxy.service",
	}
	all := units(t)
	for _, u := range all {
		known = append(known, u.instances()...)
	}
	seen := 0
	for _, u := range all {
		for _, key := range []string{"After", "Before", "Wants", "Requires", "BindsTo", "PartOf", "Upholds", "WantedBy"} {
			for _, value := range slices.Concat(u.settings["Unit"][key], u.settings["Install"][key]) {
				for _, name := range strings.Fields(strings.ReplaceAll(value, "%i", "1")) {
					seen++
					if !slices.Contains(known, name) {
						t.Errorf("%s: %s=%s: there is no such unit", u.name, key, name)
					}
				}
			}
		}
	}
	if seen < 20 {
		t.Errorf("%d names, want 20 at least", seen)
	}
}

// TestFleetTakesThem holds [X-Fleet] to fleet 1.0's rules.
func TestFleetTakesThem(t *testing.T) {
	options := regexp.MustCompile(`^(MachineID|MachineOf|MachineMetadata|Conflicts|Global|Replaces)$`)
	for _, u := range units(t) {
		fleet, there := u.settings["X-Fleet"]
		if there != (u.name != "etcd.service") { // in which fleet itself keeps everything
			t.Errorf("%s: [X-Fleet] is there: %t", u.name, there)
		}
		for option, values := range fleet {
			if !options.MatchString(option) {
				t.Errorf("%s: fleet ignores %s=", u.name, option)
			}
			if option != "Global" && option != "MachineMetadata" && fleet["Global"] != nil {
				t.Errorf("%s: fleet 1.0 refuses %s=%s of a global unit, or ignores it", u.name, option, values)
			}
		}
		for section, keys := range u.settings {
			for key, values := range keys {
				for _, value := range values { // in one line, as fleet writes it
					if n := len(key + "=" + value); n > 2048 {
						t.Errorf("%s: %s of [%s]: %d bytes, fleet takes 2048 in a line", u.name, key, section, n)
					}
				}
			}
		}
	}
}
