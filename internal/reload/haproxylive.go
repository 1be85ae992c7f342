package reload

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// haLive is what the driver knows of the members of the worker that accepts connections.
type haLive struct {
	turn      chan struct{} // held by the one who speaks to the worker
	socket    string        // of the runtime API; "" when the configuration has none
	worker    Process       // the one that is known; zero after an error
	pid       int           // what the worker takes for its own
	structure string
	places    map[string]*haPlace
	synced    map[string]*Pool // by name, as of the last Sync that succeeded
	doubtful  bool             // the worker did not do what it could do if nobody else changed servers
	departures
}

var _ Live = (*HAProxy)(nil)

func newHALive(h *HAProxy, socket string) *haLive {
	return &haLive{turn: make(chan struct{}, 1), socket: socket, departures: newDepartures(h.over)}
}

// take waits for the turn; give is to be called after.
func (l *haLive) take(ctx context.Context) error {
	select {
	case l.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *haLive) give() { <-l.turn }

// errStale says that the servers are not what they were thought to be.
var errStale = errors.New("haproxy does not obey")

// Sync implements Live by the runtime API of the worker, which confirms each change.
// Servers are added and deleted, so that there are no spare ones to run out of.
func (h *HAProxy) Sync(ctx context.Context, want Members, readBack bool) (int, error) {
	l := h.live
	if l.socket == "" || want.Structure == "" {
		return 0, ErrNeedsReload
	}
	if err := l.take(ctx); err != nil {
		return 0, err
	}
	defer l.give()
	changed, err := h.sync(ctx, want, readBack)
	if !errors.Is(err, errStale) {
		return changed, err
	}
	// Somebody else may have changed servers since they were last read.
	again, err := h.sync(ctx, want, true)
	if errors.Is(err, errStale) {
		err = fmt.Errorf("%w: %w", ErrNeedsReload, err)
	}
	return max(changed, again), err
}

func (h *HAProxy) sync(ctx context.Context, want Members, readBack bool) (changed int, err error) {
	l := h.live
	api, err := dialAPI(ctx, l.socket)
	if err != nil {
		return 0, err
	}
	defer api.close()
	known := l.worker
	l.worker = Process{} // unless all goes well
	if !readBack && known.Pid != 0 && (l.pid != api.pid || !known.alive()) {
		// What it has left behind has to be found first, and finds the whole transaction.
		return 0, fmt.Errorf("%w: haproxy has another worker, %d, by somebody else's doing", ErrNeedsReload, api.pid)
	}
	if readBack || known.Pid == 0 || l.doubtful {
		readBack = true
		if known, err = h.meetWorker(ctx, api); err != nil {
			return 0, err
		}
	}
	if l.structure != want.Structure {
		return 0, fmt.Errorf("%w: haproxy's worker %d has structure %q, not %q", ErrNeedsReload, api.pid, l.structure, want.Structure)
	}
	s := &haSync{haLive: l, api: api, worker: known}
	for _, pool := range want.Pools {
		if readBack || l.synced[pool.Name] != pool {
			n, err := s.plan(pool)
			if err != nil {
				return 0, err
			}
			changed += n
		}
	}
	if err := s.obey(ctx); err != nil {
		return changed, err
	}
	l.synced = make(map[string]*Pool, len(want.Pools))
	for _, pool := range want.Pools {
		l.synced[pool.Name] = pool
	}
	s.depart()
	l.worker = known
	return changed, nil
}

// meetWorker reads all from a worker: who it is, its structure and its servers.
func (h *HAProxy) meetWorker(ctx context.Context, api *runtimeAPI) (Process, error) {
	l := h.live
	worker, ok := h.workerCalled(api.pid)
	if !ok {
		return worker, fmt.Errorf("%w: process %d, which answers at %s, is no worker of haproxy's master", ErrNeedsReload, api.pid, l.socket)
	}
	serving, err := h.control.generation(ctx)
	if err != nil {
		return worker, err
	}
	answers, err := api.ask(ctx, []string{"show servers state", "del server rollcall/none"})
	if err != nil {
		return worker, err
	}
	// Before 2.6 it cannot be done; found out later, it would leave a member half removed.
	if answers[1] != haNowhere && answers[1] != haUnknown {
		return worker, fmt.Errorf("%w: servers cannot be deleted: %q", ErrNeedsReload, firstLine(answers[1]))
	}
	l.pid, l.structure, l.doubtful = api.pid, serving.Structure, false
	l.reread()
	if l.places, err = parseServers(answers[0]); err != nil {
		return worker, fmt.Errorf("%w: ask %s for the servers: %w", ErrNeedsReload, l.socket, err)
	}
	return worker, nil
}

// workerCalled gives the worker with a process id, which in a container is another one
// than it has here.
func (h *HAProxy) workerCalled(pid int) (Process, bool) {
	for _, p := range h.children() {
		if p.innermostPid() == pid {
			return p, true
		}
	}
	return Process{}, false
}

// innermostPid gives the process id by which the process knows itself: the last one of
// NSpid, proc(5).
func (p Process) innermostPid() int {
	b, err := os.ReadFile(procPath(p.Pid, "status"))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if ids, ok := strings.CutPrefix(line, "NSpid:"); ok {
			fields := strings.Fields("0 " + ids)
			pid, _ := strconv.Atoi(fields[len(fields)-1])
			return pid
		}
	}
	return p.Pid // a kernel without such names
}

