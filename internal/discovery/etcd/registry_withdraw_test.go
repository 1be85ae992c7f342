package etcd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	clientv3 "go.etcd.io/etcd/client/v3"

	"rollcall/internal/discovery"
)

// deletions gives the revision at which each key below the prefix was last deleted.
func deletions(t *testing.T, c *Client, prefix string, after int64) map[string]int64 {
	t.Helper()
	until := put(t, c, prefix+"-end", "")
	all := map[string]int64{}
	for w := range c.c.Watch(testContext(t), prefix, clientv3.WithPrefix(), clientv3.WithRev(after+1)) {
		for _, ev := range w.Events {
			if ev.Kv.ModRevision == until {
				return all
			}
			if ev.Type == clientv3.EventTypeDelete {
				all[string(ev.Kv.Key)] = ev.Kv.ModRevision
			}
		}
	}
	t.Fatal("watch ended")
	return nil
}

func TestWithdrawGivesTheRevisionOfEachDeletion(t *testing.T) {
	t.Parallel()
	prefix := unique(t)
	c := open(t, shared)
	k := keep(t, c, RegistryConfig{Prefix: prefix})
	var rs []discovery.Record
	for i := range 200 { // two transactions, two revisions
		rs = append(rs, record(t, prefix, discovery.LayoutJSON, fmt.Sprintf("i%d", i), 1000+i, "1"))
	}
	k.settle(t, rs...)
	k.settle(t, rs[1:]...) // one went before; nobody asks for it any more
	before := revision(t, c)
	got, err := k.Withdraw(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	if left := dump(t, c, prefix); len(left) != 0 {
		t.Errorf("%d records are left", len(left))
	}
	want := map[string]int64{}
	for key, revision := range deletions(t, c, prefix, before) {
		want[strings.TrimPrefix(key, prefix+"/")] = revision
	}
	if len(want) != 199 {
		t.Errorf("%d deletions in etcd, want 199", len(want))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestWithdrawOfNothing(t *testing.T) {
	t.Parallel()
	k := keep(t, open(t, shared), RegistryConfig{Prefix: unique(t)})
	for range 2 {
		if got, err := k.Withdraw(testContext(t)); err != nil || len(got) != 0 {
			t.Errorf("Withdraw() = %v, %v; want nothing", got, err)
		}
	}
}

// A record that another owner has is not in the way.
func TestWithdrawDuringAConflict(t *testing.T) {
	t.Parallel()
	prefix := unique(t)
	c := open(t, shared)
	put(t, c, prefix+"/web/a", "10.9.9.9:80")
	k := keep(t, c, RegistryConfig{Prefix: prefix})
	k.Set(records(record(t, prefix, discovery.LayoutJSON, "a", 80, "1"), record(t, prefix, discovery.LayoutJSON, "b", 80, "1")), nil)
	eventually(t, "conflict", func() bool { return len(k.Conflicts()) == 1 && k.Held() == 1 })
	got, err := k.Withdraw(testContext(t))
	if err != nil || len(got) != 1 || got["web/b"] == 0 {
		t.Errorf("Withdraw() = %v, %v; want web/b alone", got, err)
	}
	if diff := cmp.Diff(map[string]string{prefix + "/web/a": "10.9.9.9:80"}, dump(t, c, prefix)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestWithdrawWhileEtcdIsAwayEndsWithItsContext(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	k := keep(t, open(t, n.Server), RegistryConfig{Prefix: "/services", TTL: 2 * time.Second})
	k.settle(t, record(t, "/services", discovery.LayoutJSON, "a", 80, "1"))
	n.stop()
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	if got, err := k.Withdraw(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Withdraw() = %v, %v; want the context's error", got, err)
	}
	// Nobody told it to stop withdrawing.
	n.start()
	k.holds(t, open(t, n.Server))
}

// Nothing was ever written to an etcd that was never reached, and a stop need not wait for it.
func TestWithdrawWhereEtcdWasNeverReached(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.stop()
	k := keep(t, openURL(t, n.url), RegistryConfig{Prefix: "/services"})
	k.Set(records(record(t, "/services", discovery.LayoutJSON, "a", 80, "1")), nil)
	if got, err := k.Withdraw(t.Context()); len(got) > 0 || err != nil {
		t.Errorf("Withdraw() = %v, %v; want nothing", got, err)
	}
	n.start()
	k.settle(t)
	k.holds(t, open(t, n.Server))
}

// Records that went with their lease are gone just as well, and balancers may not
// have noticed either.
func TestWithdrawKnowsOfRecordsThatWentWithTheLease(t *testing.T) {
	t.Parallel()
	prefix := unique(t)
	c := open(t, shared)
	r, err := NewRegistry(c, RegistryConfig{
		Prefix: prefix, TTL: time.Hour, Logger: (&logbook{}).logger(), Registerer: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	// Not Run, but its sessions one by one: the withdrawal is to fall between two.
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.session(ctx, func() {}) }()
	k := &keeper{Registry: r}
	a := record(t, prefix, discovery.LayoutJSON, "a", 80, "1")
	k.settle(t, a)
	before := revision(t, c)
	if _, err := c.c.Revoke(testContext(t), k.leaseID()); err != nil {
		t.Fatal(err)
	}
	r.Set(records(a, record(t, prefix, discovery.LayoutJSON, "b", 81, "1")), nil)
	if err := <-ended; !errors.Is(err, errLeaseLost) {
		t.Fatalf("session ended with %v, want the lease to be lost", err)
	}
	r.setLease(0)
	done := withdraw(t, k)
	eventually(t, "withdrawal has begun", k.withdrawing)
	go func() { ended <- r.session(ctx, func() {}) }()
	got := <-done
	if got.err != nil {
		t.Fatal(got.err)
	}
	if deleted := deletions(t, c, prefix, before)[prefix+"/web/a"]; deleted == 0 || got.revisions["web/a"] < deleted {
		t.Errorf("web/a was deleted at revision %d, Withdraw() says %v", deleted, got.revisions)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("session ended with %v", err)
	}
}

func TestReleaseRevokesTheLease(t *testing.T) {
	t.Parallel()
	prefix := unique(t)
	c := open(t, shared)
	cfg := RegistryConfig{Prefix: prefix, StateFile: filepath.Join(t.TempDir(), "lease")}
	k := keep(t, c, cfg)
	k.settle(t, record(t, prefix, discovery.LayoutJSON, "a", 80, "1"))
	k.stop()
	if err := k.Release(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if res, err := c.c.TimeToLive(testContext(t), k.leaseID()); err != nil || res.TTL > 0 {
		t.Errorf("lease has %v s left, %v", res, err)
	}
	if left := dump(t, c, prefix); len(left) != 0 {
		t.Errorf("%v is left", left)
	}
	if _, err := os.Stat(cfg.StateFile); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("state file is still there: %v", err)
	}
	if err := k.Release(testContext(t)); err != nil {
		t.Errorf("a second time: %v", err)
	}
}

// Stopped before it got to its predecessor's lease, a registry ends it all the same.
func TestReleaseRevokesTheRememberedLease(t *testing.T) {
	t.Parallel()
	prefix := unique(t)
	c := open(t, shared)
	cfg := RegistryConfig{Prefix: prefix, StateFile: filepath.Join(t.TempDir(), "lease")}
	first := keep(t, c, cfg)
	first.settle(t, record(t, prefix, discovery.LayoutJSON, "a", 80, "1"))
	first.stop()

	cfg.Logger, cfg.Registerer = first.log.logger(), prometheus.NewRegistry()
	second, err := NewRegistry(c, cfg) // and never run
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if err := second.Release(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if left := dump(t, c, prefix); len(left) != 0 {
		t.Errorf("%v is left", left)
	}
}

func TestReleaseSaysWhyItFailed(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	k := keep(t, open(t, n.Server), RegistryConfig{Prefix: "/services"})
	k.settle(t)
	k.stop()
	n.stop()
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	if err := k.Release(ctx); err == nil || !strings.HasPrefix(err.Error(), "revoke lease ") {
		t.Errorf("Release() = %v, want it to say what was tried", err)
	}
}

// Set is called from many sides while transactions are under way: whoever waits
// after a Set of his own finds that set in etcd, or a later one.
func TestSettledNeverReturnsBeforeTheSetThatPrecededIt(t *testing.T) {
	t.Parallel()
	prefix := unique(t)
	c := open(t, shared)
	k := keep(t, c, RegistryConfig{Prefix: prefix})
	port := func() int {
		cat, err := List(testContext(t), c, prefix, k.cfg.Logger)
		if err != nil {
			t.Error(err)
			return 0
		}
		s, ok := cat.Service("web")
		if !ok {
			return 0
		}
		return int(s.Instances[0].Port)
	}
	var mu sync.Mutex
	last := 1000
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 60 {
				mu.Lock()
				last++
				mine := last
				k.Set(records(record(t, prefix, discovery.LayoutJSON, "a", mine, "1")), nil)
				mu.Unlock()
				if err := k.Settled(testContext(t)); err != nil {
					t.Error(err)
					return
				}
				if got := port(); got < mine {
					t.Errorf("Settled returned with port %d in etcd, want at least %d", got, mine)
					return
				}
			}
		})
	}
	wg.Wait()
	if err := k.Current(); err != nil {
		t.Errorf("Current() = %v", err)
	}
}

func TestSettledEndsWithItsContext(t *testing.T) {
	t.Parallel()
	k := keep(t, open(t, shared), RegistryConfig{Prefix: unique(t)})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := k.Settled(ctx); !errors.Is(err, context.Canceled) { // nothing has been set
		t.Errorf("Settled() = %v", err)
	}
}
