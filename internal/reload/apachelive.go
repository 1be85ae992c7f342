package reload

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
)

// apacheLive is what is known about the members of the running Apache.
type apacheLive struct {
	mu     sync.Mutex                // held by Sync
	of     string                    // the server that the rest is about, see identity
	synced map[string]*Pool          // by name, as of the last Sync that succeeded
	unsure bool                      // one did not since then
	pages  map[apacheHost]apachePage // as the managers said last
	latest time.Time                 // when members were changed last, or found to be
	added  time.Time                 // since when some have Apache's own limits, see apacheCalm; zero while none has

	side    *apacheSide
	left    *leavers
	leaving apacheLeaving
}

var _ Live = (*Apache)(nil)

// Leaving implements Live.
func (a *Apache) Leaving() []*Leaver { return a.live.left.list() }

// Sync implements Live by the balancer manager. Status and weight are in memory that all
// children share and look at for each request, so a change counts when the manager has
// answered. A child learns of a new member with the next request that it gets. Who joins
// does so in the balancers that nobody is sent to meanwhile, see apacheSide.
func (a *Apache) Sync(ctx context.Context, want Members, readBack bool) (changed int, err error) {
	l := &a.live
	l.mu.Lock()
	defer l.mu.Unlock()
	serving, err := a.Running(ctx)
	if err != nil {
		return 0, err
	}
	if a.secret == "" || want.Structure == "" || serving.Structure != want.Structure {
		return 0, fmt.Errorf("%w: the server has structure %q, not %q", ErrNeedsReload, serving.Structure, want.Structure)
	}
	now, err := a.identity(ctx)
	if err != nil {
		return 0, needsReload(ctx, err)
	}
	if !readBack && l.of != "" && l.of != now {
		// What it has left behind has to be found first, and finds the whole transaction.
		return 0, fmt.Errorf("%w: apache has read its files, by somebody else's doing", ErrNeedsReload)
	}
	if readBack = readBack || l.unsure || l.of != now; readBack {
		l.pages = map[apacheHost]apachePage{}
		if err := l.side.restore(ctx); err != nil {
			return 0, needsReload(ctx, err)
		}
	}
	l.of, l.unsure = now, true
	s := apacheSync{managers: newApacheManagers(a.secret), side: l.side, pages: l.pages, fresh: map[apacheHost]bool{}, wrong: map[apacheMember]bool{}, gone: map[apacheMember]bool{}}
	defer s.managers.close()
	err = s.run(ctx, want, func(p *Pool) bool { return readBack || l.synced[p.Name] != p })
	a.leave(want, s.gone)
	if err != nil {
		return len(s.wrong), needsReload(ctx, err)
	}
	l.unsure = false
	if len(s.wrong) > 0 || l.latest.IsZero() {
		l.latest = time.Now()
	}
	switch {
	case !l.makeshift():
		l.added = time.Time{}
	case l.added.IsZero():
		l.added = time.Now()
	}
	if readBack && !l.added.IsZero() && (time.Since(l.latest) > apacheCalm || time.Since(l.added) > 5*apacheCalm) {
		return 0, fmt.Errorf("%w: members that were added while the server runs have its own timeouts, not ours", ErrNeedsReload)
	}
	l.synced = make(map[string]*Pool, len(want.Pools))
	for _, p := range want.Pools {
		l.synced[p.Name] = p
	}
	return len(s.wrong), nil
}

// apacheCalm is how long no member has to have changed before a reload gives those that
// were added what only the file can say of them: how long they may take to accept a
// connection, when they are tried again, and that a line of their headers may be longer
// than 8 KiB. Where members change all the time, it is five times as long.
const apacheCalm = time.Minute

// makeshift says whether there are such members.
func (l *apacheLive) makeshift() bool {
	for _, page := range l.pages {
		for _, b := range page {
			for _, worker := range b.workers {
				if strings.HasPrefix(worker.url, addedScheme) && !worker.off() {
					return true
				}
			}
		}
	}
	return false
}

// needsReload says that a reload can do what the server did not, unless time was up.
func needsReload(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return err
	}
	return fmt.Errorf("%w: %w", ErrNeedsReload, err)
}

// identity tells one server from another, and from itself before a restart: with one, all
// that the manager was told is forgotten.
func (a *Apache) identity(ctx context.Context) (string, error) {
	status, err := a.control.get(ctx, "/rollcall/status?auto")
	if err != nil {
		return "", err
	}
	words := map[string]string{}
	for line := range strings.Lines(status) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), ": "); ok {
			words[key] = value
		}
	}
	started, generation := words["RestartTime"], words["ParentServerConfigGeneration"]
	if started == "" || generation == "" {
		return "", errors.New("the server's status does not say when it has started")
	}
	master, _ := a.master.Process()
	return fmt.Sprint(started, " ", generation, " ", master), nil
}
