package machines_test

import (
	"strings"
	"testing"

	"rollcall/test/machines"
)

// The package is upgraded on one machine after the other while users send requests: none is lost,
// and no record goes, neither those of the sidekicks, which run the old program until somebody
// restarts them, nor those of the machine's announcer, which is restarted.
func TestUpgrade(t *testing.T) {
	c := good(t)
	const version = "1.1.0"
	deb, err := machines.Package(t.Context(), t.TempDir(), version)
	if err != nil {
		t.Fatal(err)
	}
	extra := labelled(t, c)
	births := birthsOf(t, c)
	load := send(t, c)
	for i, m := range c.Machines {
		if i == 0 { // whoever installs from the sources restarts by himself what may be restarted
			if err := m.Tree(t.Context(), t.TempDir(), deb); err != nil {
				t.Fatal(err)
			}
			for _, args := range [][]string{{"daemon-reload"}, {"try-restart", announcer}, {"try-restart", machines.RenderUnit("nginx")}} {
				if _, err := m.Systemctl(t.Context(), args...); err != nil {
					t.Fatal(err)
				}
			}
		} else if err := m.Deb(t.Context(), deb); err != nil {
			t.Fatal(err)
		}
		running(t, m, announcer, version)
		running(t, m, machines.RenderUnit(machines.Proxies()[i]), version)
	}
	want := append([]string{extra}, everybody(c)...)
	if err := c.Serves(t.Context(), machines.Service, want, c.Machines); err != nil {
		t.Error(err)
	}
	load.flows()
	load.nothingLost()
	unborn(t, c, births)
}

// running fails the test unless the process of a unit is of a version.
func running(t *testing.T, m *machines.Machine, unit, version string) {
	t.Helper()
	const script = `exec "/proc/$(systemctl show --property=MainPID --value "$0")/exe" --version`
	said, err := m.Run(t.Context(), "sh", "-c", script, unit)
	if err != nil || !strings.Contains(said, version) {
		t.Errorf("%s on %s is %q (%v), want version %s", unit, m.Name, said, err, version)
	}
}
