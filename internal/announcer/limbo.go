package announcer

import (
	"slices"
	"sync"

	"rollcall/internal/discovery"
)

// A limbo holds what is not known yet about records that an earlier run of announce left
// in etcd. The registry asks it from a goroutine of its own.
type limbo struct {
	mu      sync.Mutex
	waiting map[string][]discovery.Record // what a record may stay as while checks are undecided

	// Until the first list of containers that lacks nothing.
	complete  bool
	strangers map[string]bool // ids of containers that are alive and that nobody could describe
	decided   map[string]bool // records that have been decided about all the same
}

// wait notes what the record may stay as; nothing, when it has been decided about. It
// gives what it could have stayed as before.
func (l *limbo) wait(id string, records []discovery.Record) (before []discovery.Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before = l.waiting[id]
	delete(l.waiting, id)
	if len(records) > 0 {
		if l.waiting == nil {
			l.waiting = map[string][]discovery.Record{}
		}
		l.waiting[id] = records
	}
	if !l.complete {
		if l.decided == nil {
			l.decided = map[string]bool{}
		}
		l.decided[id] = true
	}
	return before
}

// list notes which containers a list could not describe.
func (l *limbo) list(unknown []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.strangers = nil
	if len(unknown) > 0 {
		l.strangers = map[string]bool{}
		for _, id := range unknown {
			l.strangers[id] = true
		}
		return
	}
	l.complete, l.decided = true, nil
}

// meet notes that a container is known by now, or gone, and says whether it was not.
func (l *limbo) meet(container string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	was := l.strangers[container]
	delete(l.strangers, container)
	return was
}

// leave says whether a record that nobody wants may stay where it is: it is what a
// container would write whose check is undecided, or that of a container of which nothing
// is known. A layout that does not tell whose a record is has the benefit of the doubt.
func (l *limbo) leave(r discovery.Record) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if slices.ContainsFunc(l.waiting[r.ID()], r.Equal) {
		return true
	}
	if l.complete || len(l.strangers) == 0 || l.decided[r.ID()] {
		return false
	}
	container := r.Container()
	return container == "" || l.strangers[container]
}
