package etcd

import (
	"testing"
	"time"

	"rollcall/internal/discovery"
)

func TestRegistryPutsBackWhatWasDeletedByHand(t *testing.T) {
	t.Parallel()
	prefix := unique(t)
	c := open(t, shared)
	k := keepVerifying(t, c, RegistryConfig{Prefix: prefix}, 50*time.Millisecond)
	a, b := record(t, prefix, discovery.LayoutJSON, "a", 80, "1"), record(t, prefix, discovery.LayoutDirectory, "b", 81, "1")
	k.settle(t, a, b)
	del(t, c, prefix+"/web/a")
	del(t, c, prefix+"/web/b/port")
	k.holds(t, c, a, b)
	if got := metric(t, k.losses); got != 0 {
		t.Errorf("%v leases were lost, want none", got)
	}
}

func TestRegistryAnnouncesAgainAfterItsLeaseIsRevoked(t *testing.T) {
	t.Parallel()
	prefix := unique(t)
	c := open(t, shared)
	k := keep(t, c, RegistryConfig{Prefix: prefix, TTL: 2 * time.Second})
	a, b := record(t, prefix, discovery.LayoutJSON, "a", 80, "1"), record(t, prefix, discovery.LayoutJSON, "b", 81, "1")
	k.settle(t, a, b)
	if _, err := c.c.Revoke(testContext(t), k.leaseID()); err != nil {
		t.Fatal(err)
	}
	k.holds(t, c, a, b)
	eventually(t, "settled", func() bool { return k.Current() == nil })
	if got := metric(t, k.losses); got != 1 {
		t.Errorf("rollcall_announce_lease_losses_total is %v, want 1", got)
	}
	if got := k.log.count("lease lost"); got != 1 {
		t.Errorf("the loss was logged %d times, want once", got)
	}
}

// A lease that went unnoticed is noticed by the next write at the latest.
func TestRegistryFindsItsLeaseGoneWhenItWrites(t *testing.T) {
	t.Parallel()
	prefix := unique(t)
	c := open(t, shared)
	k := keep(t, c, RegistryConfig{Prefix: prefix, TTL: time.Hour}) // renewed after twenty minutes
	a, b := record(t, prefix, discovery.LayoutJSON, "a", 80, "1"), record(t, prefix, discovery.LayoutJSON, "b", 81, "1")
	k.settle(t, a)
	if _, err := c.c.Revoke(testContext(t), k.leaseID()); err != nil {
		t.Fatal(err)
	}
	k.settle(t, a, b)
	k.holds(t, c, a, b)
}

func TestRegistrySurvivesAnOutage(t *testing.T) {
	t.Parallel()
	const prefix = "/services"
	for name, away := range map[string]time.Duration{"shorter than the TTL": time.Second, "longer than the TTL": 3 * time.Second} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t)
			k := keep(t, open(t, n.Server), RegistryConfig{Prefix: prefix, TTL: 2 * time.Second})
			a, b := record(t, prefix, discovery.LayoutJSON, "a", 80, "1"), record(t, prefix, discovery.LayoutJSON, "b", 81, "1")
			k.settle(t, a)
			if err := k.Healthy(); err != nil {
				t.Errorf("Healthy() = %v before the outage", err)
			}
			back := time.After(away)
			n.stop()
			k.Set(records(a, b), nil) // what changes during the outage must not be lost
			if err := k.Current(); err == nil {
				t.Error("Current() = nil while etcd cannot be written")
			}
			eventually(t, "the outage is noticed", func() bool { return k.Healthy() != nil })
			<-back
			n.start()
			k.holds(t, open(t, n.Server), a, b)
			eventually(t, "healthy again", func() bool { return k.Healthy() == nil && k.Current() == nil })
			if down, up := k.log.count("etcd does not answer"), k.log.count("etcd answers again"); down != 1 || up != 1 {
				t.Errorf("the outage was logged %d times and its end %d times, want once each", down, up)
			}
		})
	}
}

func TestRegistryWaitsForAServerAtItsStart(t *testing.T) {
	t.Parallel()
	const prefix = "/services"
	n := newNode(t)
	n.stop()
	k := keep(t, openURL(t, n.url), RegistryConfig{Prefix: prefix})
	if err := k.Healthy(); err == nil {
		t.Error("Healthy() = nil before the first answer")
	}
	a := record(t, prefix, discovery.LayoutJSON, "a", 80, "1")
	k.Set(records(a), nil)
	n.start()
	k.holds(t, open(t, n.Server), a)
	if got := k.log.count("etcd does not answer"); got > 1 {
		t.Errorf("logged %d times, want once at most", got)
	}
}

// A server that lost everything is one to which everything is announced.
func TestRegistryAnnouncesToAnEmptyServer(t *testing.T) {
	t.Parallel()
	const prefix = "/services"
	n := newNode(t)
	k := keep(t, open(t, n.Server), RegistryConfig{Prefix: prefix, TTL: 2 * time.Second})
	a := record(t, prefix, discovery.LayoutJSON, "a", 80, "1")
	k.settle(t, a)
	n.stop()
	n.dir = t.TempDir()
	n.start()
	k.holds(t, open(t, n.Server), a)
}
