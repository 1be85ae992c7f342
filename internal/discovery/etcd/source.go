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
	Prefix     string // as discovery.CleanPrefix gives it
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// A Source gives catalogs of the records below a prefix.
type Source struct {
	follower *follower
	prefix   string
	logger   *slog.Logger

	refusals map[string]string // key → reason, as last said

	revision, instances, refused prometheus.Gauge
	listings, events             prometheus.Counter
}

// NewSource prepares to follow the records.
func NewSource(c *Client, cfg SourceConfig) *Source {
	s := &Source{
		follower:  newFollower(c, cfg.Prefix+"/", "records", cfg.Logger),
		prefix:    cfg.Prefix,
		logger:    cfg.Logger,
		refusals:  map[string]string{},
		revision:  prometheus.NewGauge(prometheus.GaugeOpts{Name: "rollcall_catalog_revision", Help: "etcd's revision of the newest catalog."}),
		instances: prometheus.NewGauge(prometheus.GaugeOpts{Name: "rollcall_catalog_instances", Help: "Instances in the newest catalog."}),
		refused:   prometheus.NewGauge(prometheus.GaugeOpts{Name: "rollcall_catalog_refused", Help: "Keys below the prefix that are not valid records."}),
		listings:  prometheus.NewCounter(prometheus.CounterOpts{Name: "rollcall_catalog_listings_total", Help: "Complete listings read from etcd."}),
		events:    prometheus.NewCounter(prometheus.CounterOpts{Name: "rollcall_catalog_events_total", Help: "Events received from etcd."}),
	}
	cfg.Registerer.MustRegister(s.revision, s.instances, s.refused, s.listings, s.events)
	return s
}

// Healthy gives nil while etcd answers, and what is wrong otherwise.
func (s *Source) Healthy() error { return s.follower.health.Healthy() }

// Run hands over a catalog after the first listing and after every change, from
// one goroutine, until ctx is done, whose error it returns. Records that are not
// valid are named in the log once and left out.
func (s *Source) Run(ctx context.Context, handle func(*discovery.Catalog)) error {
	var a *discovery.Assembler
	return s.follower.run(ctx, func(u update) {
		if u.listed {
			s.listings.Inc()
		}
		s.events.Add(float64(len(u.events)))
		a = u.assemble(a, s.prefix)
		c := a.Catalog(u.revision)
		s.report(c)
		handle(c)
	})
}

// assemble applies an update to what is known; a listing starts afresh.
func (u update) assemble(a *discovery.Assembler, prefix string) *discovery.Assembler {
	if u.listed {
		a = discovery.NewAssembler(prefix)
	}
	for _, kv := range u.kvs {
		a.Put(string(kv.Key), kv.Value, kv.ModRevision)
	}
	for _, ev := range u.events {
		if ev.Type == clientv3.EventTypeDelete {
			a.Delete(string(ev.Kv.Key))
		} else {
			a.Put(string(ev.Kv.Key), ev.Kv.Value, ev.Kv.ModRevision)
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

// report sets the metrics and names what was refused since the last catalog.
func (s *Source) report(c *discovery.Catalog) {
	s.revision.Set(float64(c.Revision))
	s.instances.Set(float64(c.Len()))
	s.refused.Set(float64(len(c.Refused)))
	now := make(map[string]string, len(c.Refused))
	for _, r := range c.Refused {
		now[r.Key] = r.Reason
		switch {
		case s.refusals[r.Key] == r.Reason:
		case r.Incomplete:
			s.logger.Debug("record is not complete yet", "key", r.Key, "reason", r.Reason)
		default:
			s.logger.Warn("record refused", "key", r.Key, "reason", r.Reason, "revision", r.Revision)
		}
	}
	s.refusals = now
}

// List reads the catalog once.
func List(ctx context.Context, c *Client, prefix string, logger *slog.Logger) (*discovery.Catalog, error) {
	res, err := newFollower(c, prefix+"/", "records", logger).list(ctx)
	if err != nil {
		return nil, err
	}
	u := update{listed: true, kvs: res.Kvs, revision: res.Header.Revision}
	return u.assemble(nil, prefix).Catalog(u.revision), nil
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
