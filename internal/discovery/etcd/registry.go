package etcd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// verifyInterval is how often the registry asks which keys hang on its lease,
	// to put back what somebody deleted by hand.
	verifyInterval = 30 * time.Second
	// conflictInterval is how often a key that somebody else owns is tried again.
	conflictInterval = time.Second
	// maxLossJitter spreads the announcers that come back together after an outage.
	maxLossJitter = 250 * time.Millisecond
)

// RegistryConfig says whose records a Registry keeps.
type RegistryConfig struct {
	Prefix     string        // as discovery.CleanPrefix gives it
	TTL        time.Duration // of the lease, in whole seconds
	StateFile  string        // remembers the lease across restarts; "" for nowhere
	Takeover   bool          // replace records whoever owns them
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// A Registry keeps a set of records in etcd under one lease: it works, with
// backoff, until what is there equals what Set and Change were told, and writes nothing
// while they agree. Every write compares the key's owner first.
type Registry struct {
	client *Client
	cfg    RegistryConfig
	health *health
	state  *stateFile
	verify time.Duration
	lost   map[string]lost // what went with a lease and has not been dealt with; Run's alone

	mu        sync.Mutex
	wanted    wanted
	changed   chan struct{}     // holds one token when wanted changed
	lease     clientv3.LeaseID  // the one held, or remembered from an earlier run; 0 for none
	granted   bool              // a lease has been held in this run
	held      int               // records known to be in etcd
	conflicts map[string]string // id → who owns it
	settled   chan struct{}     // closed when etcd equals wanted; remade when it may not
	deleted   map[string]int64  // id → revision of its deletion; nil unless withdrawing
	ended     map[string]int64  // service → revision of the newest end of one of its records
	failure   error             // why the last reconciliation did not come to its end

	records, conflicting prometheus.Gauge
	writes, losses       prometheus.Counter
}

// NewRegistry prepares to keep records. A state file that cannot be read, or that
// another process has locked, is an error; one that holds nonsense is not, since
// a lease that nobody knows of ends by itself.
func NewRegistry(c *Client, cfg RegistryConfig) (*Registry, error) {
	state, err := openStateFile(cfg.StateFile)
	if err != nil {
		return nil, err
	}
	id, err := state.read()
	switch {
	case errors.Is(err, errNoLease):
		cfg.Logger.Warn("state file is of no use; starting afresh", "err", err)
	case err != nil:
		_ = state.Close()
		return nil, err
	}
	r := &Registry{
		client: c, cfg: cfg, health: newHealth(cfg.Logger, "lease"), state: state, verify: verifyInterval, lease: id,
		changed: make(chan struct{}, 1), conflicts: map[string]string{},
		settled: make(chan struct{}), ended: map[string]int64{},
		records:     prometheus.NewGauge(prometheus.GaugeOpts{Name: "rollcall_announced_records", Help: "Records known to be in etcd under this announcer's lease."}),
		conflicting: prometheus.NewGauge(prometheus.GaugeOpts{Name: "rollcall_announce_conflicts", Help: "Records that somebody else owns."}),
		writes:      prometheus.NewCounter(prometheus.CounterOpts{Name: "rollcall_announce_writes_total", Help: "Transactions that wrote to etcd."}),
		losses:      prometheus.NewCounter(prometheus.CounterOpts{Name: "rollcall_announce_lease_losses_total", Help: "Leases that were lost and replaced."}),
	}
	cfg.Registerer.MustRegister(r.records, r.conflicting, r.writes, r.losses)
	return r, nil
}

// Close lets go of the state file.
func (r *Registry) Close() error { return r.state.Close() }

// Healthy gives nil while etcd answers and the lease is held, and what is wrong otherwise.
func (r *Registry) Healthy() error { return r.health.Healthy() }

// Conflicts tells, by "service/instance", who owns the keys that should be ours.
func (r *Registry) Conflicts() map[string]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.conflicts)
}

// Held counts the records that are known to be in etcd.
func (r *Registry) Held() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.held
}

// Withdraw deletes all records, those left in place too, while Run goes on, and gives the revision of each
// one's deletion.
func (r *Registry) Withdraw(ctx context.Context) (map[string]int64, error) {
	r.mu.Lock()
	r.deleted = map[string]int64{}
	never := r.lease == 0 && !r.granted
	r.mu.Unlock()
	r.Set(nil, nil)
	if never {
		return nil, nil // etcd has not been reached, and so holds nothing
	}
	if err := r.Settled(ctx); err != nil {
		return nil, fmt.Errorf("withdraw records: %w", errors.Join(err, r.Healthy()))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	deleted := r.deleted
	r.deleted = nil
	return deleted, nil
}

// Ended gives, for each service of which a record has ended since the start, the
// revision of the newest end.
func (r *Registry) Ended() map[string]int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.ended)
}

// Run keeps the records until ctx is done, whose error it returns. The records
// and the lease stay as they are then: a successor may take them up.
func (r *Registry) Run(ctx context.Context) error {
	b := newBackoff()
	for {
		err := r.session(ctx, b.Reset)
		r.mu.Lock()
		r.unsettle()
		r.mu.Unlock()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, errLeaseLost):
			r.setLease(0)
			r.losses.Inc()
			r.cfg.Logger.Warn("lease lost; announcing everything again", "err", err)
			if !pause(ctx, rand.N(maxLossJitter)) {
				return ctx.Err()
			}
		default:
			r.health.set("lease", err)
			if !r.client.pause(ctx, b.NextBackOff()) {
				return ctx.Err()
			}
		}
	}
}

// Release revokes the lease, with whatever still hangs on it, and forgets it. To
// be called when Run has returned and no successor is expected.
func (r *Registry) Release(ctx context.Context) error {
	if id := r.leaseID(); id != 0 {
		if err := (&lease{client: r.client, id: id}).revoke(ctx); err != nil {
			return err
		}
	}
	return r.state.write(0)
}

func (r *Registry) leaseID() clientv3.LeaseID {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lease
}

func (r *Registry) setLease(id clientv3.LeaseID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lease = id
	r.granted = r.granted || id != 0
}
