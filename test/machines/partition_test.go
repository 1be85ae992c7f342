package machines_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"rollcall/test/machines"
)

// A machine is behind a broken switch for longer than its records live, while everything on it runs
// on, and a scheduler has started a successor of one of its instances elsewhere, under the same
// name. The other machines are rid of what they cannot reach. When the network is whole again,
// nobody touches the successor's record, and no web server sends anything to its predecessor.
func TestPartition(t *testing.T) {
	c := good(t)
	const at = 0
	island, others := c.Machines[at], slices.Delete(slices.Clone(c.Machines), at, at+1)
	kinds := slices.Delete(machines.Proxies(), at, at+1)
	gone := []int{2*at + 1, 2*at + 2}
	schedule(t, island, "old")
	lead(t, c, others[1])
	fromFile(t, c, moved)
	births := birthsOf(t, c)

	u := arrive(t, c, kinds...)
	heal, cut := isolate(t, island)
	out(t, c, others, cut, gone)
	schedule(t, others[0], "new")
	u.flow()
	unharmed(t, u.count(cut))
	holds(t, island, c.Applications()+1)
	born := birth(t, c, moved)

	again := arrive(t, c, kinds...)
	heal()
	healed := time.Now()
	whole(t, c, "after the partition")
	t.Logf("everything is as it should be %.2fs after the network is whole", time.Since(healed).Seconds())
	owned(t, island, others[0])
	if _, err := island.Systemctl(t.Context(), "stop", movedUnit); err != nil {
		t.Error(err) // it withdraws what is its own: nothing
	}
	whole(t, c, "without the predecessor")
	again.flow()
	again.nothingLost()
	if now := birth(t, c, moved); now != born {
		t.Errorf("the successor's record was of revision %d, and the one of today is of revision %d", born, now)
	}
	delete(births, moved)
	unborn(t, c, births, gone...)

	// Whoever comes now meets the successor, and never what it has replaced.
	last := arrive(t, c, machines.Proxies()...)
	last.leave()
	for _, e := range last.at {
		if r := e.gets.Snapshot(); r.Versions["old"] > 0 || r.Versions["new"] == 0 || r.Lost() > 0 {
			t.Errorf("behind %s the versions %v answer, and %d are lost", e.kind, r.Versions, r.Lost())
		}
	}
}

// moved is the instance that is on two machines, and the name of its container; it is announced by
// movedUnit.
const moved, movedUnit = "moved", "announce-moved.service"

// schedule runs it on a machine, until the test ends, and waits until it is routed to.
func schedule(t *testing.T, m *machines.Machine, version string) {
	t.Helper()
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		_, stopped := m.Systemctl(ctx, "stop", movedUnit)
		_, removed := m.Run(ctx, "docker", "rm", "--force", moved)
		if err := errors.Join(stopped, removed); err != nil {
			t.Error(err)
		}
	})
	unit := fmt.Sprintf(`[Service]
Type=notify
EnvironmentFile=/etc/default/rollcall
StateDirectory=rollcall-moved
ExecStart=announce --container %[1]s --instance %[1]s --service %[2]s --listen= --wait-routed 60s
`, moved, machines.Service)
	err := m.Write(t.Context(), "/run/systemd/system/"+movedUnit, "644", unit)
	if err == nil {
		_, err = m.Run(t.Context(), "docker", "run", "--detach", "--name", moved, "--hostname", moved, "--publish", "8080",
			"--label", "rollcall.ignore=true", "--env", "VERSION="+version, "hello:v1")
	}
	if err == nil {
		_, err = m.Systemctl(t.Context(), "daemon-reload")
	}
	if err == nil {
		_, err = m.Systemctl(t.Context(), "start", movedUnit)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// isolate takes a machine off the network, until the test ends at the latest.
func isolate(t *testing.T, m *machines.Machine) (heal func(), cut time.Time) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	heal = sync.OnceFunc(func() {
		if err := m.Heal(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(heal)
	if err := m.Cut(ctx); err != nil {
		t.Fatal(err)
	}
	return heal, time.Now()
}

// holds fails the test unless the web server of a machine that is cut off still has all instances
// that it had: its renderer cannot know what has become of them, and says so.
func holds(t *testing.T, m *machines.Machine, instances int) {
	t.Helper()
	s, err := rendered(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	ready, err := m.Run(t.Context(), "curl", "--silent", "http://127.0.0.1:9402/readyz")
	if s.Instances != instances || s.Error != "" || err != nil || !strings.Contains(ready, "etcd") {
		t.Errorf("cut off, the renderer of %s says %+v and %q (%v), want %d instances and that etcd is away", m.Name, *s, ready, err, instances)
	}
}

// birth gives the revision at which an instance's record came to be. A member of etcd that is cut
// off may be asked first, and would never answer.
func birth(t *testing.T, c *machines.Cluster, instance string) (revision int64) {
	t.Helper()
	err := machines.Poll(t.Context(), "etcd knows "+instance, func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		births, err := c.Births(ctx, machines.Service)
		if revision = births[instance]; err == nil && revision == 0 {
			err = errors.New("there is no record")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return revision
}

// whole waits until everybody and the moved instance serve.
func whole(t *testing.T, c *machines.Cluster, when string) {
	t.Helper()
	err := machines.Poll(t.Context(), "everything is well "+when, func() error {
		return c.Serves(t.Context(), machines.Service, append(everybody(c), moved), c.Machines)
	})
	if err != nil {
		t.Error(err)
	}
}

// owned waits until the predecessor's announcer has said whose the record is.
func owned(t *testing.T, m, owner *machines.Machine) {
	t.Helper()
	err := machines.Poll(t.Context(), m.Name+" says who owns the record", func() error {
		said, err := m.Journal(t.Context(), movedUnit)
		if err == nil && !strings.Contains(said, `owner="`+owner.Name+" ") {
			err = fmt.Errorf("it says\n%s", said)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
