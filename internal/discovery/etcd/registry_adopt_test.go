package etcd

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	clientv3 "go.etcd.io/etcd/client/v3"

	"rollcall/internal/discovery"
)

// events gives "PUT key" and "DELETE key" for all that happened below the prefix
// after a revision.
func events(t *testing.T, c *Client, prefix string, after int64) []string {
	t.Helper()
	until := put(t, c, prefix+"-end", "")
	ctx := testContext(t)
	var all []string
	for w := range c.c.Watch(ctx, prefix, clientv3.WithPrefix(), clientv3.WithRev(after+1)) {
		if err := w.Err(); err != nil {
			t.Fatal(err)
		}
		for _, ev := range w.Events {
			if ev.Kv.ModRevision == until {
				return all
			}
			all = append(all, ev.Type.String()+" "+string(ev.Kv.Key))
		}
	}
	t.Fatal(ctx.Err())
	return nil
}

func TestRegistryTakesUpTheLeaseOfItsPredecessor(t *testing.T) {
	t.Parallel()
	c := open(t, shared)
	for _, layout := range discovery.Layouts() {
		t.Run(string(layout), func(t *testing.T) {
			prefix := unique(t)
			cfg := RegistryConfig{Prefix: prefix, TTL: 5 * time.Second, StateFile: filepath.Join(t.TempDir(), "state", "lease")}
			a, b, d := record(t, prefix, layout, "a", 80, ""), record(t, prefix, layout, "b", 81, ""), record(t, prefix, layout, "d", 82, "")
			first := keep(t, c, cfg)
			first.settle(t, a, b, d)
			lease := first.leaseID()
			first.stop()

			before := revision(t, c)
			second := keep(t, c, cfg)
			b2 := record(t, prefix, layout, "b", 91, "")
			second.settle(t, a, b2)
			var want []string
			for _, key := range d.Keys() {
				want = append(want, "DELETE "+key)
			}
			for _, key := range b.Keys() {
				if b.Values[key] != b2.Values[key] {
					want = append(want, "PUT "+key)
				}
			}
			if diff := cmp.Diff(want, events(t, c, prefix, before)); diff != "" {
				t.Errorf("what a watcher sees of the restart (-want +got):\n%s", diff)
			}
			if second.leaseID() != lease {
				t.Errorf("lease is %x, want %x of the predecessor", second.leaseID(), lease)
			}
			if diff := cmp.Diff(values(records(a, b2)), dump(t, c, prefix)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// The predecessor's lease may have had another prefix, and more records than one
// transaction can delete.
func TestRegistryCleansUpBelowTheFormerPrefix(t *testing.T) {
	t.Parallel()
	c := open(t, shared)
	cfg := RegistryConfig{Prefix: unique(t), StateFile: filepath.Join(t.TempDir(), "lease")}
	var rs []discovery.Record
	for i := range 150 {
		rs = append(rs, record(t, cfg.Prefix, discovery.LayoutHostPort, "i"+string(rune('a'+i/26))+string(rune('a'+i%26)), 80, ""))
	}
	first := keep(t, c, cfg)
	first.settle(t, rs...)
	first.stop()
	former := cfg.Prefix
	cfg.Prefix = unique(t)
	second := keep(t, c, cfg)
	second.settle(t, record(t, cfg.Prefix, discovery.LayoutHostPort, "a", 80, ""))
	if got := len(dump(t, c, former)); got != 0 {
		t.Errorf("%d records of the former prefix are left", got)
	}
}

func TestRegistryStartsAfreshWhenTheRememberedLeaseIsGone(t *testing.T) {
	t.Parallel()
	prefix := unique(t)
	c := open(t, shared)
	cfg := RegistryConfig{Prefix: prefix, StateFile: filepath.Join(t.TempDir(), "lease")}
	a := record(t, prefix, discovery.LayoutJSON, "a", 80, "1")
	first := keep(t, c, cfg)
	first.settle(t, a)
	first.stop()
	if _, err := c.c.Revoke(testContext(t), first.leaseID()); err != nil {
		t.Fatal(err)
	}
	second := keep(t, c, cfg)
	second.settle(t, a)
	second.holds(t, c, a)
	if second.leaseID() == first.leaseID() {
		t.Errorf("lease is %x still", first.leaseID())
	}
	if got := metric(t, second.losses); got != 0 {
		t.Errorf("%v leases counted as lost, want none: this run had none", got)
	}
}

func TestStateFileIsOnePerProcess(t *testing.T) {
	t.Parallel()
	c := open(t, shared)
	cfg := RegistryConfig{Prefix: unique(t), StateFile: filepath.Join(t.TempDir(), "lease")}
	first := keep(t, c, cfg)
	cfg.Logger, cfg.Registerer = slog.New(slog.DiscardHandler), prometheus.NewRegistry()
	if _, err := NewRegistry(c, cfg); err == nil || !strings.Contains(err.Error(), cfg.StateFile+" is in use: another announce runs") {
		t.Errorf("second registry: %v, want it to say that another runs", err)
	}
	first.stop()
	third, err := NewRegistry(c, cfg)
	if err != nil {
		t.Fatalf("after the first has ended: %v", err)
	}
	if err := third.Close(); err != nil {
		t.Error(err)
	}
}

func TestStateFileWithNonsenseIsReplaced(t *testing.T) {
	t.Parallel()
	c := open(t, shared)
	for name, content := range map[string]string{"empty": "", "text": "hello", "too long": strings.Repeat("f", 40), "cut off": "694d\x00\x00"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			prefix := unique(t)
			cfg := RegistryConfig{Prefix: prefix, StateFile: filepath.Join(t.TempDir(), "lease")}
			if err := os.WriteFile(cfg.StateFile, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			k := keep(t, c, cfg)
			a := record(t, prefix, discovery.LayoutJSON, "a", 80, "1")
			k.settle(t, a)
			if got := k.log.count("state file is of no use"); got != 1 {
				t.Errorf("said so %d times, want once", got)
			}
			k.stop()
			if id, err := k.state.read(); err != nil || id != k.leaseID() {
				t.Errorf("state file holds %x, %v; want %x", id, err, k.leaseID())
			}
		})
	}
}

func TestStateFileThatCannotBeReadIsAnError(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lease")
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	cfg := RegistryConfig{Prefix: "/x", StateFile: path, Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry()}
	for range 2 { // the second time it must not be locked by the first
		_, err := NewRegistry(open(t, shared), cfg)
		if err == nil || !strings.HasPrefix(err.Error(), "state file: read ") {
			t.Errorf("got %v, want an error of reading", err)
		}
	}
}
