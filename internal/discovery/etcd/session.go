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
	lost      map[string]lost  // id → what went with an earlier lease
	conflicts map[string]string
	deleted   map[string]int64 // id → revision of its end
	doubt     bool             // a write ended in an error: it may have happened or not
}

// lost is a record that went with its lease, in so far as its end is not known yet.
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
		conflicts: map[string]string{}, deleted: map[string]int64{},
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
// counts as deleted by now.
func (s *session) verify(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	res, err := s.r.client.c.TimeToLive(ctx, s.lease.id, clientv3.WithAttachedKeys())
	if err != nil {
		return fmt.Errorf("keys of lease %x: %w", s.lease.id, err)
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
	if err := s.vanished(ctx, held); err != nil {
		return err
	}
	s.held, s.since, s.doubt = held, since, false
	return nil
}

// vanished notes which of the records held before are not among those held now,
// with the revision of their end.
func (s *session) vanished(ctx context.Context, held map[string]discovery.Record) error {
	var gone []string
	for id := range s.held {
		if _, ok := held[id]; !ok {
			gone = append(gone, id)
		}
	}
	if len(gone) == 0 {
		return nil
	}
	for _, id := range gone {
		end, err := s.r.client.endOf(ctx, s.held[id].Keys()[0], s.since[id], s.lease.id)
		if err != nil {
			return fmt.Errorf("end of record %s: %w", id, err)
		}
		s.deleted[id] = end
	}
	return nil
}

// add puts a key and value into the record it belongs to. A key that is none of a
// record's, such as one below the prefix of an earlier run, stands for itself: it
// is desired by nobody, and so is deleted. It gives the record's id.
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

// reconcile makes etcd equal to desired as far as the keys are ours. What
// somebody else owns is left in s.conflicts.
func (s *session) reconcile(ctx context.Context, desired map[string]discovery.Record) error {
	if s.doubt {
		if err := s.verify(ctx); err != nil {
			return err
		}
	}
	if err := s.mourn(ctx, desired); err != nil {
		return err
	}
	before := maps.Clone(s.conflicts)
	maps.DeleteFunc(s.conflicts, func(id, _ string) bool { _, ok := desired[id]; return !ok })
	var todo []change
	for _, id := range slices.Sorted(maps.Keys(s.held)) {
		if _, ok := desired[id]; !ok {
			todo = append(todo, change{id: id, from: s.held[id].Values})
		}
	}
	for _, id := range slices.Sorted(maps.Keys(desired)) {
		if held, ok := s.held[id]; !ok || !held.Equal(desired[id]) {
			todo = append(todo, change{id: id, from: held.Values, to: desired[id].Values}.steps()...)
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

// mourn finds the end of what went with an earlier lease and is not to come back:
// balancers may not have noticed it yet.
func (s *session) mourn(ctx context.Context, desired map[string]discovery.Record) error {
	for id, l := range s.lost {
		if _, back := desired[id]; !back {
			end, err := s.r.client.endOf(ctx, l.key, l.since, l.lease)
			if err != nil {
				return fmt.Errorf("end of record %s: %w", id, err)
			}
			s.deleted[id] = end
		}
		delete(s.lost, id)
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
	key := c.anyKey()
	c, owner, err := s.look(ctx, c)
	if err != nil {
		return err
	}
	if owner != "" {
		s.conflicts[c.id] = owner
		s.hold(c.id, c.from)
		return nil
	}
	if len(c.from) == 0 && len(c.to) == 0 {
		end, err := s.r.client.endOf(ctx, key, s.since[c.id], s.lease.id)
		if err != nil {
			return fmt.Errorf("end of record %s: %w", c.id, err)
		}
		s.done(c, end)
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
	_, before := s.held[c.id]
	switch log := s.r.cfg.Logger; {
	case len(c.to) == 0:
		log.Info("record deleted", "record", c.id, "revision", revision)
	case before:
		log.Info("record changed", "record", c.id, "revision", revision)
	default:
		log.Info("record written", "record", c.id, "revision", revision)
	}
	s.hold(c.id, c.to)
	delete(s.conflicts, c.id)
	if len(c.to) == 0 {
		delete(s.since, c.id)
		s.deleted[c.id] = revision
	} else {
		s.since[c.id] = revision
		delete(s.deleted, c.id)
	}
}

// hold notes what hangs on the lease of a record.
func (s *session) hold(id string, values map[string]string) {
	if len(values) == 0 {
		delete(s.held, id)
		return
	}
	service, instance, _ := strings.Cut(id, "/")
	s.held[id] = discovery.Record{Service: service, Instance: instance, Values: values}
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
		s.doubt = true
		return false, 0, fmt.Errorf("write %d records: %w", len(batch), err)
	}
	if res.Succeeded && len(ops) > 0 {
		s.r.writes.Inc()
	}
	return res.Succeeded, res.Header.Revision, nil
}
