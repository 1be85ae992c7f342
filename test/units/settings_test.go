package units

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// A flag is a flag as --help shows it.
type flag struct {
	kind      string // the word for its value; "" for one that is true or false
	variables []string
	value     string // the default
}

// flags gives those of a command that have a variable, by the variables' names.
func flags(t *testing.T, argv ...string) map[string]flag {
	t.Helper()
	out, err := exec.Command(argv[0], append(argv[1:], "--help")...).Output()
	if err != nil {
		t.Fatalf("%s --help: %v", argv, err)
	}
	line := regexp.MustCompile(`(?m)^ +(?:-\w, )?--([a-z-]+)(?: (\S+))?  +.*\(env ([A-Z0-9_, ]+)\)(?: \(default (.*)\))?$`)
	found := map[string]flag{}
	for _, m := range line.FindAllStringSubmatch(string(out), -1) {
		f := flag{kind: m[2], variables: strings.Split(m[3], ", "), value: strings.Trim(m[4], `"[]`)}
		for _, variable := range f.variables {
			found[variable] = f
		}
	}
	if len(found) < 20 {
		t.Fatalf("%s --help names %d variables:\n%s", argv, len(found), out)
	}
	return found
}

// settingsAreAllThere holds the environment file to what the programs say of themselves.
func settingsAreAllThere(t *testing.T, bin string) {
	want := flags(t, bin+"/announce")
	for _, proxy := range []string{"nginx", "apache", "haproxy", "file"} {
		for variable, f := range flags(t, bin+"/render", proxy) {
			want[variable] = f
		}
	}
	delete(want, "RENDER_ONCE") // these two end, and are no way to run a service
	delete(want, "RENDER_DRY_RUN")

	got := settings(t)
	for variable, f := range want {
		value, ok := got[variable]
		switch {
		case !ok:
			t.Errorf("%s is missing", variable)
		case !same(value, f):
			t.Errorf("%s=%s, want %s", variable, value, f.value)
		}
	}
	others := []string{"COREOS_PRIVATE_IPV4", "COREOS_PUBLIC_IPV4", "DOCKER_HOST", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"}
	for variable := range got {
		if _, ok := want[variable]; !ok && !slices.Contains(others, variable) {
			t.Errorf("%s is nobody's", variable)
		}
	}
}

// same compares what stands in the file with a flag's default. Help does not show what is zero.
func same(value string, f flag) bool {
	zero := map[string]string{"": "false", "DURATION": "0s", "TIME": "0s"}
	if f.value == "" {
		return value == zero[f.kind]
	}
	a, errA := time.ParseDuration(value)
	b, errB := time.ParseDuration(f.value)
	return value == f.value || errA == nil && errB == nil && a == b
}

// settings reads the environment file, in which everything is commented out, and explained above.
func settings(t *testing.T) map[string]string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(folder, "rollcall.env"))
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for i, line := range strings.Split(string(content), "\n") {
		if line != "" && !strings.HasPrefix(line, "#") {
			t.Errorf("rollcall.env:%d: %s is in force", i+1, line)
		}
		variable, value, ok := strings.Cut(strings.TrimPrefix(line, "#"), "=")
		if !ok || strings.Contains(variable, " ") {
			continue
		}
		if _, twice := found[variable]; twice {
			t.Errorf("rollcall.env:%d: %s is there twice", i+1, variable)
		}
		found[variable] = value
	}
	return found
}

// TestContainersGetTheirSettings holds the balancer's unit to passing on every setting that means
// something in a container.
func TestContainersGetTheirSettings(t *testing.T) {
	beside := []string{ // a server on the machine, or what the image says itself
		"RENDER_OUTPUT", "RENDER_CONFIG", "RENDER_PID_FILE", "RENDER_CONTROL", "RENDER_RUN_DIR", "RENDER_UNIT", "RENDER_CONTAINER",
		"RENDER_VALIDATE", "RENDER_RELOAD", "RENDER_CONFIRM", "RENDER_SHELL", "RENDER_SUPERVISE", "RENDER_EMBED_ETCD",
	}
	for _, u := range units(t) {
		if u.name != "balancer@.service" {
			continue
		}
		var passed []string
		for _, words := range slices.Concat(u.commands()["ExecStartPre"], u.commands()["ExecStart"]) {
			for i, word := range words {
				if word == "--env" && i+1 < len(words) {
					variable, _, _ := strings.Cut(words[i+1], "=")
					passed = append(passed, variable)
				}
			}
		}
		var want []string
		for variable := range settings(t) {
			if (strings.HasPrefix(variable, "RENDER_") || strings.HasPrefix(variable, "ETCDCTL_")) && !slices.Contains(beside, variable) {
				want = append(want, variable)
			}
		}
		slices.Sort(passed)
		slices.Sort(want)
		if !slices.Equal(passed, want) {
			t.Errorf("passed on:\n%s\nwant:\n%s", passed, want)
		}
		return
	}
	t.Error("there is no balancer@.service")
}
