package reload

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Members are what may change in a running server without its files being read again.
type Members struct {
	// Structure names all the rest of the configuration: two with the same structure differ
	// in nothing but their members.
	Structure string
	Pools     []*Pool // sorted by name; never changed once handed over, so that one may be shared
}

// A Pool is a set of members of which a server chooses one for each request.
type Pool struct {
	Name    string
	Places  []string // where the server keeps it, in the driver's own terms; the same in each
	Members []Member // sorted by name, no two with one address
}

// A Member is one of those that are chosen from.
type Member struct {
	Name    string // one word
	Address string // "10.0.0.5:80", "[2001:db8::5]:80"
	Weight  int    // 0–256; 0 gets no new requests
}

// Live is a Proxy whose members change while it runs.
type Live interface {
	Proxy
	// Sync makes the running members what they should be, and returns when nothing that
	// accepts connections starts a request to any other. The server says so itself: it is
	// asked, or has answered each change. A pool that is the same pointer as in the last
	// Sync that succeeded needs no look, unless all are to be read back from the server.
	// It gives how many members were not as they should be.
	//
	// ErrNeedsReload says that this server cannot do it now; part of it may be done.
	Sync(ctx context.Context, want Members, readBack bool) (changed int, err error)
	// Leaving lists the members that get no new requests any more, while some that began
	// before may still be running: all of them, not only those of the last Sync.
	Leaving() []*Leaver
}

// ErrNeedsReload is returned when members cannot change while the server runs: it has no
// room for more, it is not the one that was asked before, or it has another structure.
var ErrNeedsReload = errors.New("the members can only change with a reload")

// A Leaver is a member that gets no new requests, until the last of its requests is over.
type Leaver struct {
	Pool    string
	Member  string // its address where nobody knows the name any more, after a restart of this program
	Address string

	over chan struct{}
	of   *leavers // nil for one that somebody else ends
	look look     // held with the mutex of leavers
}

// A look is when a leaver was last asked for, and how long until it is again.
type look struct {
	at    time.Time
	pause time.Duration
}

// left gives how long it is until the leaver is to be asked for.
func (l look) left(now time.Time) time.Duration { return l.pause - now.Sub(l.at) }

// NewLeaver gives one whose last request is over when end is called.
func NewLeaver(pool, member, address string) (l *Leaver, end func()) {
	l = &Leaver{Pool: pool, Member: member, Address: address, over: make(chan struct{})}
	return l, sync.OnceFunc(func() { close(l.over) })
}

// Wait returns when none of its requests is running any more, or with the context's error.
func (l *Leaver) Wait(ctx context.Context) error {
	if l.of != nil {
		return l.of.wait(ctx, l)
	}
	select {
	case <-l.over:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Over says that none of its requests is running any more.
func (l *Leaver) Over() bool {
	select {
	case <-l.over:
		return true
	default:
		return false
	}
}

// leavers are those of one server. Nobody looks while nobody waits, and of many who wait
// one looks for all.
type leavers struct {
	// ask gives those of the list whose requests are over. What it cannot tell now, it may
	// tell the next time.
	ask func(ctx context.Context, list []*Leaver) []*Leaver

	turn    chan struct{} // held by the one who looks
	fresh   chan struct{} // one has begun to leave
	mu      sync.Mutex
	pending map[*Leaver]bool
}

func newLeavers(ask func(ctx context.Context, list []*Leaver) []*Leaver) *leavers {
	return &leavers{ask: ask, turn: make(chan struct{}, 1), fresh: make(chan struct{}, 1), pending: map[*Leaver]bool{}}
}

// add notes that a member has begun to leave.
func (s *leavers) add(pool, member, address string) *Leaver {
	l := &Leaver{Pool: pool, Member: member, Address: address, over: make(chan struct{}), of: s}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending[l] = true
	select {
	case s.fresh <- struct{}{}:
	default:
	}
	return l
}

// end notes that one has left, or has come back.
func (s *leavers) end(l *Leaver) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pending[l] {
		delete(s.pending, l)
		close(l.over)
	}
}

// hurry has one that is about to be over be asked for as if it had just begun to leave.
func (s *leavers) hurry(l *Leaver) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l.look.pause = 0
}

func (s *leavers) list() []*Leaver {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]*Leaver, 0, len(s.pending))
	for l := range s.pending {
		list = append(list, l)
	}
	return list
}

func (s *leavers) wait(ctx context.Context, l *Leaver) error {
	for {
		select {
		case <-l.over:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case s.turn <- struct{}{}:
		}
		timer := time.NewTimer(s.find(ctx))
		select {
		case <-l.over:
		case <-timer.C:
		case <-s.fresh:
		case <-ctx.Done():
		}
		timer.Stop()
		<-s.turn
	}
}

// Most requests are over within milliseconds; those that are not, such as WebSockets, may
// take hours, and to ask for them disturbs the server.
const firstLook, lastLook = 2 * time.Millisecond, time.Second

// find asks for those whose turn it is, and gives how long there is nothing to ask for.
func (s *leavers) find(ctx context.Context) time.Duration {
	if due := s.due(); len(due) > 0 {
		over := s.ask(ctx, due)
		if ctx.Err() == nil { // otherwise the next one who waits asks once more
			s.asked(due)
		}
		for _, l := range over {
			s.end(l)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	rest, now := lastLook, time.Now()
	for l := range s.pending {
		rest = min(rest, l.look.left(now))
	}
	return rest
}

// due gives those whose turn it is, and with them those that have waited for half of
// their pause, because one question does for many.
func (s *leavers) due() (list []*Leaver) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, due := time.Now(), false
	for l := range s.pending {
		left := l.look.left(now)
		due = due || left <= 0
		if left <= l.look.pause/2 {
			list = append(list, l)
		}
	}
	if !due {
		return nil
	}
	return list
}

func (s *leavers) asked(list []*Leaver) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for _, l := range list {
		l.look = look{now, min(max(2*l.look.pause, firstLook), lastLook)}
	}
}
