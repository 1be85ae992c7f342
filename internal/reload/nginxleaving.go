package reload

import (
	"context"
	"slices"
	"strconv"
	"sync"
)

// luaLeaving are the members that leave, as our Lua in nginx counts their requests.
type luaLeaving struct {
	control luaControl
	workers func() []Process
	leavers *leavers

	held sync.Mutex
	each map[luaPlace]*luaLeaver
}

// A luaPlace is a member's place in a pool.
type luaPlace struct{ pool, place, member, address string }

// key is what it is known by: the name is for people.
func (p luaPlace) key() luaPlace { return luaPlace{place: p.place, address: p.address} }

// A luaLeaver is a member that leaves.
type luaLeaver struct {
	*Leaver
	place  luaPlace
	memory string    // where its requests are counted
	among  []Process // the workers that may have some, where that can be known
}

// leave notes members that get no new requests from now on.
func (l *luaLeaving) leave(memory string, gone []luaPlace) {
	if len(gone) == 0 {
		return
	}
	among := l.workers()
	l.held.Lock()
	defer l.held.Unlock()
	for _, at := range gone {
		if l.each[at.key()] == nil {
			l.each[at.key()] = &luaLeaver{l.leavers.add(at.pool, at.member, at.address), at, memory, among}
		}
	}
}

// returned ends the leaving of members that get requests again.
func (l *luaLeaving) returned(back []luaPlace) {
	l.held.Lock()
	defer l.held.Unlock()
	for _, at := range back {
		if one := l.each[at.key()]; one != nil {
			l.leavers.end(one.Leaver)
			delete(l.each, at.key())
		}
	}
}

// serving gives those of the leavers that are to get requests.
func (l *luaLeaving) serving(want Members) []luaPlace {
	l.held.Lock()
	defer l.held.Unlock()
	if len(l.each) == 0 {
		return nil
	}
	var found []luaPlace
	for _, pool := range want.Pools {
		for _, m := range pool.Members {
			if m.Weight == 0 || len(pool.Places) == 0 {
				continue
			}
			at := luaPlace{place: pool.Places[0], address: m.Address}
			if l.each[at] != nil {
				found = append(found, at)
			}
		}
	}
	return found
}

// ask gives those of the leavers whose requests are over. Each worker counts its own
// requests, and nginx leaves out the counts of those that were killed. A memory of which
// nginx knows nothing any more is that of a server that is gone, or has one of another
// size by now: then its workers have to be gone as well.
func (l *luaLeaving) ask(ctx context.Context, list []*Leaver) []*Leaver {
	l.held.Lock()
	defer l.held.Unlock()
	wanted := make(map[*Leaver]bool, len(list))
	for _, one := range list {
		wanted[one] = true
	}
	var pending []*luaLeaver
	for _, one := range l.each {
		if wanted[one.Leaver] {
			pending = append(pending, one)
		}
	}
	slices.SortFunc(pending, func(a, b *luaLeaver) int { return compareLuaPlaces(a.place, b.place) })
	var over []*Leaver
	alive := map[Process]bool{}
	for some := range slices.Chunk(pending, maxLuaAsks) {
		memory, counts := l.count(ctx, some)
		for i, one := range some {
			switch {
			case memory == one.memory && counts[i] > 0:
				continue
			case memory == one.memory:
			case memory == "" && len(one.among) == 0 || anyAlive(one.among, alive):
				continue
			}
			delete(l.each, one.place.key())
			over = append(over, one.Leaver)
		}
	}
	return over
}

// count gives the running requests of each; "" for the memory if nginx does not tell.
func (l *luaLeaving) count(ctx context.Context, list []*luaLeaver) (memory string, counts []int) {
	commands := make([]string, len(list))
	for i, one := range list {
		commands[i] = "count " + one.place.place + " " + one.place.address
	}
	head, lines, err := l.control.say(ctx, luaHead{}, commands)
	if err != nil || len(lines) != len(list) {
		return "", nil
	}
	counts = make([]int, len(list))
	for i, line := range lines {
		if counts[i], err = strconv.Atoi(line); err != nil {
			return "", nil
		}
	}
	return head.memory, counts
}

// anyAlive says whether one of the processes is; known holds what has been looked up.
func anyAlive(list []Process, known map[Process]bool) bool {
	for _, p := range list {
		alive, ok := known[p]
		if !ok {
			alive = p.alive()
			known[p] = alive
		}
		if alive {
			return true
		}
	}
	return false
}
