package etcd

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"rollcall/internal/discovery"
)

// A keeper is a running registry.
type keeper struct {
	*Registry
	log  *logbook
	stop func() // as a process ends that leaves its records; may be called twice
}

func keep(t testing.TB, c *Client, cfg RegistryConfig) *keeper {
	t.Helper()
	return keepVerifying(t, c, cfg, verifyInterval)
}

func keepVerifying(t testing.TB, c *Client, cfg RegistryConfig, verify time.Duration) *keeper {
	t.Helper()
	k := &keeper{log: &logbook{}}
	if cfg.TTL == 0 {
		cfg.TTL = 30 * time.Second
	}
	cfg.Logger, cfg.Registerer = k.log.logger(), prometheus.NewRegistry()
	r, err := NewRegistry(c, cfg)
	if err != nil {
		t.Fatal(err)
	}
	r.verify = verify
	k.Registry = r
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	stopped := false
	k.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run ended with %v", err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(k.stop)
	return k
}

// settle sets the records and waits until they are in etcd.
func (k *keeper) settle(t testing.TB, rs ...discovery.Record) {
	t.Helper()
	k.Set(records(rs...), nil)
	if err := k.Settled(testContext(t)); err != nil {
		t.Fatal(err)
	}
}

// holds waits until exactly these records are below the prefix.
func (k *keeper) holds(t testing.TB, c *Client, rs ...discovery.Record) {
	t.Helper()
	want := values(records(rs...))
	eventually(t, "records below "+k.cfg.Prefix, func() bool { return cmp.Equal(want, dump(t, c, k.cfg.Prefix)) })
}

// withdrawing says that Withdraw has told what it wants.
func (k *keeper) withdrawing() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.deleted != nil && len(k.wanted.records) == 0
}
