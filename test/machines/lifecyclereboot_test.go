package machines_test

import (
	"testing"

	"rollcall/test/machines"
)

// A machine is rebooted in good order. What runs on it is withdrawn before it stops, though the
// machine's own web server, renderer and etcd member stop as well: whoever comes through the
// other machines loses nothing. Afterwards all is back without anybody's help.
func TestReboot(t *testing.T) {
	c := good(t)
	const kind = "apache"
	m := c.Proxy(kind)
	births := birthsOf(t, c)
	load := send(t, c, "nginx", "haproxy")
	if err := m.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	on := []*machines.Machine{c.Machines[0], c.Machines[2]}
	if err := c.Serves(t.Context(), machines.Service, everybody(c, 3, 4), on); err != nil {
		t.Errorf("while it is off: %v", err)
	}
	if err := m.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	settle(t, c, "after the boot")
	load.flows()
	load.nothingLost()
	unborn(t, c, births, 3, 4)
	again := send(t, c, kind)
	again.nothingLost()
}
