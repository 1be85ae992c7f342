package etcd

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rollcall/internal/discovery"
)

// A single etcd gives every lease its whole TTL again when it starts: to be stopped
// for however long ends none. One that is frozen ends them when it goes on.
func TestRegistryThroughAnOutage(t *testing.T) {
	t.Parallel()
	const prefix, ttl = "/services", 3 * time.Second
	a, b, d := record(t, prefix, discovery.LayoutJSON, "a", 80, "1"), record(t, prefix, discovery.LayoutJSON, "b", 81, "1"), record(t, prefix, discovery.LayoutJSON, "d", 82, "1")
	for _, tt := range []struct {
		name       string
		away, back func(*process)
		lasts      time.Duration
		ends       bool   // the lease
		want       string // what a watcher sees of the record that does not change
	}{
		{"stopped for less than the TTL", (*process).kill, (*process).start, ttl / 6, false, ""},
		{"stopped for more than the TTL", (*process).kill, (*process).start, ttl * 3 / 2, false, ""},
		{"frozen for less than the TTL", (*process).freeze, (*process).thaw, ttl / 6, false, ""},
		{"frozen for more than the TTL", (*process).freeze, (*process).thaw, ttl * 3 / 2, true, "DELETE PUT"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := startProcess(t)
			c := openURL(t, p.url)
			k := keep(t, c, RegistryConfig{Prefix: prefix, TTL: ttl})
			k.settle(t, a, b)
			before, lease := revision(t, c), k.leaseID()
			back := time.After(tt.lasts)
			tt.away(p)
			k.Change(records(d), []string{"web/b"}) // two containers of which one went and one came
			if err := k.Current(); err == nil {
				t.Error("Current() = nil while etcd cannot be written")
			}
			<-back
			tt.back(p)
			k.holds(t, c, a, d)
			eventually(t, "settled and healthy", func() bool { return k.Current() == nil && k.Healthy() == nil })
			lasting(t, "the lease is kept from then on", ttl+ttl/3, func() bool { return k.Current() == nil && k.Held() == 2 })
			seen := map[string]string{}
			for _, event := range events(t, c, prefix, before) {
				kind, key, _ := strings.Cut(event, " ")
				seen[key] = strings.TrimSpace(seen[key] + " " + kind)
			}
			// What was asked of a frozen server it may do a moment before the lease ends.
			if d := d.Keys()[0]; tt.ends && seen[d] == "PUT DELETE PUT" {
				seen[d] = "PUT"
			}
			want := map[string]string{b.Keys()[0]: "DELETE", d.Keys()[0]: "PUT"}
			if tt.want != "" {
				want[a.Keys()[0]] = tt.want
			}
			if diff := cmp.Diff(want, seen); diff != "" {
				t.Errorf("what a watcher sees of the outage (-want +got):\n%s", diff)
			}
			if got := k.leaseID() != lease; got != tt.ends {
				t.Errorf("another lease: %t, want %t", got, tt.ends)
			}
		})
	}
}

// A network that fails is an outage for this machine alone: its lease ends while
// others see it end, and everything is there again when the network is.
func TestRegistryIsCutOffForLongerThanTheTTL(t *testing.T) {
	t.Parallel()
	prefix := unique(t)
	direct, wire := open(t, shared), newLink(t, shared)
	k := keep(t, openURL(t, wire.url), RegistryConfig{Prefix: prefix, TTL: 2 * time.Second})
	a, b := record(t, prefix, discovery.LayoutJSON, "a", 80, "1"), record(t, prefix, discovery.LayoutJSON, "b", 81, "1")
	k.settle(t, a, b)
	before := revision(t, direct)
	wire.setDown(true)
	k.holds(t, direct)
	k.Change(nil, []string{"web/b"})
	wire.setDown(false)
	k.holds(t, direct, a)
	if err := k.Settled(testContext(t)); err != nil {
		t.Fatal(err)
	}
	ended := deletions(t, direct, prefix, before)[prefix+"/web/b"]
	if diff := cmp.Diff(map[string]int64{"web": ended}, k.Ended()); diff != "" {
		t.Errorf("Ended() (-want +got):\n%s", diff)
	}
	if got := metric(t, k.losses); got != 1 {
		t.Errorf("%v leases were lost, want 1", got)
	}
}

// An etcd restored from a backup has the lease, but not what was written since. That
// may be behind the history that is known here, or have grown past it.
func TestRegistryPutsRightWhatWasRestoredFromABackup(t *testing.T) {
	t.Parallel()
	const prefix = "/services"
	a, b, d := record(t, prefix, discovery.LayoutJSON, "a", 80, "1"), record(t, prefix, discovery.LayoutJSON, "b", 81, "1"), record(t, prefix, discovery.LayoutJSON, "d", 82, "1")
	for name, tt := range map[string]struct {
		grown int
		gone  []string // of which this etcd has never heard
		left  []discovery.Record
	}{
		"behind": {0, nil, []discovery.Record{b, d}},
		"grown":  {20, []string{"web/d"}, []discovery.Record{b}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t)
			// Neither a renewal nor a verification comes to its help.
			k := keepVerifying(t, open(t, n.Server), RegistryConfig{Prefix: prefix, TTL: time.Hour}, time.Hour)
			k.settle(t, a)
			backup := n.backUp()
			k.settle(t, b, d)
			n.stop()
			n.dir = backup
			url := n.url
			n.url = "http://127.0.0.1:0" // where nobody looks
			n.start()
			for range tt.grown {
				put(t, open(t, n.Server), "/elsewhere", "x")
			}
			n.stop()
			n.url = url
			if tt.gone != nil {
				k.Change(nil, tt.gone)
			}
			n.start()
			k.holds(t, open(t, n.Server), tt.left...)
			if err := k.Settled(testContext(t)); err != nil {
				t.Error(err)
			}
		})
	}
}
