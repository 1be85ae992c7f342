package etcd

import (
	"context"
	"fmt"
	"maps"
	"path"
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

// size counts the keys the change touches. Neither its comparisons nor its
// operations are more.
func (c change) size() int {
	n := len(c.to)
	for k := range c.from {
		if _, both := c.to[k]; !both {
			n++
		}
	}
	return n
}

// bytes is about what the change's writes weigh in a request.
func (c change) bytes() int {
	n := 0
	for k, v := range c.to {
		n += len(k) + len(v)
	}
	return n
}

// steps gives the change as changes that each fit into one transaction. Only a
// directory that exchanges dozens of fields needs two; between them it lacks
// those, and nothing that a balancer needs.
func (c change) steps() []change {
	if c.size() <= maxOps || len(c.to) == 0 {
		return []change{c}
	}
	common := map[string]string{}
	for k, v := range c.to {
		if _, both := c.from[k]; both {
			common[k] = v
		}
	}
	return []change{{id: c.id, from: c.from, to: common}, {id: c.id, from: common, to: c.to}}
}

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
	size, bytes := 0, 0
	for _, c := range changes {
		if len(all) == 0 || size+c.size() > maxOps || bytes+c.bytes() > maxBytes {
			all = append(all, nil)
			size, bytes = 0, 0
		}
		all[len(all)-1] = append(all[len(all)-1], c)
		size += c.size()
		bytes += c.bytes()
	}
	return all
}

// look reads the record's keys and gives the change that starts from what is
// really there; or, if somebody else owns one of them, who that is.
func (s *session) look(ctx context.Context, c change) (now change, owner string, err error) {
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
		return c, "", fmt.Errorf("read record %s: %w", c.id, err)
	}
	now = change{id: c.id, from: map[string]string{}, to: c.to, over: map[string]int64{}}
	theirs, lease := map[string]string{}, int64(0)
	for _, op := range res.Responses {
		for _, kv := range op.GetResponseRange().Kvs {
			key := string(kv.Key)
			if kv.Lease == int64(s.lease.id) {
				now.from[key] = string(kv.Value)
			} else if _, wanted := c.to[key]; wanted {
				theirs[key], lease = string(kv.Value), kv.Lease
				now.over[key] = kv.ModRevision
			} // else not ours any more: whoever wrote it keeps it
		}
	}
	if len(theirs) == 0 {
		return now, "", nil
	}
	if !s.r.cfg.Takeover {
		owner = describeOwner(theirs, lease)
	}
	return now, owner, nil
}

// anyKey gives one of the keys that the change is about.
func (c change) anyKey() string {
	for _, keys := range []map[string]string{c.from, c.to} {
		for _, k := range slices.Sorted(maps.Keys(keys)) {
			return k
		}
	}
	return ""
}

// describeOwner says who wrote a record, whichever layout it is in.
func describeOwner(values map[string]string, lease int64) string {
	node, machine := "", ""
	for key, value := range values {
		switch path.Base(key) {
		case "node":
			node = value
		case "machine":
			machine = value
		}
		if i, err := discovery.DecodeRecord("x", "x", []byte(value)); err == nil && len(values) == 1 {
			node, machine = i.Node, i.Machine
		}
	}
	switch {
	case node != "":
		return fmt.Sprintf("%s (machine %s)", node, machine)
	case lease != 0:
		return fmt.Sprintf("lease %x", lease)
	default:
		return "a key without a lease"
	}
}
