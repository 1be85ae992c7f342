package etcd

import (
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"rollcall/internal/discovery"
)

// revision asks for the store's revision.
func revision(t *testing.T, c *Client) int64 {
	t.Helper()
	res, err := c.c.Get(testContext(t), "/")
	if err != nil {
		t.Fatal(err)
	}
	return res.Header.Revision
}

// Each write would cost every watcher an event; a registry at rest costs none.
func TestRegistryWritesNothingWhileNothingChanges(t *testing.T) {
	t.Parallel()
	const prefix = "/services"
	c := open(t, newNode(t).Server)
	a := record(t, prefix, discovery.LayoutJSON, "a", 80, "1")
	k := keepVerifying(t, c, RegistryConfig{Prefix: prefix, TTL: 2 * time.Second}, 200*time.Millisecond)
	k.settle(t, a)
	before := revision(t, c)
	// Twice the TTL: the lease lives only by what is renewed.
	end := time.Now().Add(4 * time.Second)
	lasting(t, "revision stays while the lease is kept", time.Until(end), func() bool {
		return revision(t, c) == before && len(dump(t, c, prefix)) == 1
	})
	// To be told the same again is no change either.
	k.settle(t, a)
	if got := revision(t, c); got != before {
		t.Errorf("revision went from %d to %d though nothing changed", before, got)
	}
	if got := metric(t, k.losses); got != 0 {
		t.Errorf("%v leases were lost", got)
	}
}

// A conflict is looked at again and again, but only looked at.
func TestRegistryWritesNothingWhileAnotherOwnsTheKey(t *testing.T) {
	t.Parallel()
	const prefix = "/services"
	c := open(t, newNode(t).Server)
	put(t, c, prefix+"/web/a", "10.9.9.9:80")
	k := keepVerifying(t, c, RegistryConfig{Prefix: prefix}, 200*time.Millisecond)
	k.Set(records(record(t, prefix, discovery.LayoutJSON, "a", 80, "1"), record(t, prefix, discovery.LayoutJSON, "b", 80, "1")), nil)
	eventually(t, "conflict", func() bool { return len(k.Conflicts()) == 1 && k.Held() == 1 })
	before := revision(t, c)
	lasting(t, "revision stays during a conflict", 2500*time.Millisecond, func() bool { return revision(t, c) == before })
	if got := k.log.count("record belongs to somebody else"); got != 1 {
		t.Errorf("the conflict was logged %d times, want once", got)
	}
}

// The lease is granted anew after its end, not before: a short hiccup of etcd must
// not make every record flap.
func TestRegistryKeepsItsLease(t *testing.T) {
	t.Parallel()
	prefix := unique(t)
	c := open(t, shared)
	k := keep(t, c, RegistryConfig{Prefix: prefix, TTL: 2 * time.Second})
	k.settle(t, record(t, prefix, discovery.LayoutJSON, "a", 80, "1"))
	lease := k.leaseID()
	ttl := func() int64 {
		res, err := c.c.TimeToLive(testContext(t), lease)
		if err != nil {
			t.Fatal(err)
		}
		return res.TTL
	}
	lasting(t, "lease lives", 3*time.Second, func() bool { return ttl() > 0 })
	res, err := c.c.Get(testContext(t), prefix+"/web/a")
	if err != nil || len(res.Kvs) != 1 || clientv3.LeaseID(res.Kvs[0].Lease) != lease || k.leaseID() != lease {
		t.Errorf("record hangs on %v, registry on lease %x, want both on %x (%v)", res, k.leaseID(), lease, err)
	}
}
