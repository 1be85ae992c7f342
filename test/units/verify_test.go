package units

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// installed writes the units where systemd-analyze finds them, and beside them something executable in the
// place of each program of /usr/bin: what a machine has does not matter.
func installed(t *testing.T, all []unit) string {
	t.Helper()
	dir := t.TempDir()
	bin := filepath.Join(dir, "bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, u := range all {
		content := strings.ReplaceAll(strings.Join(u.lines, "\n"), "/usr/bin/", bin+"/")
		if err := os.WriteFile(filepath.Join(dir, u.name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		for _, commands := range u.commands() {
			for _, words := range commands {
				if name, ok := strings.CutPrefix(words[0], "/usr/bin/"); ok {
					if err := os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\n"), 0o755); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
	}
	return dir
}

// verify gives what systemd says of a unit in the directory.
func verify(dir, name string) (string, error) {
	c := exec.Command("systemd-analyze", "verify", "--recursive-errors=no", filepath.Join(dir, name))
	c.Env = append(os.Environ(), "SYSTEMD_UNIT_PATH="+dir+":", "LC_ALL=C")
	out, err := c.CombinedOutput()
	return string(out), err
}

func TestSystemdTakesThem(t *testing.T) {
	all := units(t)
	dir := installed(t, all)
	for _, u := range all {
		for _, name := range u.instances() {
			t.Run(name, func(t *testing.T) {
				if said, err := verify(dir, name); err != nil || said != "" {
					t.Errorf("systemd-analyze verify: %v, and says\n%s", err, said)
				}
			})
		}
	}
}

// TestSystemdSeesMistakes shows that the silence above means something.
func TestSystemdSeesMistakes(t *testing.T) {
	for name, content := range map[string]string{
		"unknown key":     "[Service]\nExecStart=/usr/bin/announce\nWatchdogSecs=8\n",
		"unknown program": "[Service]\nExecStart=/usr/libexec/rollcall-none\n",
		"bad value":       "[Service]\nExecStart=/usr/bin/announce\nRestart=ever\n",
	} {
		t.Run(name, func(t *testing.T) {
			dir := installed(t, []unit{parse("wrong.service", content)})
			if said, _ := verify(dir, "wrong.service"); said == "" {
				t.Error("systemd-analyze verify says nothing")
			}
		})
	}
}
