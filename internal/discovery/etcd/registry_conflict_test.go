package etcd

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"

	"rollcall/internal/discovery"
)

// foreign writes the records of another owner, under a lease of its own.
func foreign(t *testing.T, c *Client, prefix string, layout discovery.Layout, node, machine string) clientv3.LeaseID {
	t.Helper()
	l, err := c.c.Grant(testContext(t), 60)
	if err != nil {
		t.Fatal(err)
	}
	r, err := discovery.Encode(prefix, layout, &discovery.Instance{
		Service: "web", Name: "a", Host: "10.9.9.9", Port: 99, Proto: "tcp", Weight: 1, Node: node, Machine: machine,
	})
	if err != nil {
		t.Fatal(err)
	}
	for key, value := range r.Values {
		put(t, c, key, value, clientv3.WithLease(l.ID))
	}
	return l.ID
}

func TestRegistryLeavesAnotherOwnersRecordAlone(t *testing.T) {
	t.Parallel()
	c := open(t, shared)
	for _, layout := range discovery.Layouts() {
		t.Run(string(layout), func(t *testing.T) {
			t.Parallel()
			prefix := unique(t)
			lease := foreign(t, c, prefix, layout, "core-02", "m2")
			before := dump(t, c, prefix)
			k := keep(t, c, RegistryConfig{Prefix: prefix})
			a, b := record(t, prefix, layout, "a", 80, "1"), record(t, prefix, layout, "b", 81, "1")
			k.Set(records(a, b), nil)

			owner := "core-02 (machine m2)"
			if layout == discovery.LayoutHostPort { // which has no room for a name
				owner = fmt.Sprintf("lease %x", lease)
			}
			want := map[string]string{"web/a": owner}
			eventually(t, "conflict is named", func() bool { return cmp.Equal(k.Conflicts(), want) })
			eventually(t, "the other record is written", func() bool { return k.Held() == 1 })
			for key, value := range before {
				if got := dump(t, c, prefix)[key]; got != value {
					t.Errorf("%s was overwritten with %q", key, got)
				}
			}
			if err := k.Current(); err == nil || !strings.Contains(err.Error(), "somebody else") {
				t.Errorf("Current() = %v, want it to speak of the conflict", err)
			}
			if got := metric(t, k.conflicting); got != 1 {
				t.Errorf("rollcall_announce_conflicts is %v, want 1", got)
			}

			if _, err := c.c.Revoke(testContext(t), lease); err != nil {
				t.Fatal(err)
			}
			k.holds(t, c, a, b)
			if err := k.Settled(testContext(t)); err != nil {
				t.Errorf("Settled() = %v after the key was freed", err)
			}
			if len(k.Conflicts()) != 0 || k.Current() != nil || metric(t, k.conflicting) != 0 {
				t.Errorf("after the end: Conflicts() = %v, Current() = %v", k.Conflicts(), k.Current())
			}
		})
	}
}

// Two announcers of one machine are two announcers: what an earlier run left, the
// state file tells; what a live one keeps is not for the other to take.
func TestRegistryRespectsItsOwnMachine(t *testing.T) {
	t.Parallel()
	prefix := unique(t)
	c := open(t, shared)
	a := record(t, prefix, discovery.LayoutJSON, "a", 80, "1")
	first := keep(t, c, RegistryConfig{Prefix: prefix})
	first.settle(t, a)
	second := keep(t, c, RegistryConfig{Prefix: prefix})
	second.Set(records(record(t, prefix, discovery.LayoutJSON, "a", 81, "1")), nil)
	eventually(t, "conflict", func() bool { return second.Conflicts()["web/a"] == "core-01 (machine m1)" })
	first.holds(t, c, a)
	first.settle(t)
	eventually(t, "the second has it when it is free", func() bool { return second.Held() == 1 })
}

func TestRegistryTakesOver(t *testing.T) {
	t.Parallel()
	prefix := unique(t)
	c := open(t, shared)
	put(t, c, prefix+"/web/a", "by hand")
	k := keep(t, c, RegistryConfig{Prefix: prefix, Takeover: true})
	a := record(t, prefix, discovery.LayoutJSON, "a", 80, "1")
	k.settle(t, a)
	k.holds(t, c, a)
}

// Whoever took a key over keeps it when its former owner is done with it.
func TestRegistryDeletesOnlyWhatIsItsOwn(t *testing.T) {
	t.Parallel()
	prefix := unique(t)
	c := open(t, shared)
	k := keep(t, c, RegistryConfig{Prefix: prefix})
	b := record(t, prefix, discovery.LayoutJSON, "b", 80, "1")
	k.settle(t, record(t, prefix, discovery.LayoutJSON, "a", 80, "1"), b)
	put(t, c, prefix+"/web/a", "10.9.9.9:80")
	k.settle(t, b)
	want := values(records(b))
	want[prefix+"/web/a"] = "10.9.9.9:80"
	if diff := cmp.Diff(want, dump(t, c, prefix)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Of a directory in which somebody took one field, the others are still ours to delete.
func TestRegistryDeletesTheRestOfADirectory(t *testing.T) {
	t.Parallel()
	prefix := unique(t)
	c := open(t, shared)
	k := keep(t, c, RegistryConfig{Prefix: prefix})
	k.settle(t, record(t, prefix, discovery.LayoutDirectory, "a", 80, "1"))
	put(t, c, prefix+"/web/a/port", "99")
	k.Set(records(record(t, prefix, discovery.LayoutDirectory, "a", 81, "1")), nil)
	eventually(t, "conflict", func() bool { return len(k.Conflicts()) == 1 })
	k.settle(t)
	if diff := cmp.Diff(map[string]string{prefix + "/web/a/port": "99"}, dump(t, c, prefix)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A conflict over one field of a directory is over when that field is not wanted any more.
func TestRegistryEndsAConflictOverWhatIsNotWantedAnyMore(t *testing.T) {
	t.Parallel()
	prefix := unique(t)
	c := open(t, shared)
	k := keepVerifying(t, c, RegistryConfig{Prefix: prefix}, 50*time.Millisecond)
	a := record(t, prefix, discovery.LayoutDirectory, "a", 80, "1")
	k.settle(t, a)
	put(t, c, prefix+"/web/a/version", "9")
	eventually(t, "conflict", func() bool { return len(k.Conflicts()) == 1 })
	if err := k.Current(); err == nil || !strings.Contains(err.Error(), "somebody else") {
		t.Errorf("Current() = %v while a key is somebody else's", err)
	}
	k.settle(t, record(t, prefix, discovery.LayoutDirectory, "a", 80, ""))
	if got := k.Conflicts(); len(got) != 0 {
		t.Errorf("Conflicts() = %v, want none", got)
	}
}
