package announcer

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"rollcall/internal/discovery"
	"rollcall/internal/discovery/etcd"
)

// TestWithdrawalIsNotProvenWhileABalancerHolds puts together what announce and render
// have of etcd: a record goes with its lease, a renderer holds it, and its announcer,
// which is told to stop, waits until it is let go.
func TestWithdrawalIsNotProvenWhileABalancerHolds(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	logger := slog.New(slog.DiscardHandler)
	dir, err := os.MkdirTemp(t.TempDir(), "etcd")
	if err != nil {
		t.Fatal(err)
	}
	server, err := etcd.StartServer(ctx, dir, []string{"http://127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	client, err := etcd.Open(ctx, etcd.Config{Endpoints: server.Endpoints()}, logger)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()

	var tasks sync.WaitGroup
	defer tasks.Wait()
	run, stop := context.WithCancel(ctx)
	defer stop()
	records, err := etcd.NewRegistry(client, etcd.RegistryConfig{Prefix: "/services", TTL: time.Minute, Logger: logger, Registerer: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	tasks.Go(func() { _ = records.Run(run) })
	acks := etcd.NewAcknowledger(client, logger)
	tasks.Go(func() { _ = acks.Run(run) })
	source := etcd.NewSource(client, etcd.SourceConfig{Prefix: "/services", MaxLoss: 0.5, Hold: time.Hour, Logger: logger, Registerer: prometheus.NewRegistry()})
	catalogs := make(chan *discovery.Catalog, 100)
	tasks.Go(func() {
		_ = source.Run(run, func(c *discovery.Catalog) {
			ack := discovery.Acknowledgement{ID: "r1", Prefix: "/services", Node: "lb", Applied: c.Revision, Drained: c.Revision, Healthy: true}
			for _, s := range c.Services {
				for _, i := range s.Instances {
					if i.Held {
						ack.Held = append(ack.Held, i.ID())
					}
				}
			}
			acks.Set(ack)
			catalogs <- c
		})
	})
	sees := func(want string) *discovery.Catalog {
		t.Helper()
		for {
			select {
			case c := <-catalogs:
				got := ""
				for _, s := range c.Services {
					for _, i := range s.Instances {
						got += fmt.Sprint(i.ID(), " ", i.Held)
					}
				}
				if got == want {
					return c
				}
			case <-ctx.Done():
				t.Fatalf("catalog %q: %v", want, ctx.Err())
			}
		}
	}

	record, err := discovery.Encode("/services", discovery.LayoutJSON, &discovery.Instance{Service: "web", Name: "a", Host: "10.0.0.5", Port: 80, Proto: "tcp"})
	if err != nil {
		t.Fatal(err)
	}
	records.Set(map[string]discovery.Record{"web/a": record}, nil)
	s, _ := sees("web/a false").Service("web")
	revoke := exec.Command("etcdctl", "--endpoints", strings.Join(server.Endpoints(), ","), "lease", "revoke", fmt.Sprintf("%x", s.Instances[0].Lease))
	if out, err := revoke.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	held := sees("web/a true")

	w := &Waiter{Prefix: "/services", Renderers: func(ctx context.Context, handle func([]*discovery.Acknowledgement)) error {
		return etcd.WatchRenderers(ctx, client, logger, handle)
	}}
	for { // until the acknowledgement is there
		if holds, _, err := w.Held(ctx, "web", "a"); err != nil {
			t.Fatal(err)
		} else if holds {
			break
		}
	}
	brief, cancelBrief := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancelBrief()
	if n, err := w.Drained(brief, map[string]int64{"web/a": held.Revision}, nil); err == nil {
		t.Fatalf("%d renderers have proven that it is gone while it is held", n)
	}
	deleted, err := records.Withdraw(ctx)
	if err != nil {
		t.Fatal(err)
	}
	n, err := w.Drained(ctx, deleted, records.Ended())
	if n != 1 || err != nil || len(deleted) != 1 {
		t.Errorf("withdrawn %v, proven by %d, %v; want web/a, by 1", deleted, n, err)
	}
	sees("")
}
