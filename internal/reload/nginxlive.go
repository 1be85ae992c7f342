package reload

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
)

// luaLive is what is known about the members of an nginx with our Lua.
type luaLive struct {
	control luaControl
	luaLeaving

	mu     sync.Mutex          // held by Sync
	head   luaHead             // of the server that the rest is about; zero when that is not known
	met    luaHead             // the last one whose running requests were looked through
	pools  map[string]*luaPool // by place
	synced map[string]*Pool    // by name, as of the last Sync that succeeded
}

func newLuaLive(control luaControl, workers func() []Process) *luaLive {
	l := &luaLive{control: control}
	l.luaLeaving = luaLeaving{control: control, workers: workers, each: map[luaPlace]*luaLeaver{}}
	l.leavers = newLeavers(l.ask)
	return l
}

// Leaving implements Live.
func (n *Nginx) Leaving() []*Leaver { return n.live.leavers.list() }

// Sync implements Live by our Lua. Its memory is shared by all workers, the old ones of
// a reload too, and each looks at it after it has counted a request and before it sends
// it: so a change counts when nginx has answered.
func (n *Nginx) Sync(ctx context.Context, want Members, readBack bool) (changed int, err error) {
	l := n.live
	if l.control.secret == "" || want.Structure == "" {
		return 0, ErrNeedsReload
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	changed, err = l.sync(ctx, want, readBack)
	if errors.Is(err, errLuaOther) {
		changed, err = l.sync(ctx, want, true)
	}
	if errors.Is(err, errLuaOther) { // it is reading them all the time
		err = fmt.Errorf("%w: %w", ErrNeedsReload, err)
	}
	return changed, err
}

func (l *luaLive) sync(ctx context.Context, want Members, readBack bool) (changed int, err error) {
	head := l.head
	l.head = luaHead{} // unless all goes well
	readBack = readBack || head == (luaHead{})
	if readBack {
		if head, err = l.read(ctx, want); err != nil {
			return 0, err
		}
	}
	if head.structure != want.Structure {
		return 0, fmt.Errorf("%w: nginx has structure %q, not %q", ErrNeedsReload, head.structure, want.Structure)
	}
	var commands []string
	var gone, back []luaPlace
	for _, pool := range want.Pools {
		before := l.synced[pool.Name]
		if len(pool.Places) == 0 || before == pool && !readBack {
			continue
		}
		place := pool.Places[0]
		known := l.pools[place]
		if known == nil {
			return 0, fmt.Errorf("%w: nginx has no %s", ErrNeedsReload, place)
		}
		var changes map[string]luaChange
		if readBack || before == nil {
			changes = known.differences(pool.Members)
		} else {
			changes = memberDifferences(before.Members, pool.Members)
		}
		names := memberNames(changes, pool, before)
		for address, c := range changes {
			at := luaPlace{pool.Name, place, names[address], address}
			if c.left() {
				gone = append(gone, at)
			} else if c.back() {
				back = append(back, at)
			}
		}
		commands = append(commands, known.change(place, changes)...)
		changed += len(changes)
	}
	if err := l.write(ctx, head, commands); err != nil {
		l.met = luaHead{} // who has left is not known
		return changed, err
	}
	l.returned(back)
	if readBack {
		l.returned(l.serving(want)) // by a reload
	}
	l.leave(head.memory, gone)
	if head != l.met {
		if err := l.meet(ctx, head, want); err != nil {
			return changed, err
		}
		l.met = head
	}
	l.synced = make(map[string]*Pool, len(want.Pools))
	for _, pool := range want.Pools {
		l.synced[pool.Name] = pool
	}
	l.head = head
	return changed, nil
}

// memberNames gives the names of members by their addresses, as the last of the pools
// has them; for one that only nginx has known, the address itself.
func memberNames[V any](of map[string]V, pools ...*Pool) map[string]string {
	names := make(map[string]string, len(of))
	for address := range of {
		names[address] = address
	}
	for _, pool := range pools {
		if pool == nil || len(of) == 0 {
			continue
		}
		for _, m := range pool.Members {
			if _, ok := of[m.Address]; ok {
				names[m.Address] = m.Name
			}
		}
	}
	return names
}

// write sends the commands, some at a time; none at all still finds out whether the
// server is the one that is known.
func (l *luaLive) write(ctx context.Context, head luaHead, commands []string) error {
	pool := ""
	for {
		var some []string
		size := 0
		if pool != "" && !strings.HasPrefix(commands[0], "write ") {
			some = append(some, pool)
		}
		for len(commands) > 0 && len(some) < maxLuaAsks && size < maxLuaBody {
			if strings.HasPrefix(commands[0], "write ") {
				pool = commands[0]
			}
			some = append(some, commands[0])
			size += len(commands[0])
			commands = commands[1:]
		}
		if _, _, err := l.control.say(ctx, head, some); err != nil {
			return err
		}
		if len(commands) == 0 {
			return nil
		}
	}
}

// read learns what nginx has of all pools.
func (l *luaLive) read(ctx context.Context, want Members) (luaHead, error) {
	head, _, err := l.control.say(ctx, luaHead{}, nil)
	if err != nil || head.structure != want.Structure {
		return head, err
	}
	l.pools = make(map[string]*luaPool, len(want.Pools))
	var asks []string
	for i, pool := range want.Pools {
		if len(pool.Places) > 0 {
			asks = append(asks, "read "+pool.Places[0])
		}
		if len(asks) == 0 || len(asks) < maxLuaAsks && i < len(want.Pools)-1 {
			continue
		}
		_, lines, err := l.control.say(ctx, head, asks)
		if err == nil {
			err = l.parse(lines)
		}
		if err != nil {
			return head, err
		}
		asks = nil
	}
	return head, nil
}

// parse takes the answers to "read": a line "pool NAME PIECES", and then each piece.
func (l *luaLive) parse(lines []string) error {
	for len(lines) > 0 {
		words := strings.Split(lines[0], " ")
		n, err := 0, error(nil)
		if len(words) == 3 {
			n, err = strconv.Atoi(words[2])
		}
		if len(words) != 3 || words[0] != "pool" || err != nil || n < 0 || n >= len(lines) {
			return fmt.Errorf("%w: nginx answered %.80q when it was asked for members", ErrNeedsReload, lines[0])
		}
		if l.pools[words[1]], err = parseLuaPool(lines[1 : 1+n]); err != nil {
			return fmt.Errorf("%w: nginx's members of %s: %w", ErrNeedsReload, words[1], err)
		}
		lines = lines[1+n:]
	}
	return nil
}

// meet finds the members that have running requests and get no new ones: those that
// left with a reload, or before another run of this program.
func (l *luaLive) meet(ctx context.Context, head luaHead, want Members) error {
	_, lines, err := l.control.say(ctx, head, []string{"running"})
	if err != nil {
		return err
	}
	running := map[string]map[string]bool{}
	for _, line := range lines {
		place, address, _ := strings.Cut(line, " ")
		if running[place] == nil {
			running[place] = map[string]bool{}
		}
		running[place][address] = true
	}
	var gone []luaPlace
	for _, pool := range want.Pools {
		if len(pool.Places) == 0 {
			continue
		}
		place := pool.Places[0]
		left := running[place]
		delete(running, place)
		for _, m := range pool.Members {
			if m.Weight > 0 {
				delete(left, m.Address)
			}
		}
		for address, name := range memberNames(left, pool, l.synced[pool.Name]) {
			gone = append(gone, luaPlace{pool.Name, place, name, address})
		}
	}
	for place, left := range running { // of a service that is not there any more
		for address := range left {
			gone = append(gone, luaPlace{place, place, address, address})
		}
	}
	l.leave(head.memory, gone)
	return nil
}

func compareLuaPlaces(a, b luaPlace) int {
	return cmp.Or(cmp.Compare(a.place, b.place), cmp.Compare(a.address, b.address))
}
