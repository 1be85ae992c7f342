package etcd

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"

	"rollcall/internal/discovery"
)

// as gives the record web/a as this node would announce it.
func as(t *testing.T, prefix, node string) discovery.Record {
	t.Helper()
	r, err := discovery.Encode(prefix, discovery.LayoutJSON, &discovery.Instance{
		Service: "web", Name: "a", Host: "10.0.0.5", Port: 80, Proto: "tcp", Weight: 1, Node: node, Machine: "id-of-" + node,
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Whoever comes second is told who was first, and takes the key when the first, which
// died without a word, loses its lease: not sooner, and without being told.
func TestRegistryWaitsForTheLeaseOfTheDead(t *testing.T) {
	t.Parallel()
	prefix := unique(t)
	c := open(t, shared)
	first := keep(t, c, RegistryConfig{Prefix: prefix, TTL: 2 * time.Second})
	first.settle(t, as(t, prefix, "one"))
	second := keep(t, c, RegistryConfig{Prefix: prefix, TTL: 2 * time.Second})
	second.Set(records(as(t, prefix, "two")), nil)
	eventually(t, "conflict", func() bool { return second.Conflicts()["web/a"] == "one (machine id-of-one)" })
	before := revision(t, c)
	lasting(t, "the first keeps it", 3*time.Second, func() bool { return len(second.Conflicts()) == 1 })
	first.stop()
	second.holds(t, c, as(t, prefix, "two"))
	key := prefix + "/web/a"
	if diff := cmp.Diff([]string{"DELETE " + key, "PUT " + key}, events(t, c, prefix, before)); diff != "" {
		t.Errorf("what a watcher sees (-want +got):\n%s", diff)
	}
}

// Of two announcers of which one may take over, that one has the key from then on.
// The other finds out, says who has it, and waits; it does not take it back.
func TestRegistryDoesNotTakeBackWhatWasTakenOver(t *testing.T) {
	t.Parallel()
	prefix := unique(t)
	c := open(t, shared)
	one, two := as(t, prefix, "one"), as(t, prefix, "two")
	first := keepVerifying(t, c, RegistryConfig{Prefix: prefix, TTL: 2 * time.Second}, 50*time.Millisecond)
	first.settle(t, one)
	before := revision(t, c)
	second := keepVerifying(t, c, RegistryConfig{Prefix: prefix, TTL: 2 * time.Second, Takeover: true}, 50*time.Millisecond)
	second.settle(t, two)
	eventually(t, "the first knows", func() bool { return first.Conflicts()["web/a"] == "two (machine id-of-two)" })
	first.Change(records(as(t, prefix, "one-again")), nil)
	lasting(t, "the second has it", 3*time.Second, func() bool { return cmp.Equal(values(records(two)), dump(t, c, prefix)) })
	key := prefix + "/web/a"
	if diff := cmp.Diff([]string{"PUT " + key}, events(t, c, prefix, before)); diff != "" {
		t.Errorf("what a watcher sees of the takeover (-want +got):\n%s", diff)
	}
	// The first one's end is nothing to the key that is not its own any more.
	if _, err := c.c.Revoke(testContext(t), first.leaseID()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "another lease", func() bool { return metric(t, first.losses) == 1 && len(first.Conflicts()) == 1 })
	if _, err := first.Withdraw(testContext(t)); err != nil {
		t.Fatal(err)
	}
	second.holds(t, c, two)
}

// A lease revoked by hand takes the records with it once, and they come back once,
// all under the next one.
func TestRegistryComesBackOnceAfterItsLeaseIsRevoked(t *testing.T) {
	t.Parallel()
	prefix := unique(t)
	c := open(t, shared)
	k := keep(t, c, RegistryConfig{Prefix: prefix, TTL: 2 * time.Second})
	rs := many(t, prefix, 200) // more than one transaction
	k.settle(t, rs...)
	before, lease := revision(t, c), k.leaseID()
	if _, err := c.c.Revoke(testContext(t), lease); err != nil {
		t.Fatal(err)
	}
	k.holds(t, c, rs...)
	eventually(t, "settled", func() bool { return k.Current() == nil })
	lasting(t, "they stay", 3*time.Second, func() bool { return len(dump(t, c, prefix)) == len(rs) })
	seen := map[string]int{}
	for _, event := range events(t, c, prefix, before) {
		seen[event]++
	}
	for _, r := range rs {
		for _, event := range []string{"DELETE " + r.Keys()[0], "PUT " + r.Keys()[0]} {
			if seen[event] != 1 {
				t.Errorf("%s: %d times, want once", event, seen[event])
			}
		}
	}
	res, err := c.c.Get(testContext(t), prefix+"/", clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	for _, kv := range res.Kvs {
		if got := clientv3.LeaseID(kv.Lease); got != k.leaseID() || got == lease {
			t.Fatalf("%s hangs on lease %x, want it on %x", kv.Key, got, k.leaseID())
		}
	}
}