// A haSync is one Sync under way.
type haSync struct {
	*haLive
	api    *runtimeAPI
	worker Process
	plans  []haPooled
}

// A haPooled is a plan and the pool that it is for.
type haPooled struct {
	*haPlan
	pool string
}

// plan gives how many of the pool's members are not as they should be.
func (s *haSync) plan(pool *Pool) (int, error) {
	members, err := haMembers(pool)
	if err != nil {
		return 0, err
	}
	wrong := map[string]bool{}
	for _, name := range pool.Places {
		p := s.places[name]
		if p == nil { // a backend that had no servers is not in their list
			p = newPlace(name)
			s.places[name] = p
		}
		plan, err := p.plan(members)
		if err != nil {
			return 0, err
		}
		for member := range plan.wrong {
			wrong[member] = true
		}
		s.plans = append(s.plans, haPooled{plan, pool.Name})
	}
	return len(wrong), nil
}

// obey has HAProxy do what is planned: those that go only when those that come are there.
// To delete a server it halts all its threads in between two requests. So none that had
// just chosen the server has yet to connect to it, whether it can be deleted or not.
func (s *haSync) obey(ctx context.Context) error {
	var orders []haOrder
	var leave []*haServer
	for _, plan := range s.plans {
		orders = append(orders, plan.orders...)
		leave = append(leave, plan.leave...)
	}
	if _, err := s.order(ctx, orders, nil); err != nil {
		return err
	}
	orders = orders[:0]
	for _, server := range leave {
		if server.forced&adminMaint == 0 {
			orders = append(orders, haOrder{"set server " + server.String() + " state maint", ""})
			server.forced |= adminMaint
		}
	}
	answers, err := s.order(ctx, orders, removal(leave))
	if err != nil {
		return err
	}
	return s.removed(leave, answers)
}

// order gives the answers to what comes after the orders, which have to be obeyed.
func (s *haSync) order(ctx context.Context, orders []haOrder, after []string) ([]string, error) {
	commands := make([]string, 0, len(orders)+len(after))
	for _, o := range orders {
		commands = append(commands, o.command)
	}
	answers, err := s.api.ask(ctx, append(commands, after...))
	if err != nil {
		return nil, err
	}
	for i, o := range orders {
		if answers[i] != o.answer {
			return nil, fmt.Errorf("%w: %q was answered by %q", errStale, o.command, firstLine(answers[i]))
		}
	}
	return answers[len(orders):], nil
}
