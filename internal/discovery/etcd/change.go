package etcd

import (
	"context"
	"fmt"
	"maps"
	"slices"

	clientv3 "go.etcd.io/etcd/client/v3"

	"rollcall/internal/discovery"
)

// A change turns one record's keys from what is there into what should be.
type change struct {
	id   string
	from map[string]string // keys that hang on our lease
	to   map[string]string // empty to delete the record
	over map[string]int64  // keys of another owner that may be replaced, with the revision seen
}

func (c change) size() int { return len(c.from) + len(c.to) }

// cmps are the conditions under which the change may be written: what we held is
// still ours, what is new is still free, what we replace is still what we saw.
func (c change) cmps(lease clientv3.LeaseID) []clientv3.Cmp {
	var cmps []clientv3.Cmp
	for _, k := range slices.Sorted(maps.Keys(c.from)) {
		cmps = append(cmps, clientv3.Compare(clientv3.LeaseValue(k), "=", lease))
	}
	for _, k := range slices.Sorted(maps.Keys(c.to)) {
		if _, held := c.from[k]; held {
			continue
		}
		if seen, ok := c.over[k]; ok {
			cmps = append(cmps, clientv3.Compare(clientv3.ModRevision(k), "=", seen))
		} else {
			cmps = append(cmps, clientv3.Compare(clientv3.CreateRevision(k), "=", 0))
		}
	}
	return cmps
}

// ops are the writes themselves. A value that stays is not written again.
func (c change) ops(lease clientv3.LeaseID) []clientv3.Op {
	var ops []clientv3.Op
	for _, k := range slices.Sorted(maps.Keys(c.from)) {
		if _, keep := c.to[k]; !keep {
			ops = append(ops, clientv3.OpDelete(k))
		}
	}
	for _, k := range slices.Sorted(maps.Keys(c.to)) {
		if old, held := c.from[k]; !held || old != c.to[k] {
			ops = append(ops, clientv3.OpPut(k, c.to[k], clientv3.WithLease(lease)))
		}
	}
	return ops
}

// batches cuts the changes into transactions that etcd accepts.
func batches(changes []change) [][]change {
	var all [][]change
	size := maxOps
	for _, c := range changes {
		if size+c.size() > maxOps {
			all = append(all, nil)
			size = 0
		}
		all[len(all)-1] = append(all[len(all)-1], c)
		size += c.size()
	}
	return all
}

// look reads the record's keys and gives the change that starts from what is
// really there; or, if somebody else owns one of them, who that is.
func (s *session) look(ctx context.Context, c change) (now change, owner string, revision int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	keys := map[string]bool{}
	for k := range c.from {
		keys[k] = true
	}
	for k := range c.to {
		keys[k] = true
	}
	var gets []clientv3.Op
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		gets = append(gets, clientv3.OpGet(k))
	}
	res, err := s.r.client.c.Txn(ctx).Then(gets...).Commit()
	if err != nil {
		return c, "", 0, fmt.Errorf("read record %s: %w", c.id, err)
	}
	now = change{id: c.id, from: map[string]string{}, to: c.to, over: map[string]int64{}}
	for _, op := range res.Responses {
		for _, kv := range op.GetResponseRange().Kvs {
			key := string(kv.Key)
			if kv.Lease == int64(s.lease.id) {
				now.from[key] = string(kv.Value)
				continue
			}
			if _, wanted := c.to[key]; !wanted {
				continue // not ours any more: whoever wrote it keeps it
			}
			inst, _ := discovery.DecodeRecord("x", "x", kv.Value)
			ours := inst != nil && inst.Machine != "" && inst.Machine == s.r.cfg.Machine
			if !ours && !s.r.cfg.Takeover {
				return now, describeOwner(inst, kv.Lease), res.Header.Revision, nil
			}
			now.over[key] = kv.ModRevision
		}
	}
	return now, "", res.Header.Revision, nil
}

func describeOwner(i *discovery.Instance, lease int64) string {
	switch {
	case i != nil && i.Node != "":
		return fmt.Sprintf("%s (machine %s)", i.Node, i.Machine)
	case lease != 0:
		return fmt.Sprintf("lease %x", lease)
	default:
		return "a key without a lease"
	}
}
