package units

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// machine makes a directory that systemd-analyze takes for a machine: with the units
// given, those that they mention, and the programs that they run.
func machine(t *testing.T, written []*Unit) string {
	t.Helper()
	root := t.TempDir()
	write := func(path, text string, mode os.FileMode) {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"sysinit", "basic", "shutdown", "multi-user", "network-online"} {
		write("/etc/systemd/system/"+name+".target", "[Unit]\nDescription="+name+"\nDefaultDependencies=no\n", 0o644)
	}
	for _, name := range []string{"docker", "announce"} {
		write("/etc/systemd/system/"+name+".service", "[Service]\nExecStart=/usr/bin/"+name+"\n", 0o644)
		write("/usr/bin/"+name, "#!/bin/sh\n", 0o755)
	}
	write("/bin/sh", "#!/bin/sh\n", 0o755)
	for _, u := range written {
		write("/etc/systemd/system/"+u.Name, u.Text(), 0o644)
	}
	return root
}

// verify gives what systemd has to say of the units.
func verify(t *testing.T, written []*Unit) string {
	t.Helper()
	args := []string{"verify", "--man=no", "--root=" + machine(t, written)}
	for _, u := range written {
		args = append(args, u.InstanceName("1"))
	}
	out, err := exec.CommandContext(t.Context(), "systemd-analyze", args...).CombinedOutput()
	if err != nil {
		return fmt.Sprintf("%s(%v)", out, err)
	}
	return string(out)
}

func TestSystemdHasNothingToSay(t *testing.T) {
	global := hostile()
	global.Global = true
	short := hello()
	short.WaitRouted, short.Fleet = 0, false
	for name, a := range map[string]*App{"hello": hello(), "hostile": hostile(), "global": global, "short": short} {
		if got := verify(t, a.Units()); got != "" {
			t.Errorf("%s: %s", name, got)
		}
	}
	broken := &Unit{Name: "broken@.service"}
	broken.set("Service", "ExecStrat", "/usr/bin/docker")
	if got := verify(t, []*Unit{broken}); !strings.Contains(got, "ExecStrat") {
		t.Errorf("of a broken unit systemd said %q", got)
	}
}

func TestSidekickIsHardened(t *testing.T) {
	u := hello().Units()[1]
	path := filepath.Join(t.TempDir(), u.Name)
	if err := os.WriteFile(path, []byte(u.Text()), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "systemd-analyze", "security", "--no-pager", "--offline=yes", path).CombinedOutput()
	m := regexp.MustCompile(`exposure level for \S+: ([0-9.]+)`).FindSubmatch(out)
	if m == nil {
		t.Fatalf("%v: %s", err, out)
	}
	if level, err := strconv.ParseFloat(string(m[1]), 64); err != nil || level >= 3 {
		t.Errorf("exposure is %s, want less than 3", m[1])
	}
}
