package etcd

import (
	"context"
	"fmt"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"
)

// maxHistories is how many histories are read at a time. etcd looks back for
// watches of the past ten times a second, and for so many of them at once.
const maxHistories = 512

// ends finds when each of the records, by id, has ended.
func (c *Client) ends(ctx context.Context, of map[string]lost) (map[string]int64, error) {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(maxHistories)
	var mu sync.Mutex
	ends := make(map[string]int64, len(of))
	for id, l := range of {
		g.Go(func() error {
			end, err := c.endOf(ctx, l.key, l.since, l.lease)
			if err != nil {
				return fmt.Errorf("end of record %s: %w", id, err)
			}
			mu.Lock()
			defer mu.Unlock()
			ends[id] = end
			return nil
		})
	}
	return ends, g.Wait()
}

// endOf finds in etcd's history the revision at which a key that hung on the lease
// at revision since ceased to: it was deleted, or somebody else wrote it. The
// header of a later answer would not do, although it is no older: no renderer says
// that it has seen a revision at which nothing happened below its prefix.
//
// Where the history has been compacted, since itself is given: whoever follows the
// prefix has seen the end long ago, or reads everything again. So does everybody
// when etcd was restored from a backup, in whose history there is no end to find.
func (c *Client) endOf(ctx context.Context, key string, since int64, lease clientv3.LeaseID) (int64, error) {
	watchCtx, cancel := context.WithTimeout(clientv3.WithRequireLeader(ctx), requestTimeout)
	defer cancel()
	for w := range c.c.Watch(watchCtx, key, clientv3.WithRev(since+1)) {
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
	nowCtx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	now, err := c.c.Get(nowCtx, key)
	if err != nil {
		return 0, fmt.Errorf("history of %s: %w", key, err)
	}
	return min(since, now.Header.Revision), nil
}
