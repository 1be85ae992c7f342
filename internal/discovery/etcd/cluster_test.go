package etcd

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rollcall/internal/discovery"
)

// leader gives the server that leads the cluster.
func leader(t *testing.T, ps []*process) *process {
	t.Helper()
	var found *process
	eventually(t, "leader", func() bool {
		for _, p := range ps {
			if p.cmd == nil {
				continue
			}
			s, err := openURL(t, p.url).c.Status(testContext(t), p.url)
			if err == nil && s.Leader == s.Header.MemberId {
				found = p
				return true
			}
		}
		return false
	})
	return found
}

// A cluster that loses its leader keeps every lease, and so does who is connected to
// the server that died: nobody sees an event but those of what changes.
func TestRegistryThroughTheLossOfALeader(t *testing.T) {
	t.Parallel()
	const prefix = "/services"
	nodes := startCluster(t, 3)
	c := openAll(t, nodes...)
	k := keep(t, c, RegistryConfig{Prefix: prefix, TTL: 3 * time.Second})
	w := watch(t, openAll(t, nodes...), prefix)
	a := record(t, prefix, discovery.LayoutHostPort, "a", 80, "")
	k.settle(t, a)
	w.sees(t, "web/a=10.0.0.5:80")
	before := revision(t, c)

	first := leader(t, nodes)
	first.kill()
	b := record(t, prefix, discovery.LayoutHostPort, "b", 81, "")
	k.change(t, records(b))
	w.sees(t, "web/a=10.0.0.5:80 web/b=10.0.0.5:81")
	lasting(t, "the lease is kept under the new leader", 4*time.Second, func() bool { return w.last().Len() == 2 })

	// It comes back, and the cluster loses the leader that followed it: without the
	// one that was away there is no majority now.
	first.start()
	first.answers()
	second := leader(t, nodes)
	second.kill()
	k.change(t, nil, "web/a")
	w.sees(t, "web/b=10.0.0.5:81")

	survivor := openURL(t, first.url)
	want := []string{"PUT " + prefix + "/web/b", "DELETE " + prefix + "/web/a"}
	if diff := cmp.Diff(want, events(t, survivor, prefix, before)); diff != "" {
		t.Errorf("what a watcher at the server that came back sees of it all (-want +got):\n%s", diff)
	}
	if got := metric(t, k.losses); got != 0 {
		t.Errorf("%v leases were lost, want none", got)
	}
}

// Without a majority nothing can be written and no lease ends. What changed is
// written when there is one again.
func TestRegistryThroughTheLossOfTheMajority(t *testing.T) {
	t.Parallel()
	const prefix = "/services"
	nodes := startCluster(t, 3)
	c := openAll(t, nodes...)
	k := keep(t, c, RegistryConfig{Prefix: prefix, TTL: 2 * time.Second})
	a, b := record(t, prefix, discovery.LayoutJSON, "a", 80, "1"), record(t, prefix, discovery.LayoutJSON, "b", 81, "1")
	k.settle(t, a)
	before := revision(t, c)
	nodes[0].kill()
	nodes[1].kill()
	k.Change(records(b), nil)
	eventually(t, "unhealthy", func() bool { return k.Healthy() != nil })
	if err := k.Current(); err == nil {
		t.Error("Current() = nil though nothing can be written")
	}
	nodes[0].start()
	if err := k.Settled(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"PUT " + prefix + "/web/b"}, events(t, c, prefix, before)); diff != "" {
		t.Errorf("what a watcher sees (-want +got):\n%s", diff)
	}
	eventually(t, "healthy again", func() bool { return k.Healthy() == nil })
}
