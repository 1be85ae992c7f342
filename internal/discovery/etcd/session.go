package etcd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"rollcall/internal/discovery"
)

const (
	// maxOps is etcd's default limit of comparisons, and of operations, in one transaction.
	maxOps = 128
	// maxBytes stays below etcd's default limit of one request, 1.5 MiB.
	maxBytes = 1 << 20
)

// A session is one lease and what is known to hang on it.
type session struct {
	r         *Registry
	lease     *lease
	held      map[string]discovery.Record
	since     map[string]int64 // id → revision at which what is held was last written
	lost      map[string]lost  // id → what went without our doing
	conflicts map[string]string
	deleted   map[string]int64 // id → revision of its end
	doubt     bool             // held may not be what is there

	everything bool            // to be looked at, not only what is dirty
	dirty      map[string]bool // ids to be looked at; what Change said of them goes over leave
}

// lost is a record that went, with its lease or by another hand, and whose end is
// not known yet.
type lost struct {
	key   string
	since int64
	lease clientv3.LeaseID
}

// acquire takes up the lease that an earlier process left, with all its keys, or
// is granted a new one.
func (r *Registry) acquire(ctx context.Context) (*session, error) {
	s := &session{
		r: r, held: map[string]discovery.Record{}, since: map[string]int64{}, lost: map[string]lost{},
		conflicts: map[string]string{}, deleted: map[string]int64{}, everything: true, dirty: map[string]bool{},
	}
	var err error
	if id := r.leaseID(); id != 0 {
		switch s.lease, err = resumeLease(ctx, r.client, id); {
		case err == nil:
			if err := s.verify(ctx); err != nil {
				return nil, err
			}
			r.cfg.Logger.Info("took up the lease of an earlier run", "lease", fmt.Sprintf("%x", id), "ttl", s.lease.ttl.String(), "records", len(s.held))
			return s, nil
		case !errors.Is(err, errLeaseLost):
			return nil, err
		}
	}
	if s.lease, err = grantLease(ctx, r.client, r.cfg.TTL); err != nil {
		return nil, err
	}
	r.setLease(s.lease.id)
	if err := r.state.write(s.lease.id); err != nil {
		r.cfg.Logger.Warn("cannot remember the lease; a restart will not take it up", "err", err)
	}
	return s, nil
}

// verify learns from etcd which records hang on the lease. What does not any more
// is lost.
func (s *session) verify(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	res, err := s.r.client.c.TimeToLive(ctx, s.lease.id, clientv3.WithAttachedKeys())
	if err != nil {
		return fmt.Errorf("keys of lease %x: %w", s.lease.id, err)
	}
	if res.TTL <= 0 {
		return errLeaseLost
	}
	held, since := map[string]discovery.Record{}, map[string]int64{}
	for keys := range slices.Chunk(res.Keys, maxOps) {
		gets := make([]clientv3.Op, len(keys))
		for i, k := range keys {
			gets[i] = clientv3.OpGet(string(k))
		}
		txn, err := s.r.client.c.Txn(ctx).Then(gets...).Commit()
		if err != nil {
			return fmt.Errorf("keys of lease %x: %w", s.lease.id, err)
		}
		for _, op := range txn.Responses {
			for _, kv := range op.GetResponseRange().Kvs {
				if kv.Lease == int64(s.lease.id) {
					id := add(held, s.r.cfg.Prefix, string(kv.Key), string(kv.Value))
					since[id] = max(since[id], kv.ModRevision)
				}
			}
		}
	}
	for id, rec := range s.held {
		if _, ok := held[id]; !ok {
			s.lost[id] = lost{rec.Keys()[0], s.since[id], s.lease.id}
		}
	}
	s.held, s.since, s.doubt = held, since, false
	return nil
}

// suspect says that what is there may not be what is held: a write ended in an
// error, which means that it happened or not, or somebody else may have been at it.
func (s *session) suspect() { s.doubt, s.everything = true, true }

// add puts a key and value into the record it belongs to. A key that is none of a
// record's, such as one below the prefix of an earlier run, stands for itself: it
// is wanted by nobody, and so is deleted. It gives the record's id.
func add(records map[string]discovery.Record, prefix, key, value string) string {
	parts := []string{key, ""}
	if rest, ok := strings.CutPrefix(key, prefix+"/"); ok {
		if p := strings.SplitN(rest, "/", 3); len(p) > 1 {
			parts = p
		}
	}
	id := parts[0] + "/" + parts[1]
	rec, ok := records[id]
	if !ok {
		rec = discovery.Record{Service: parts[0], Instance: parts[1], Values: map[string]string{}}
		records[id] = rec
	}
	rec.Values[key] = value
	return id
}

func (s *session) write(ctx context.Context, batch []change) (ok bool, revision int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	var cmps []clientv3.Cmp
	var ops []clientv3.Op
	for _, c := range batch {
		cmps = append(cmps, c.cmps(s.lease.id)...)
		ops = append(ops, c.ops(s.lease.id)...)
	}
	res, err := s.r.client.c.Txn(ctx).If(cmps...).Then(ops...).Commit()
	if errors.Is(err, rpctypes.ErrLeaseNotFound) {
		return false, 0, errLeaseLost
	}
	if err != nil {
		s.suspect()
		return false, 0, fmt.Errorf("write %d records: %w", len(batch), err)
	}
	if res.Succeeded && len(ops) > 0 {
		s.r.writes.Inc()
	}
	return res.Succeeded, res.Header.Revision, nil
}
