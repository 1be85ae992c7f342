package etcd

import (
	"context"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// endOf finds in etcd's history the revision at which a key that hung on the lease
// at revision since ceased to: it was deleted, or somebody else wrote it. The
// header of a later answer would not do, although it is no older: no renderer says
// that it has seen a revision at which nothing happened below its prefix.
//
// Where the history has been compacted, since itself is given. Whoever follows the
// prefix has seen the end long ago, or reads everything again.
func (c *Client) endOf(ctx context.Context, key string, since int64, lease clientv3.LeaseID) (int64, error) {
	ctx, cancel := context.WithTimeout(clientv3.WithRequireLeader(ctx), requestTimeout)
	defer cancel()
	for w := range c.c.Watch(ctx, key, clientv3.WithRev(since+1)) {
		if w.CompactRevision > since {
			return since, nil
		}
		if err := w.Err(); err != nil {
			return 0, fmt.Errorf("history of %s: %w", key, err)
		}
		for _, ev := range w.Events {
			if ev.Type == clientv3.EventTypeDelete || ev.Kv.Lease != int64(lease) {
				return ev.Kv.ModRevision, nil
			}
		}
	}
	return 0, fmt.Errorf("history of %s: %w", key, ctx.Err())
}
