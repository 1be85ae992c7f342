package etcd

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"rollcall/internal/discovery"
)

// reconcile makes etcd equal to what is wanted as far as the keys are ours. What
// somebody else owns is left in s.conflicts. Of what is only dirty, want holds no more.
func (s *session) reconcile(ctx context.Context, want map[string]discovery.Record, leave func(discovery.Record) bool) error {
	if s.doubt {
		if err := s.verify(ctx); err != nil {
			return err
		}
	}
	before := maps.Clone(s.conflicts)
	for _, batch := range batches(s.todo(want, leave)) {
		if err := s.commit(ctx, batch); err != nil {
			return err
		}
	}
	for id, owner := range s.conflicts {
		if before[id] != owner {
			s.r.cfg.Logger.Warn("record belongs to somebody else; retrying until it is free", "record", id, "owner", owner)
		}
	}
	// Last, because it takes time: the records are to be right again first.
	if err := s.mourn(ctx, want); err != nil {
		return err
	}
	s.everything = false
	clear(s.dirty)
	return nil
}

// todo gives what has to change, deletions first, and forgets conflicts over what is
// not wanted any more.
func (s *session) todo(want map[string]discovery.Record, leave func(discovery.Record) bool) []change {
	ids := maps.Clone(s.dirty)
	if s.everything {
		for _, id := range slices.Concat(slices.Collect(maps.Keys(want)), slices.Collect(maps.Keys(s.held)), slices.Collect(maps.Keys(s.conflicts))) {
			ids[id] = true
		}
	}
	var deletions, puts []change
	for _, id := range slices.Sorted(maps.Keys(ids)) {
		held, there := s.held[id]
		record, wanted := want[id]
		right := wanted == there && held.Equal(record)
		if right || !wanted {
			delete(s.conflicts, id)
		}
		switch {
		case right:
		case wanted:
			puts = append(puts, change{id: id, from: held.Values, to: record.Values}.steps()...)
		case !s.dirty[id] && leave != nil && leave(held):
		default:
			deletions = append(deletions, change{id: id, from: held.Values})
		}
	}
	return append(deletions, puts...)
}

// mourn finds the end of what went without our doing and has not come back:
// balancers may not have noticed it yet.
func (s *session) mourn(ctx context.Context, want map[string]discovery.Record) error {
	maps.DeleteFunc(s.lost, func(id string, _ lost) bool { _, back := s.held[id]; return back })
	if err := s.letGo(ctx, want); err != nil {
		return err
	}
	ends, err := s.r.client.ends(ctx, s.lost)
	if err != nil {
		return err
	}
	maps.Copy(s.deleted, ends)
	clear(s.lost)
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
		s.lost[c.id] = lost{key, s.since[c.id], s.lease.id}
		s.hold(c.id, nil)
		delete(s.since, c.id)
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
