package reload

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// A haOrder is a command, and what is answered when it is obeyed.
type haOrder struct{ command, answer string }

const (
	haAdded   = "New server registered."
	haDeleted = "Server deleted."
	haUnknown = "No such server."
	haNowhere = "No such backend."
	haBusy    = "Server still has " // requests, or connections
)

// maxAdding bounds the servers that are added times those that are there. HAProxy looks
// through all of them for each; beyond this, which is about a second, a reload is sooner.
const maxAdding = 5_000_000

// A haPlan is what makes one place as it should be. What is planned counts as done at
// once: when it fails, all is read back before anything else is planned.
type haPlan struct {
	place  *haPlace
	orders []haOrder
	leave  []*haServer
	adding int
	wrong  map[string]bool // members that were not as they should be
}

// plan compares a place with the members it should have.
func (p *haPlace) plan(want []haMember) (*haPlan, error) {
	plan := &haPlan{place: p, wrong: map[string]bool{}}
	active := 0
	for _, m := range want {
		if m.weight > 0 {
			active++
		}
	}
	p.round++
	for _, m := range want {
		s := p.active[m.name]
		if s != nil && s.suits(m, active) {
			s.round = p.round
			plan.adjust(s, m, active)
			continue
		}
		if s != nil {
			plan.retire(s)
		}
		if s = p.spareFor(m, active); s != nil {
			plan.restore(s, m, active)
		} else {
			plan.add(m, active)
		}
	}
	if plan.adding*len(p.servers) > maxAdding {
		return nil, fmt.Errorf("%w: %d servers of %s are new", ErrNeedsReload, plan.adding, p.name)
	}
	i := 0
	for _, m := range p.last { // both are sorted; a look at each server would cost more than the rest
		for i < len(want) && want[i].name < m.name {
			i++
		}
		if i < len(want) && want[i].name == m.name {
			continue
		}
		if s := p.active[m.name]; s != nil && s.round != p.round {
			plan.retire(s)
		}
	}
	p.last = want
	for _, list := range p.spare {
		for _, s := range list {
			if !s.leaving {
				plan.leaves(s)
			}
		}
	}
	return plan, nil
}

// suits says that the server may be that of the member. A sole server is not taken out by
// failures, because there is nobody else to ask; that needs no check.
func (s *haServer) suits(m haMember, active int) bool {
	return s.addr == m.addr && (s.check != checkNone || m.weight == 0 || active == 1)
}

// spareFor finds a server that the member had before, best one that still serves.
func (p *haPlace) spareFor(m haMember, active int) *haServer {
	var best *haServer
	for _, s := range p.spare[m.name] {
		if s.suits(m, active) && (best == nil || best.forced != 0 && s.forced == 0) {
			best = s
		}
	}
	return best
}

func (plan *haPlan) order(answer, format string, args ...any) {
	plan.orders = append(plan.orders, haOrder{fmt.Sprintf(format, args...), answer})
}

// adjust puts right what may be other than it should about an active server.
func (plan *haPlan) adjust(s *haServer, m haMember, active int) {
	before := len(plan.orders)
	if s.weight != m.weight {
		plan.order("", "set server %s weight %d", s, m.weight)
		s.weight = m.weight
	}
	wrong := len(plan.orders) > before // a check follows from what happens to the others
	switch sole := active == 1; {
	case m.weight == 0:
	case sole && s.check == checkOn:
		plan.order("", "disable health %s", s)
		plan.order("", "set server %s health up", s)
		s.check = checkOff
	case !sole && s.check == checkOff:
		plan.order("", "enable health %s", s)
		s.check = checkOn
	}
	if s.forced != 0 {
		plan.order("", "set server %s state ready", s)
		s.forced, wrong = 0, true
	}
	if wrong {
		plan.wrong[m.name] = true
	}
}

// restore has a spare server serve again.
func (plan *haPlan) restore(s *haServer, m haMember, active int) {
	p := plan.place
	p.release(s)
	p.active[m.name] = s
	s.leaving, s.idle, s.round = false, 0, p.round
	plan.adjust(s, m, active)
}

// add makes a new server. It is in maintenance until all about it is as it should be.
func (plan *haPlan) add(m haMember, active int) {
	p := plan.place
	p.lastID++
	s := &haServer{place: p, name: p.freeName(m.name), member: m.name, addr: m.addr, id: p.lastID, weight: m.weight, check: checkOff, round: p.round}
	p.servers[s.name], p.active[m.name] = s, s
	plan.order(haAdded, "add server %s %s id %d weight %d %s", s, m.addr, s.id, m.weight, serverOptions)
	if active != 1 {
		plan.order("", "enable health %s", s)
		s.check = checkOn
	}
	plan.order("", "enable server %s", s)
	plan.adding++
	if !p.served(m) {
		plan.wrong[m.name] = true
	}
}

// served says that the member is there, and only gets a server with a check instead.
func (p *haPlace) served(m haMember) bool {
	for _, s := range p.spare[m.name] {
		if s.addr == m.addr && s.forced == 0 {
			return true
		}
	}
	return false
}

// retire takes a server from among those that are chosen from.
func (plan *haPlan) retire(s *haServer) {
	p := plan.place
	delete(p.active, s.member)
	p.hold(s)
}

// leaves has a server take no more requests, after all others are as they should be.
func (plan *haPlan) leaves(s *haServer) {
	plan.leave = append(plan.leave, s)
	s.leaving = true
	if s.forced&adminMaint == 0 && !plan.place.serves(s.member, s.addr.String()) {
		plan.wrong[s.member] = true
	}
}

// A haMember is a Member whose words have been looked at.
type haMember struct {
	name   string
	addr   netip.AddrPort
	weight int
}

// haMembers refuses whatever could be more than one word of a command.
func haMembers(pool *Pool) ([]haMember, error) {
	for _, p := range pool.Places {
		if !haWord(p) {
			return nil, fmt.Errorf("place %q of pool %q: not a name that haproxy takes", p, pool.Name)
		}
	}
	list := make([]haMember, len(pool.Members))
	for i, m := range pool.Members {
		addr, err := netip.ParseAddrPort(m.Address)
		switch {
		case !haWord(m.Name) || strings.Contains(m.Name, versionMark):
			return nil, fmt.Errorf("member %q of pool %q: not a name that haproxy takes", m.Name, pool.Name)
		case err != nil || addr.Addr().Zone() != "":
			return nil, fmt.Errorf("member %s of pool %q: %q is not an address with a port", m.Name, pool.Name, m.Address)
		case m.Weight < 0 || m.Weight > 256:
			return nil, fmt.Errorf("member %s of pool %q: weight %s is not from 0 to 256", m.Name, pool.Name, strconv.Itoa(m.Weight))
		}
		list[i] = haMember{m.Name, addr, m.Weight}
	}
	return list, nil
}

// haWord says that the text is a name as HAProxy has them, which is one word.
func haWord(text string) bool {
	for i := range len(text) {
		c := text[i]
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && c != '.' && c != ':' && c != '_' && c != '-' {
			return false
		}
	}
	return text != ""
}
