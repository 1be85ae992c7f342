package machines_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"rollcall/test/machines"
)

// A machine is killed with its two applications, its web server and its member of etcd, which is
// the one that leads. What it had is soon out of every other web server; when it returns, all of it
// does, without anybody's help.
func TestMachineLost(t *testing.T) {
	c := good(t)
	const at = 2
	victim, others := c.Machines[at], slices.Delete(slices.Clone(c.Machines), at, at+1)
	kinds := slices.Delete(machines.Proxies(), at, at+1)
	gone := []int{2*at + 1, 2*at + 2}
	lead(t, c, victim)
	fromFile(t, c)
	births := birthsOf(t, c)

	u := arrive(t, c, kinds...)
	back, lost := lose(t, victim)
	out(t, c, others, lost, gone)
	u.flow()
	unharmed(t, u.count(lost))

	again := arrive(t, c, kinds...)
	back()
	settle(t, c, "with the machine back")
	again.nothingLost()
	unborn(t, c, births, gone...)
}

// ttl is for how long records outlive their machine, unless somebody says otherwise.
const ttl = 15 * time.Second

// lose ends a machine at once, and gives what brings it back, at the end of the test at the latest.
func lose(t *testing.T, m *machines.Machine) (back func(), lost time.Time) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	back = sync.OnceFunc(func() {
		if err := m.Start(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(back)
	if err := m.Kill(ctx); err != nil {
		t.Fatal(err)
	}
	return back, time.Now()
}

// out waits until the applications that were on a lost machine are in no web server of the others,
// and says when that was. With the leader of etcd gone every lease has its whole time again, from
// the moment when there is another one; what a busy machine adds is no failure.
func out(t *testing.T, c *machines.Cluster, others []*machines.Machine, lost time.Time, gone []int) {
	t.Helper()
	const bound = 2 * ttl
	for _, m := range others {
		at, err := ridOf(t.Context(), m, c.Applications()-len(gone), lost)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("out of the web server of %s after %.2fs", m.Name, at.Sub(lost).Seconds())
		if at.Sub(lost) > bound {
			t.Errorf("the web server of %s had the lost instances for %s, want at most %s", m.Name, at.Sub(lost), bound)
		}
	}
	err := machines.Poll(t.Context(), "the others serve", func() error {
		return c.Serves(t.Context(), machines.Service, everybody(c, gone...), others)
	})
	if err != nil {
		t.Error(err)
	}
}

// unharmed fails the test if a GET is lost that was not in flight when a machine was: it had been
// sent there before, or was written into a connection that was open. No web server can know of
// those before it has waited for an answer, and each such connection can be used once.
func unharmed(t *testing.T, tolls []*toll) {
	t.Helper()
	const (
		open = 8 * time.Second // for twice as long as one is kept that nothing is sent on
		most = 20              // that are open to what one machine has
	)
	for _, toll := range tolls {
		if toll.last > open || toll.late > most {
			t.Errorf("behind %s %d GETs are lost that were begun after the machine was, the last of them %.2fs after it; want at most %d, within %s",
				toll.kind, toll.late, toll.last.Seconds(), most, open)
		}
		// It asks the machine whether it is there, and sends what was there already to another one.
		if toll.kind == "haproxy" && toll.sentBefore > 0 {
			t.Errorf("behind haproxy %d GETs are lost that the machine had got before", toll.sentBefore)
		}
	}
}

// fromFile has Apache read its file, when all members are in there: those that it was given while it
// ran have its own limits for a minute, and one that does not accept a connection is waited for
// as long as server-timeout says.
func fromFile(t *testing.T, c *machines.Cluster, also ...string) {
	t.Helper()
	m := c.Proxy("apache")
	err := machines.Poll(t.Context(), "all members are in Apache's file", func() error {
		s, err := rendered(t.Context(), m)
		if err != nil {
			return err
		}
		file, err := m.Run(t.Context(), append([]string{"cat"}, s.Outputs...)...)
		if err != nil {
			return err
		}
		members := map[string]bool{}
		for _, line := range regexp.MustCompile(`BalancerMember "[^"]+"`).FindAllString(file, -1) {
			members[line] = true
		}
		if len(members) != c.Applications()+len(also) {
			return fmt.Errorf("it has %d: %v", len(members), members)
		}
		return nil
	})
	if err == nil {
		_, err = m.Systemctl(t.Context(), "reload", machines.ProxyUnit("apache"))
	}
	if err == nil {
		err = machines.Poll(t.Context(), "everything is well after a reload of Apache", func() error {
			return c.Serves(t.Context(), machines.Service, append(everybody(c), also...), c.Machines)
		})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// ridOf waits until the renderer of a machine has proven that its web server has so many
// instances, and gives when it had come to that.
func ridOf(ctx context.Context, m *machines.Machine, instances int, since time.Time) (at time.Time, err error) {
	err = machines.Poll(ctx, fmt.Sprintf("%s has %d instances", m.Name, instances), func() error {
		s, err := rendered(ctx, m)
		if err != nil {
			return err
		}
		at = s.LastReload
		if s.LastMembers.After(at) {
			at = s.LastMembers
		}
		if s.Instances != instances || s.Error != "" || s.Desired.Revision != s.Running.Revision || at.Before(since) {
			return fmt.Errorf("it says %+v", *s)
		}
		return nil
	})
	return at, err
}

// A status is some of what a renderer says about itself.
type status struct {
	Desired, Running struct {
		Generation string
		Revision   int64
	}
	OnDisk      string `json:"on_disk"` // a generation, too
	Outputs     []string
	Instances   int
	Stale       bool // not from etcd
	Error       string
	LastReload  time.Time `json:"last_reload"`
	LastMembers time.Time `json:"last_members_changed"`
}

func rendered(ctx context.Context, m *machines.Machine) (*status, error) {
	out, err := m.Run(ctx, "render", "status", "--output", "json")
	if err != nil {
		return nil, err
	}
	var s status
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		return nil, fmt.Errorf("render status on %s: %w\n%s", m.Name, err, out)
	}
	return &s, nil
}

// lead makes a machine's member of etcd the one that leads.
func lead(t *testing.T, c *machines.Cluster, m *machines.Machine) {
	t.Helper()
	err := machines.Poll(t.Context(), "etcd on "+m.Name+" leads", func() error {
		s, err := c.Client().Status(t.Context(), fmt.Sprintf("http://%s:2379", m.Address))
		if err != nil || s.Leader == s.Header.MemberId {
			return err
		}
		heir := strconv.FormatUint(s.Header.MemberId, 16)
		_, err = m.Run(t.Context(), "etcdctl", "--endpoints", c.Endpoints(), "move-leader", heir)
		return errors.Join(err, errors.New("another one leads"))
	})
	if err != nil {
		t.Fatal(err)
	}
}
