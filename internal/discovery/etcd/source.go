package etcd

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	clientv3 "go.etcd.io/etcd/client/v3"

	"rollcall/internal/discovery"
)

// SourceConfig says what a Source follows.
type SourceConfig struct {
	Prefix string // as discovery.CleanPrefix gives it
	// MaxLoss is the share of a service's instances that may lose their leases within
	// half a minute; when more do, they are held. 1 holds none.
	MaxLoss float64
	// Hold is how long instances are held.
	Hold time.Duration
	// Cache is the file that remembers the catalog for a start while etcd is away; "" for none.
	Cache      string
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// A Source gives catalogs of the records below a prefix.
type Source struct {
	client   *Client
	follower *follower
	cfg      SourceConfig
	logger   *slog.Logger
	patience time.Duration // with an open question

	refusals map[string]string // key → reason, as last said
	holding  map[string]bool   // services, as last said

	revision, instances, refused, held            prometheus.Gauge
	listings, events, questions, holds, unwritten prometheus.Counter
}

// NewSource prepares to follow the records.
func NewSource(c *Client, cfg SourceConfig) *Source {
	s := &Source{
		client:    c,
		follower:  newFollower(c, cfg.Prefix+"/", "records", cfg.Logger),
		cfg:       cfg,
		logger:    cfg.Logger,
		patience:  openPatience,
		refusals:  map[string]string{},
		holding:   map[string]bool{},
		revision:  prometheus.NewGauge(prometheus.GaugeOpts{Name: "rollcall_catalog_revision", Help: "etcd's revision of the newest catalog."}),
		instances: prometheus.NewGauge(prometheus.GaugeOpts{Name: "rollcall_catalog_instances", Help: "Instances in the newest catalog."}),
		refused:   prometheus.NewGauge(prometheus.GaugeOpts{Name: "rollcall_catalog_refused", Help: "Keys below the prefix that are not valid records."}),
		held:      prometheus.NewGauge(prometheus.GaugeOpts{Name: "rollcall_catalog_held", Help: "Instances that are held although their leases are gone."}),
		listings:  prometheus.NewCounter(prometheus.CounterOpts{Name: "rollcall_catalog_listings_total", Help: "Complete listings read from etcd."}),
		events:    prometheus.NewCounter(prometheus.CounterOpts{Name: "rollcall_catalog_events_total", Help: "Events received from etcd."}),
		questions: prometheus.NewCounter(prometheus.CounterOpts{Name: "rollcall_catalog_lease_questions_total", Help: "Leases that etcd was asked about because their instances vanished."}),
		holds:     prometheus.NewCounter(prometheus.CounterOpts{Name: "rollcall_catalog_holds_total", Help: "Times that instances of a service began to be held."}),
		unwritten: prometheus.NewCounter(prometheus.CounterOpts{Name: "rollcall_catalog_cache_failures_total", Help: "Times that the catalog could not be written to the cache."}),
	}
	s.follower.paged = true
	cfg.Registerer.MustRegister(s.revision, s.instances, s.refused, s.held, s.listings, s.events, s.questions, s.holds, s.unwritten)
	return s
}

// Healthy gives nil while etcd answers, and what is wrong otherwise.
func (s *Source) Healthy() error { return s.follower.health.Healthy() }

// assemble applies an update to what is known; a listing starts afresh.
func (u update) assemble(a *discovery.Assembler, prefix string) *discovery.Assembler {
	if u.listed {
		a = discovery.NewAssembler(prefix)
	}
	for _, kv := range u.kvs {
		a.Put(string(kv.Key), kv.Value, kv.ModRevision, kv.Lease)
	}
	for _, ev := range u.events {
		if ev.Type == clientv3.EventTypeDelete {
			a.Delete(string(ev.Kv.Key))
		} else {
			a.Put(string(ev.Kv.Key), ev.Kv.Value, ev.Kv.ModRevision, ev.Kv.Lease)
		}
	}
	return a
}

// WatchService hands over the valid instances of one service, at first and after
// every change, with the revision at which that was so, until ctx is done, whose
// error it returns.
func WatchService(ctx context.Context, c *Client, prefix, service string, logger *slog.Logger, handle func(instances []*discovery.Instance, revision int64)) error {
	var a *discovery.Assembler
	return newFollower(c, prefix+"/"+service+"/", "service "+service, logger).run(ctx, func(u update) {
		a = u.assemble(a, prefix)
		var instances []*discovery.Instance
		if s, ok := a.Catalog(u.revision).Service(service); ok {
			instances = s.Instances
		}
		handle(instances, u.revision)
	})
}

// List reads the catalog once.
func List(ctx context.Context, c *Client, prefix string, logger *slog.Logger) (*discovery.Catalog, error) {
	var a *discovery.Assembler
	at, err := newFollower(c, prefix+"/", "records", logger).list(ctx, func(u update) { a = u.assemble(a, prefix) })
	if err != nil {
		return nil, err
	}
	return a.Catalog(at.revision), nil
}

// TTLs gives what is left of the lease of each record below prefix, by
// "service/instance". A record without a lease is not in it.
func TTLs(ctx context.Context, c *Client, prefix string) (map[string]time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	// With values, though nobody reads them: etcd 3.7 gives keys alone from its
	// index, which knows no lease.
	res, err := c.c.Get(ctx, prefix+"/", clientv3.WithPrefix())
	if err != nil {
		return nil, fmt.Errorf("list the keys below %s: %w", prefix, err)
	}
	leases := map[int64]time.Duration{}
	ttls := map[string]time.Duration{}
	for _, kv := range res.Kvs {
		if kv.Lease == 0 {
			continue
		}
		ttl, known := leases[kv.Lease]
		if !known {
			l, err := c.c.TimeToLive(ctx, clientv3.LeaseID(kv.Lease))
			if err != nil {
				return nil, fmt.Errorf("ask for lease %x: %w", kv.Lease, err)
			}
			ttl = time.Duration(max(l.TTL, 0)) * time.Second // -1 when it ended meanwhile
			leases[kv.Lease] = ttl
		}
		id := strings.TrimPrefix(string(kv.Key), prefix+"/")
		if parts := strings.SplitN(id, "/", 3); len(parts) == 3 {
			id = parts[0] + "/" + parts[1]
		}
		ttls[id] = ttl
	}
	return ttls, nil
}
