package etcd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"rollcall/internal/discovery"
)

// letGo orders balancers not to hold the records that went without our doing and are
// not wanted any more: with their lease, as likely as not, and to a balancer that looks
// as if this machine were cut off. An order hangs on the lease, since a renderer may
// learn of it late, and ends with it; so it cannot outlast a record that comes back
// under the same lease. An operator's own order stays as it is.
func (s *session) letGo(ctx context.Context, want map[string]discovery.Record) error {
	var ids []string
	for _, id := range slices.Sorted(maps.Keys(s.lost)) {
		if _, _, err := discovery.ParseID(id); err == nil && want[id].Values == nil {
			ids = append(ids, id)
		}
	}
	order, err := json.Marshal(discovery.Drain{Since: time.Now().UTC().Truncate(time.Second)})
	if err != nil {
		return err
	}
	for some := range slices.Chunk(ids, maxOps/2) {
		var ops []clientv3.Op
		for _, id := range some {
			key := discovery.DrainsPrefix + "/" + id
			ops = append(ops, clientv3.OpTxn(
				[]clientv3.Cmp{clientv3.Compare(clientv3.CreateRevision(key), "=", 0)},
				[]clientv3.Op{clientv3.OpPut(key, string(order), clientv3.WithLease(s.lease.id))}, nil))
		}
		ctx, cancel := context.WithTimeout(ctx, requestTimeout)
		_, err := s.r.client.c.Txn(ctx).Then(ops...).Commit()
		cancel()
		switch {
		case errors.Is(err, rpctypes.ErrLeaseNotFound):
			return errLeaseLost
		case errors.Is(err, rpctypes.ErrPermissionDenied):
			s.r.cfg.Logger.Warn("may not order balancers to let go of records that went with the lease", "records", len(ids), "prefix", discovery.DrainsPrefix, "err", err)
			return nil
		case err != nil:
			return fmt.Errorf("order to let go of %d records: %w", len(some), err)
		}
	}
	return nil
}
