package etcd

import (
	"testing"
	"time"

	"rollcall/internal/discovery"
)

// A cluster that is slow to elect grants more than was asked for; that is what is renewed
// by, and what a successor goes by.
func TestLeaseGoesByWhatWasGranted(t *testing.T) {
	t.Parallel()
	c := openURL(t, startProcess(t, "--heartbeat-interval", "500", "--election-timeout", "5000").url)
	l, err := grantLease(testContext(t), c, 2*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if l.ttl <= 2*time.Second {
		t.Fatalf("granted %s; this cluster should grant more than 2s", l.ttl)
	}
	next, err := resumeLease(testContext(t), c, l.id)
	if err != nil || next.ttl != l.ttl {
		t.Errorf("a successor goes by %s (%v), want %s", next.ttl, err, l.ttl)
	}
	k := keep(t, c, RegistryConfig{Prefix: "/services", TTL: 2 * time.Second})
	k.settle(t, record(t, "/services", discovery.LayoutJSON, "a", 80, "1"))
}
