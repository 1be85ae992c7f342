package etcd

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"

	"rollcall/internal/discovery"
)

// noise moves etcd's revision without touching any record, as the renderers' own
// acknowledgements do: what a renderer has seen below the prefix stays behind it.
func noise(t *testing.T, c *Client) {
	t.Helper()
	for range 3 {
		put(t, c, unique(t)+"-noise", "")
	}
}

// What went long before the stop is waited for too, at the revision at which it
// went: at a later one nothing happened that a renderer could have seen.
func TestEndsAreKeptUntilTheStop(t *testing.T) {
	t.Parallel()
	prefix := unique(t)
	c := open(t, shared)
	k := keep(t, c, RegistryConfig{Prefix: prefix})
	before := revision(t, c)
	a := record(t, prefix, discovery.LayoutJSON, "a", 80, "1")
	b := record(t, prefix, discovery.LayoutJSON, "b", 81, "1")
	k.settle(t, a, b)
	k.settle(t, b)
	k.settle(t)
	noise(t, c)
	if _, err := k.Withdraw(testContext(t)); err != nil {
		t.Fatal(err)
	}
	ends := deletions(t, c, prefix, before)
	want := map[string]int64{a.Service: max(ends[a.Keys()[0]], ends[b.Keys()[0]])}
	if diff := cmp.Diff(want, k.Ended()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// A record that somebody deleted, or that went with its lease, ended when it went,
// not when that was noticed.
func TestEndsAreThoseOfTheHistory(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(t *testing.T, c *Client, k *keeper, key string){
		"deleted by hand": func(t *testing.T, c *Client, _ *keeper, key string) { del(t, c, key) },
		"lease revoked": func(t *testing.T, c *Client, k *keeper, _ string) {
			if _, err := c.c.Revoke(testContext(t), k.leaseID()); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			prefix := unique(t)
			c := open(t, shared)
			k := keep(t, c, RegistryConfig{Prefix: prefix, TTL: 2 * time.Second})
			before := revision(t, c)
			a := record(t, prefix, discovery.LayoutJSON, "a", 80, "1")
			k.settle(t, a)
			end(t, c, k, a.Keys()[0])
			noise(t, c)
			if _, err := k.Withdraw(testContext(t)); err != nil {
				t.Fatal(err)
			}
			// Where it was put back before it was withdrawn, the last end counts.
			want := map[string]int64{a.Service: deletions(t, c, prefix, before)[a.Keys()[0]]}
			if diff := cmp.Diff(want, k.Ended()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestEndOf(t *testing.T) {
	t.Parallel()
	c := open(t, shared)
	l, err := grantLease(testContext(t), c, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	key := unique(t)
	ours := put(t, c, key, "ours", clientv3.WithLease(l.id))
	again := put(t, c, key, "ours again", clientv3.WithLease(l.id))
	theirs := put(t, c, key, "theirs")
	for since, want := range map[int64]int64{ours: theirs, again: theirs} {
		if got, err := c.endOf(testContext(t), key, since, l.id); got != want || err != nil {
			t.Errorf("since %d: got %d and %v, want %d", since, got, err, want)
		}
	}
}
