package etcd

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"rollcall/internal/discovery"
)

// maxOps is etcd's default limit of comparisons, and of operations, in one transaction.
const maxOps = 128

// A session is one lease and what is known to hang on it.
type session struct {
	r         *Registry
	lease     *lease
	held      map[string]discovery.Record
	conflicts map[string]string
	deleted   map[string]int64
}

// acquire takes up the lease that an earlier process left, with all its keys, or
// is granted a new one.
func (r *Registry) acquire(ctx context.Context) (*session, error) {
	s := &session{r: r, held: map[string]discovery.Record{}, conflicts: map[string]string{}, deleted: map[string]int64{}}
	id, err := r.state.read()
	if err != nil {
		r.cfg.Logger.Warn("cannot read the state file; starting afresh", "err", err)
	}
	if id != 0 {
		switch s.lease, err = resumeLease(ctx, r.client, id); {
		case err == nil:
			if err := s.verify(ctx); err != nil {
				return nil, err
			}
			r.cfg.Logger.Info("took up the lease of an earlier run", "lease", fmt.Sprintf("%x", id), "records", len(s.held))
			return s, nil
		case !errors.Is(err, errLeaseLost):
			return nil, err
		}
	}
	if s.lease, err = grantLease(ctx, r.client, r.cfg.TTL); err != nil {
		return nil, err
	}
	if err := r.state.write(s.lease.id); err != nil {
		r.cfg.Logger.Warn("cannot remember the lease; a restart will not take it up", "err", err)
	}
	return s, nil
}

// verify learns from etcd which records hang on the lease.
func (s *session) verify(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	res, err := s.r.client.c.TimeToLive(ctx, s.lease.id, clientv3.WithAttachedKeys())
	if err != nil {
		return fmt.Errorf("keys of lease %x: %w", s.lease.id, err)
	}
	held := map[string]discovery.Record{}
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
					add(held, s.r.cfg.Prefix, string(kv.Key), string(kv.Value))
				}
			}
		}
	}
	s.held = held
	return nil
}

// add puts a key and value into the record it belongs to.
func add(records map[string]discovery.Record, prefix, key, value string) {
	parts := strings.SplitN(strings.TrimPrefix(key, prefix+"/"), "/", 3)
	if len(parts) < 2 {
		return
	}
	id := parts[0] + "/" + parts[1]
	rec, ok := records[id]
	if !ok {
		rec = discovery.Record{Service: parts[0], Instance: parts[1], Values: map[string]string{}}
		records[id] = rec
	}
	rec.Values[key] = value
}

// reconcile makes etcd equal to desired as far as the keys are ours. What
// somebody else owns is left in s.conflicts.
func (s *session) reconcile(ctx context.Context, desired map[string]discovery.Record) error {
	before := s.conflicts
	s.conflicts = map[string]string{}
	var todo []change
	for _, id := range slices.Sorted(maps.Keys(s.held)) {
		if _, ok := desired[id]; !ok {
			todo = append(todo, change{id: id, from: s.held[id].Values})
		}
	}
	for _, id := range slices.Sorted(maps.Keys(desired)) {
		if held, ok := s.held[id]; !ok || !held.Equal(desired[id]) {
			todo = append(todo, change{id: id, from: held.Values, to: desired[id].Values})
		}
	}
	for _, batch := range batches(todo) {
		if err := s.commit(ctx, batch); err != nil {
			return err
		}
	}
	for id, owner := range s.conflicts {
		if before[id] != owner {
			s.r.cfg.Logger.Warn("record belongs to somebody else; retrying until it is free", "record", id, "owner", owner)
		}
	}
	return nil
}

// commit writes a batch in one transaction; when a comparison fails, each change
// by itself, so that one key of another owner holds up none of the others.
func (s *session) commit(ctx context.Context, batch []change) error {
	ok, revision, err := s.write(ctx, batch)
	if err != nil {
		return err
	}
	if ok {
		for _, c := range batch {
			s.done(c, revision)
		}
		return nil
	}
	for _, c := range batch {
		if err := s.settle(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// settle looks at what is really there and writes one change over it, if it may.
func (s *session) settle(ctx context.Context, c change) error {
	c, owner, revision, err := s.look(ctx, c)
	if err != nil {
		return err
	}
	if owner != "" {
		s.conflicts[c.id] = owner
		delete(s.held, c.id)
		return nil
	}
	if len(c.from) == 0 && len(c.to) == 0 {
		s.done(c, revision)
		return nil
	}
	ok, revision, err := s.write(ctx, []change{c})
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("write record %s: it changed meanwhile", c.id)
	}
	s.done(c, revision)
	return nil
}

func (s *session) done(c change, revision int64) {
	if len(c.to) == 0 {
		delete(s.held, c.id)
		s.deleted[c.id] = revision
		return
	}
	service, instance, _ := strings.Cut(c.id, "/")
	s.held[c.id] = discovery.Record{Service: service, Instance: instance, Values: c.to}
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
		return false, 0, fmt.Errorf("write %d records: %w", len(batch), err)
	}
	if res.Succeeded {
		s.r.writes.Inc()
	}
	return res.Succeeded, res.Header.Revision, nil
}
