package etcd

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"rollcall/internal/discovery"
)

// wanted is what Set and Change have told.
type wanted struct {
	records map[string]discovery.Record // by "service/instance"; nil until the first Set
	leave   func(discovery.Record) bool
	set     bool            // Set was called since a session last looked
	changed map[string]bool // the ids that Change has named since
}

// Set replaces the records that should be in etcd, by "service/instance". What is
// held and not among them is deleted, unless leave, which may be nil, says of the
// record as etcd has it that nobody knows yet whether it should be there: that one
// stays as it is, and counts as settled. leave is asked from another goroutine,
// again and again until the next Set, and must answer the same each time.
func (r *Registry) Set(records map[string]discovery.Record, leave func(discovery.Record) bool) {
	if records = maps.Clone(records); records == nil {
		records = map[string]discovery.Record{}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wanted = wanted{records: records, leave: leave, set: true, changed: map[string]bool{}}
	r.wake()
}

// Change alters what Set was told: put are records to have, by "service/instance",
// gone the ids of records to have no more, whatever leave would say of them. It
// costs what changed, however many records are held. Before the first Set there is
// nothing to alter, and it does nothing.
func (r *Registry) Change(put map[string]discovery.Record, gone []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.wanted.records == nil {
		return
	}
	for _, id := range gone {
		delete(r.wanted.records, id)
		r.wanted.changed[id] = true
	}
	for id, record := range put {
		r.wanted.records[id] = record
		r.wanted.changed[id] = true
	}
	r.wake()
}

// wake says that etcd and what is wanted may differ from now on.
func (r *Registry) wake() {
	r.unsettle()
	select {
	case r.changed <- struct{}{}:
	default:
	}
}

// unsettle lets those who ask or wait from now on not be told that all is well.
func (r *Registry) unsettle() {
	select {
	case <-r.settled:
		r.settled = make(chan struct{})
	default:
	}
}

// take tells a session what has been told since the last time, and gives the
// records that it has to look at; ok is false before the first Set.
func (r *Registry) take(s *session) (records map[string]discovery.Record, leave func(discovery.Record) bool, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-r.changed:
	default:
	}
	w := &r.wanted
	if w.set {
		w.set, s.everything = false, true
		clear(s.dirty)
	}
	maps.Copy(s.dirty, w.changed)
	clear(w.changed)
	if s.everything {
		return maps.Clone(w.records), w.leave, w.records != nil
	}
	records = map[string]discovery.Record{}
	for id := range s.dirty {
		if record, ok := w.records[id]; ok {
			records[id] = record
		}
	}
	return records, w.leave, true
}

// Settled waits until etcd holds what Set and Change were last told, or ctx is
// done. While somebody else owns one of the keys it waits for that, too.
func (r *Registry) Settled(ctx context.Context) error {
	r.mu.Lock()
	settled := r.settled
	r.mu.Unlock()
	select {
	case <-settled:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Current gives nil while etcd holds what Set and Change were last told, and what is
// missing otherwise: keys that somebody else owns, or what could not be written yet
// and why.
func (r *Registry) Current() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-r.settled:
		return nil
	default:
	}
	if n := len(r.conflicts); n > 0 {
		return fmt.Errorf("%d records belong to somebody else", n)
	}
	if r.failure != nil {
		return fmt.Errorf("records are not written yet: %w", r.failure)
	}
	return errors.New("records are not written yet")
}
