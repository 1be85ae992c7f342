package reload

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
)

// departures are the servers that take no new requests, and the leavers that they are of.
type departures struct {
	leavers *leavers
	servers map[*haServer]haLeaving // of the known worker; held with the turn
	count   map[haLeaving]int       // of servers; likewise

	mu   sync.Mutex
	each map[haLeaving]*Leaver // none for a member that is still there, on another server
}

// haLeaving tells leavers apart. One belongs to a worker: when that is replaced, it goes
// on with what it has begun.
type haLeaving struct {
	worker                Process
	pool, member, address string
}

func newDepartures(ask func(context.Context, []*Leaver) []*Leaver) departures {
	return departures{leavers: newLeavers(ask), servers: map[*haServer]haLeaving{}, count: map[haLeaving]int{}, each: map[haLeaving]*Leaver{}}
}

// Leaving implements Live.
func (h *HAProxy) Leaving() []*Leaver {
	d := &h.live.departures
	d.bury()
	d.mu.Lock()
	defer d.mu.Unlock()
	var list []*Leaver
	for _, one := range d.each {
		list = append(list, one)
	}
	slices.SortFunc(list, func(a, b *Leaver) int {
		return cmp.Or(cmp.Compare(a.Pool, b.Pool), cmp.Compare(a.Member, b.Member), cmp.Compare(a.Address, b.Address))
	})
	return list
}

// over does what makes leavers end: it removes their servers.
func (h *HAProxy) over(ctx context.Context, list []*Leaver) []*Leaver {
	if h.live.take(ctx) == nil {
		h.see(ctx, list)
		h.live.give()
	}
	return nil // those that are over have been told
}

func (h *HAProxy) see(ctx context.Context, list []*Leaver) {
	l := h.live
	l.bury()
	if l.worker.Pid == 0 {
		return // it is being found out; the next Sync tells
	}
	servers := l.of(list)
	if len(servers) == 0 {
		return
	}
	api, err := dialAPI(ctx, l.socket)
	if err != nil {
		return
	}
	defer api.close()
	if api.pid == l.pid && errors.Is(l.remove(ctx, api, servers), errStale) {
		l.doubtful = true
	}
}

// of gives servers of the leavers, and those that are of none.
func (d *departures) of(list []*Leaver) []*haServer {
	wanted := map[*Leaver]bool{nil: true}
	for _, one := range list {
		wanted[one] = true
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	var servers []*haServer
	for server, of := range d.servers {
		if server.leaving && wanted[d.each[of]] {
			servers = append(servers, server)
		}
	}
	return servers
}

// bury ends the leavers whose worker is gone.
func (d *departures) bury() {
	d.mu.Lock()
	defer d.mu.Unlock()
	living := map[Process]bool{}
	for of := range d.each {
		if _, ok := living[of.worker]; !ok {
			living[of.worker] = of.worker.alive()
		}
		if !living[of.worker] {
			d.end(of)
		}
	}
}

// end is called with the lock.
func (d *departures) end(of haLeaving) {
	if one := d.each[of]; one != nil {
		delete(d.each, of)
		d.leavers.end(one)
	}
}

// reread forgets the servers of a worker, because they are read anew. Its leavers stay.
func (d *departures) reread() {
	clear(d.servers)
	clear(d.count)
}

// drop notes that a server is no more, or serves again, and gives what it was of.
func (d *departures) drop(server *haServer) haLeaving {
	of, ok := d.servers[server]
	if !ok {
		return of
	}
	delete(d.servers, server)
	if d.count[of]--; d.count[of] == 0 {
		delete(d.count, of)
	}
	return of
}

// left notes that a server has been deleted.
func (d *departures) left(server *haServer) {
	if of := d.drop(server); d.count[of] == 0 {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.end(of)
	}
}

// found notes that nothing runs on a server any more: before long it can be deleted.
func (d *departures) found(server *haServer) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if one := d.each[d.servers[server]]; one != nil {
		d.leavers.hurry(one)
	}
}

// depart notes what a Sync has changed: who is back, and who leaves from now on.
func (s *haSync) depart() {
	d := &s.departures
	for server := range d.servers {
		if !server.leaving {
			d.drop(server)
		}
	}
	// One place is as good as another: all of a pool have the same members by now.
	places := map[string]*haPlace{}
	for _, plan := range s.plans {
		places[plan.pool] = plan.place
		for _, server := range plan.leave {
			if plan.place.servers[server.name] == server { // was not deleted at once
				of := haLeaving{s.worker, plan.pool, server.member, server.addr.String()}
				d.servers[server] = of
				d.count[of]++
			}
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for of := range d.each {
		p := places[of.pool]
		if p != nil && p.serves(of.member, of.address) || of.worker == s.worker && d.count[of] == 0 {
			d.end(of)
		}
	}
	for of := range d.count {
		if p := places[of.pool]; p != nil && d.each[of] == nil && !p.serves(of.member, of.address) {
			d.each[of] = d.leavers.add(of.pool, of.member, of.address)
		}
	}
}
