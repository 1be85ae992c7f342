package machines_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"rollcall/test/machines"
)

const announcer = "announce.service"

// The machine's own announcer keeps containers that have no sidekick: it may be restarted and
// killed, and no record goes; a stop withdraws what it has announced.
func TestGlobalAnnouncer(t *testing.T) {
	c := good(t)
	sidekicksAlone(t, c)
	extra := labelled(t, c)
	playAll(t, c, []step{
		{name: "restart and kill", do: func(ctx context.Context, c *machines.Cluster) error {
			return errors.Join(systemctl(1, "restart", announcer)(ctx, c), killUnit(1, announcer)(ctx, c))
		}},
		{name: "hang", do: hang, late: true}, // systemd's watchdog replaces it before its lease ends
	}, extra)
	t.Run("stop", func(t *testing.T) {
		load := send(t, c)
		m := c.Home(1)
		if _, err := m.Systemctl(t.Context(), "stop", announcer); err != nil {
			t.Fatal(err)
		}
		if revision := birthsOf(t, c)[extra]; revision != 0 {
			t.Errorf("after the stop there is still a record of %s, of revision %d", extra, revision)
		}
		if _, err := m.Run(t.Context(), "docker", "kill", "extra"); err != nil {
			t.Fatal(err)
		}
		load.flows()
		load.nothingLost()
	})
}

// hang stops the announcer of the first machine without ending it, and waits for the next one.
func hang(ctx context.Context, c *machines.Cluster) error {
	return replaced(ctx, c.Home(1), announcer, func() error {
		_, err := c.Home(1).Systemctl(ctx, "kill", "--signal=STOP", "--kill-who=main", announcer)
		return err
	})
}

// sidekicksAlone fails the test if anything but sidekicks has announced the applications: what
// else has takes no part in their stop.
func sidekicksAlone(t *testing.T, c *machines.Cluster) {
	t.Helper()
	image, err := c.Births(t.Context(), "hello") // what the machine's announcer would call them
	if err != nil || len(image) > 0 {
		t.Errorf("the applications are announced beside their sidekicks: %v (%v)", image, err)
	}
	for _, m := range c.Machines {
		said, err := m.Journal(t.Context(), announcer)
		if err != nil || strings.Contains(said, "belongs to somebody else") {
			t.Errorf("the announcer of %s claims what is a sidekick's (%v):\n%s", m.Name, err, said)
		}
	}
}

// labelled runs a container on the first machine that asks by its labels to be announced, waits
// until it serves, and gives its instance. It ends with the test.
func labelled(t *testing.T, c *machines.Cluster) (instance string) {
	t.Helper()
	m := c.Home(1)
	instance = m.Name + "-extra"
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		_, stopped := m.Systemctl(ctx, "stop", announcer)
		_, removed := m.Run(ctx, "docker", "rm", "--force", "extra")
		_, started := m.Systemctl(ctx, "start", announcer)
		if err := errors.Join(stopped, removed, started); err != nil {
			t.Error(err)
		}
	})
	_, err := m.Run(t.Context(), "docker", "run", "--detach", "--name", "extra", "--hostname", instance, "--publish", "8080",
		"--label", "rollcall.service="+machines.Service, "hello:v1")
	if err == nil {
		_, err = m.Run(t.Context(), "announce", "wait", machines.Service+"/"+instance, "--endpoints", c.Endpoints())
	}
	if err != nil {
		t.Fatal(err)
	}
	return instance
}
