package etcd

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"rollcall/internal/discovery"
)

// Drains follows the operators' orders to keep instances out of every balancer.
type Drains struct {
	follower *follower
	farewell bool // announcers' orders count, too
}

// NewDrains prepares to follow the drains.
func NewDrains(c *Client, logger *slog.Logger) *Drains {
	return &Drains{follower: newFollower(c, discovery.DrainsPrefix+"/", "drains", logger)}
}

// Healthy gives nil while etcd answers, and what is wrong otherwise.
func (d *Drains) Healthy() error { return d.follower.health.Healthy() }

// Run hands over the set of drained instances, by "service/instance", at first and
// after every change, until ctx is done, whose error it returns.
func (d *Drains) Run(ctx context.Context, handle func(map[string]bool)) error {
	drained := map[string]bool{}
	return d.follower.run(ctx, func(u update) {
		if u.listed {
			clear(drained)
			for _, kv := range u.kvs {
				if id, ok := discovery.ParseDrainKey(string(kv.Key)); ok && d.counts(kv) {
					drained[id] = true
				}
			}
		}
		for _, ev := range u.events {
			id, ok := discovery.ParseDrainKey(string(ev.Kv.Key))
			switch {
			case !ok:
			case ev.Type == clientv3.EventTypeDelete || !d.counts(ev.Kv):
				delete(drained, id)
			default:
				drained[id] = true
			}
		}
		handle(maps.Clone(drained))
	})
}

// counts says whether a key is an order that is looked for. One that hangs on a lease is
// an announcer's, whose record went with a lease of before and is not to come back: it
// lets go what balancers may hold, and keeps nothing out. See discovery.Guard.
func (d *Drains) counts(kv *mvccpb.KeyValue) bool { return kv.Lease == 0 || d.farewell }

// Drain orders service/instance to be drained, or, with nil, lifts the order.
func Drain(ctx context.Context, c *Client, service, instance string, d *discovery.Drain) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	key := discovery.DrainKey(service, instance)
	if d == nil {
		if _, err := c.c.Delete(ctx, key); err != nil {
			return fmt.Errorf("delete %s: %w", key, err)
		}
		return nil
	}
	value, err := json.Marshal(d)
	if err != nil {
		return err
	}
	if _, err := c.c.Put(ctx, key, string(value)); err != nil {
		return fmt.Errorf("put %s: %w", key, err)
	}
	return nil
}

// ListDrains reads the drains once, by "service/instance".
func ListDrains(ctx context.Context, c *Client) (map[string]discovery.Drain, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	res, err := c.c.Get(ctx, discovery.DrainsPrefix+"/", clientv3.WithPrefix())
	if err != nil {
		return nil, fmt.Errorf("list drains: %w", err)
	}
	drains := map[string]discovery.Drain{}
	for _, kv := range res.Kvs {
		if id, ok := discovery.ParseDrainKey(string(kv.Key)); ok && kv.Lease == 0 {
			var d discovery.Drain
			// A drain made by hand may hold anything: that the key is there is the order.
			_ = json.Unmarshal(kv.Value, &d)
			drains[id] = d
		}
	}
	return drains, nil
}
