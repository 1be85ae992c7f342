// Package pack builds, installs and removes rollcall as its users do: make install, the Debian
// package with its maintainer scripts, the container images. Of systemd it knows only what the
// scripts ask of it; real machines are in test/machines.
package pack

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const root = "../.."

// run runs a command at the top of the repository, or fails the test with all that it printed.
func run(t *testing.T, env []string, name string, args ...string) string {
	t.Helper()
	out, err := try(t, env, name, args...)
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return out
}

func try(t *testing.T, env []string, name string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = root
	// What 'make -j test' tells its commands is nothing for the make that is tested.
	cmd.Env = append(append(os.Environ(), "MAKEFLAGS=", "MFLAGS=", "MAKELEVEL="), env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

// files lists what is below a directory, each with its content.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(dir, func(name string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(name)
		found[strings.TrimPrefix(name, dir)] = string(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
