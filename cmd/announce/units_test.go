package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"rollcall/internal/cli"
)

// web gives the arguments for a valid application, and more.
func web(more ...string) []string {
	return append([]string{"units", "--name", "web", "--image", "hello:1.2", "--service", "website", "--port", "8080"}, more...)
}

func TestUnitsToStandardOutput(t *testing.T) {
	c := called(nil, web("--fleet", "--env", "GREETING=50% off", "--volume", "data:/var/lib/hello", "--", "serve", "--fast")...)
	if c.code != cli.ExitOK || c.stderr != "" {
		t.Fatalf("exit code %d: %s", c.code, c.stderr)
	}
	for _, want := range []string{
		"# web@.service: ", "\n# web-announce@.service: ", `--env "GREETING=50%% off"`, "--volume data:/var/lib/hello", "hello:1.2",
		" serve --fast\n", "rollcall.version=1.2", "Conflicts=web@*.service", "MachineOf=web@%i.service", "--service website",
	} {
		if !strings.Contains(c.stdout, want) {
			t.Errorf("no %q in:\n%s", want, c.stdout)
		}
	}
	plain := called(nil, web()...).stdout
	if plain == "" || strings.Contains(plain, "X-Fleet") {
		t.Errorf("without --fleet:\n%s", plain)
	}
	if global := called(nil, web("--global")...).stdout; global == "" || strings.Contains(global, "web-announce") {
		t.Errorf("with --global:\n%s", global)
	}
}

// What is set for announcing on a machine changes nothing of the units.
func TestUnitsHaveNoEnvironment(t *testing.T) {
	want := called(nil, web()...).stdout
	got := called(map[string]string{"ANNOUNCE_SERVICE": "other", "ANNOUNCE_ENV": "A=b", "ANNOUNCE_GLOBAL": "true", "ANNOUNCE_HOST": "x"}, web()...).stdout
	if diff := cmp.Diff(want, got); diff != "" || want == "" {
		t.Error(diff)
	}
}

func TestUnitsForTheAPI(t *testing.T) {
	c := called(nil, web("--json", "--instances", "1..2,blue")...)
	if c.code != cli.ExitOK {
		t.Fatalf("exit code %d: %s", c.code, c.stderr)
	}
	var names []string
	for l := range strings.Lines(c.stdout) {
		var body struct {
			Name, DesiredState string
			Options            []struct{ Section, Name, Value string }
		}
		if err := json.Unmarshal([]byte(l), &body); err != nil || body.DesiredState != "launched" || len(body.Options) < 10 {
			t.Fatalf("%v: %s", err, l)
		}
		names = append(names, body.Name)
	}
	want := []string{
		"web@1.service", "web@2.service", "web@blue.service",
		"web-announce@1.service", "web-announce@2.service", "web-announce@blue.service",
	}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Error(diff)
	}
}

// Files that differ are not touched, and then no other is.
func TestUnitsIntoADirectory(t *testing.T) {
	dir := t.TempDir()
	main, side := filepath.Join(dir, "web@.service"), filepath.Join(dir, "web-announce@.service")
	c := called(nil, web("--output", dir)...)
	if want := main + "\n" + side + "\n"; c.code != cli.ExitOK || c.stdout != want {
		t.Fatalf("exit code %d, %q, %s", c.code, c.stdout, c.stderr)
	}
	if c := called(nil, web("--output", dir)...); c.code != cli.ExitOK {
		t.Errorf("again: %s", c.stderr)
	}
	if err := os.WriteFile(side, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(main); err != nil {
		t.Fatal(err)
	}
	c = called(nil, web("--output", dir)...)
	if c.code != cli.ExitFailure || !strings.Contains(c.stderr, side) || !strings.Contains(c.stderr, "hint: --force") {
		t.Errorf("exit code %d: %s", c.code, c.stderr)
	}
	if _, err := os.Stat(main); !os.IsNotExist(err) {
		t.Errorf("something was written: %v", err)
	}
	c = called(nil, web("--output", dir, "--force")...)
	text, err := os.ReadFile(side)
	if c.code != cli.ExitOK || err != nil || !strings.Contains(string(text), "BindsTo=") {
		t.Errorf("exit code %d: %s, %v: %s", c.code, c.stderr, err, text)
	}
	if info, err := os.Stat(side); err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("got %v, %v", info.Mode(), err)
	}
	c = called(nil, web("--output", filepath.Join(dir, "none"))...)
	if c.code != cli.ExitFailure || !strings.Contains(c.stderr, "none") || !strings.Contains(c.stderr, "hint: ") {
		t.Errorf("exit code %d: %s", c.code, c.stderr)
	}
}

// All mistakes come at once, each with the flag's name.
func TestUnitsMistakes(t *testing.T) {
	for want, args := range map[string][]string{
		"--name --image --service --port":       {"units"},
		"--name --env --volume --docker-option": web("--name", "Web", "--env", "=x", "--volume", "x", "--docker-option", "-d"),
		"--port --check-url":                    web("--port", "x", "--check-url", "ftp://x"),
		"--instances":                           web("--instances", "1"),
		"--instances --force":                   web("--json", "--force"),
		"--instances --host":                    web("--json", "--instances", "3..1", "--host", "a b"),
		"--metadata":                            web("--metadata", "a=b"),
		"serve":                                 web("serve"),
		"COMMAND":                               web("--", "a\nb"),
		"--name":                                {"units", "--check", "--name", "web", "x"},
		"FILE":                                  {"units", "--check"},
		"--drain-timeout --stop-timeout --wait-routed": web("--drain-timeout", "0", "--stop-timeout", "2h", "--wait-routed", "-1s"),
	} {
		c := called(nil, args...)
		if c.code != cli.ExitUsage || !strings.Contains(c.stderr, "hint: ") && want != "COMMAND" || c.stdout != "" {
			t.Errorf("%v: exit code %d: %s", args, c.code, c.stderr)
		}
		for _, w := range strings.Fields(want) {
			if !strings.Contains(c.stderr, w+": ") {
				t.Errorf("%v: no word of %s:\n%s", args, w, c.stderr)
			}
		}
	}
}

func TestUnitsChecked(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "web.service")
	if err := os.WriteFile(path, []byte("[Service]\nExecStart=/usr/bin/docker run -d hello\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := called(nil, "units", "--check", path)
	if c.code != cli.ExitFailure || !strings.HasPrefix(c.stdout, path+":2: docker run in the background") || !strings.Contains(c.stdout, "\n   hint: ") || c.stderr != "" {
		t.Errorf("exit code %d: %s%s", c.code, c.stdout, c.stderr)
	}
	called(nil, web("--output", dir)...)
	c = called(nil, "units", "--check", filepath.Join(dir, "web@.service"), filepath.Join(dir, "web-announce@.service"))
	if c.code != cli.ExitOK || c.stdout != "ok: 2 files\n" {
		t.Errorf("exit code %d: %s%s", c.code, c.stdout, c.stderr)
	}
	c = called(nil, "units", "--check", dir, filepath.Join(dir, "none"))
	if c.code != cli.ExitFailure || c.stdout != "" || !strings.Contains(c.stderr, "is a directory") || !strings.Contains(c.stderr, "none") {
		t.Errorf("exit code %d: %s%s", c.code, c.stdout, c.stderr)
	}
}
