package etcd

import (
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rollcall/internal/discovery"
)

// change alters the records and waits until etcd has it.
func (k *keeper) change(t testing.TB, put map[string]discovery.Record, gone ...string) {
	t.Helper()
	k.Change(put, gone)
	if err := k.Settled(testContext(t)); err != nil {
		t.Fatal(err)
	}
}

func TestChangeTouchesNothingElse(t *testing.T) {
	t.Parallel()
	c := open(t, shared)
	for _, layout := range discovery.Layouts() {
		t.Run(string(layout), func(t *testing.T) {
			t.Parallel()
			prefix := unique(t)
			k := keep(t, c, RegistryConfig{Prefix: prefix})
			a, b, d := record(t, prefix, layout, "a", 80, ""), record(t, prefix, layout, "b", 81, ""), record(t, prefix, layout, "d", 82, "")
			k.settle(t, a, b)
			// Somebody's mischief that the next verification would mend, and nothing sooner:
			// a change looks at what changed and at nothing else.
			stray := a.Keys()[0]
			del(t, c, stray)
			b2 := record(t, prefix, layout, "b", 91, "")
			k.change(t, records(b2, d))
			k.change(t, records(d)) // as it is
			k.change(t, nil, "web/b", "web/never-there")
			want := values(records(a, d))
			delete(want, stray)
			if diff := cmp.Diff(want, dump(t, c, prefix)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if got := metric(t, k.writes); got != 3 {
				t.Errorf("%v transactions wrote, want 3: the set, one change of two records, and a deletion", got)
			}
			k.settle(t, a, d)
		})
	}
}

// What Set was told is not Change's to alter in the hands of who told it.
func TestChangeLeavesTheCallersRecordsAlone(t *testing.T) {
	t.Parallel()
	prefix := unique(t)
	c := open(t, shared)
	k := keep(t, c, RegistryConfig{Prefix: prefix})
	a, b := record(t, prefix, discovery.LayoutJSON, "a", 80, "1"), record(t, prefix, discovery.LayoutJSON, "b", 81, "1")
	mine := records(a)
	k.Set(mine, nil)
	k.change(t, records(b), "web/a")
	if diff := cmp.Diff(records(a), mine); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	k.holds(t, c, b)
}

// Nothing has been told: what an earlier run left must not be taken for too much.
func TestChangeBeforeTheFirstSetDoesNothing(t *testing.T) {
	t.Parallel()
	prefix := unique(t)
	c := open(t, shared)
	cfg := RegistryConfig{Prefix: prefix, StateFile: filepath.Join(t.TempDir(), "lease")}
	a, b := record(t, prefix, discovery.LayoutJSON, "a", 80, "1"), record(t, prefix, discovery.LayoutJSON, "b", 81, "1")
	first := keep(t, c, cfg)
	first.settle(t, a)
	first.stop()
	second := keep(t, c, cfg)
	before := revision(t, c)
	second.Change(records(b), []string{"web/a"})
	eventually(t, "lease taken up", func() bool { return second.log.count("took up the lease") == 1 })
	second.settle(t, a)
	if diff := cmp.Diff([]string(nil), events(t, c, prefix, before)); diff != "" {
		t.Errorf("what a watcher sees (-want +got):\n%s", diff)
	}
}

// A key that another owns is tried again though other records change all the time.
func TestChangesDoNotPutOffAConflict(t *testing.T) {
	t.Parallel()
	prefix := unique(t)
	c := open(t, shared)
	put(t, c, prefix+"/web/a", "10.9.9.9:80")
	k := keep(t, c, RegistryConfig{Prefix: prefix})
	k.Set(records(record(t, prefix, discovery.LayoutJSON, "a", 80, "1")), nil)
	eventually(t, "conflict", func() bool { return len(k.Conflicts()) == 1 })
	del(t, c, prefix+"/web/a")
	port := 1000
	eventually(t, "conflict is over", func() bool {
		port++
		k.Change(records(record(t, prefix, discovery.LayoutJSON, "b", port, "1")), nil)
		return len(k.Conflicts()) == 0
	})
}

// What nobody wants any more is no conflict.
func TestChangeEndsAConflict(t *testing.T) {
	t.Parallel()
	prefix := unique(t)
	c := open(t, shared)
	put(t, c, prefix+"/web/a", "10.9.9.9:80")
	k := keep(t, c, RegistryConfig{Prefix: prefix})
	k.Set(records(record(t, prefix, discovery.LayoutJSON, "a", 80, "1")), nil)
	eventually(t, "conflict", func() bool { return len(k.Conflicts()) == 1 })
	k.change(t, nil, "web/a")
	if got := dump(t, c, prefix)[prefix+"/web/a"]; got != "10.9.9.9:80" {
		t.Errorf("the other's record is %q", got)
	}
}

// adopt gives a registry that took up a lease on which a, b and d hang.
func adopt(t *testing.T, c *Client, prefix string) (k *keeper, a, b, d discovery.Record, before int64) {
	t.Helper()
	cfg := RegistryConfig{Prefix: prefix, TTL: 5 * time.Second, StateFile: filepath.Join(t.TempDir(), "lease")}
	a, b, d = record(t, prefix, discovery.LayoutDirectory, "a", 80, ""), record(t, prefix, discovery.LayoutDirectory, "b", 81, ""), record(t, prefix, discovery.LayoutDirectory, "d", 82, "")
	first := keep(t, c, cfg)
	first.settle(t, a, b, d)
	first.stop()
	return keepVerifying(t, c, cfg, 50*time.Millisecond), a, b, d, revision(t, c)
}

// leaving leaves the records of these ids.
func leaving(ids ...string) func(discovery.Record) bool {
	return func(r discovery.Record) bool { return slices.Contains(ids, r.ID()) }
}

func TestAdoptionLeavesWhatIsUndecided(t *testing.T) {
	t.Parallel()
	prefix := unique(t)
	c := open(t, shared)
	k, a, _, d, before := adopt(t, c, prefix)
	k.Set(records(a), leaving("web/b", "web/d"))
	if err := k.Settled(testContext(t)); err != nil {
		t.Fatal(err)
	}
	lasting(t, "what is undecided stays, through verifications", 500*time.Millisecond, func() bool {
		return k.Current() == nil && k.Held() == 3 && revision(t, c) >= before
	})
	if diff := cmp.Diff([]string(nil), events(t, c, prefix, before)); diff != "" {
		t.Errorf("what a watcher sees while nothing is decided (-want +got):\n%s", diff)
	}

	// Decided: b is well, with another port; d is not.
	before = revision(t, c)
	b2 := record(t, prefix, discovery.LayoutDirectory, "b", 91, "")
	k.change(t, records(b2), "web/d")
	want := []string{}
	for _, key := range d.Keys() {
		want = append(want, "DELETE "+key)
	}
	want = append(want, "PUT "+prefix+"/web/b/port")
	if diff := cmp.Diff(want, events(t, c, prefix, before)); diff != "" {
		t.Errorf("what a watcher sees of the decision (-want +got):\n%s", diff)
	}
	lasting(t, "the decision stays", 300*time.Millisecond, func() bool { return k.Current() == nil && k.Held() == 2 })
}

// The next Set decides as well; and whoever withdraws leaves nothing.
func TestAdoptionEndsWithTheNextSet(t *testing.T) {
	t.Parallel()
	c := open(t, shared)
	t.Run("set", func(t *testing.T) {
		prefix := unique(t)
		k, a, b, _, _ := adopt(t, c, prefix)
		k.Set(records(a), func(discovery.Record) bool { return true })
		if err := k.Settled(testContext(t)); err != nil {
			t.Fatal(err)
		}
		k.settle(t, a, b)
		k.holds(t, c, a, b)
	})
	t.Run("withdraw", func(t *testing.T) {
		prefix := unique(t)
		k, a, _, _, _ := adopt(t, c, prefix)
		k.Set(records(a), func(discovery.Record) bool { return true })
		got, err := k.Withdraw(testContext(t))
		if err != nil || len(got) != 3 {
			t.Errorf("Withdraw() = %v, %v; want three ends", got, err)
		}
		k.holds(t, c)
	})
}

// A deletion that etcd did not answer is not forgotten: when it is looked at again
// with everything else, leave would still speak for the record.
func TestChangeIsNotUndoneByLeave(t *testing.T) {
	t.Parallel()
	prefix := unique(t)
	direct, wire := open(t, shared), newLink(t, shared)
	cfg := RegistryConfig{Prefix: prefix, StateFile: filepath.Join(t.TempDir(), "lease")}
	a := record(t, prefix, discovery.LayoutJSON, "a", 80, "1")
	first := keep(t, direct, cfg)
	first.settle(t, a)
	first.stop()
	k := keep(t, openURL(t, wire.url), cfg)
	k.Set(nil, leaving("web/a"))
	if err := k.Settled(testContext(t)); err != nil {
		t.Fatal(err)
	}
	// The wire breaks before the deletion is told, so that it cannot arrive.
	wire.setDown(true)
	k.Change(nil, []string{"web/a"})
	eventually(t, "the outage is noticed", func() bool { return k.Healthy() != nil })
	wire.setDown(false)
	k.holds(t, direct)
}

// The ends of many records that went with a lease are found together: etcd answers
// each such question after up to a tenth of a second.
func TestLossOfManyRecordsIsDealtWithAtOnce(t *testing.T) {
	t.Parallel()
	prefix := unique(t)
	c := open(t, shared)
	k := keep(t, c, RegistryConfig{Prefix: prefix, TTL: 2 * time.Second})
	rs := many(t, prefix, 600)
	k.settle(t, rs...)
	before := revision(t, c)
	if _, err := c.c.Revoke(testContext(t), k.leaseID()); err != nil {
		t.Fatal(err)
	}
	var gone []string
	for _, r := range rs[1:] {
		gone = append(gone, r.ID())
	}
	k.Change(nil, gone)
	k.holds(t, c, rs[0])
	if err := k.Settled(testContext(t)); err != nil {
		t.Fatal(err)
	}
	deleted := deletions(t, c, prefix, before)
	want := map[string]int64{"web": deleted[prefix+"/web/"+rs[1].Instance]}
	if diff := cmp.Diff(want, k.Ended()); diff != "" || len(deleted) != len(rs) {
		t.Errorf("%d deletions, want %d; Ended() (-want +got):\n%s", len(deleted), len(rs), diff)
	}
	if got := k.log.count("record written"); got != len(rs)+1 {
		t.Errorf("%d records were written, want %d", got, len(rs)+1)
	}
}
