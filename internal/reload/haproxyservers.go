package reload

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// A haServer is a server of a backend. It never gets another address, because requests to
// the one that it had could not be told from those to the one that it has: a member that
// moves gets another server.
type haServer struct {
	place  *haPlace
	name   string // the member's, or that with versionMark and a number
	member string
	addr   netip.AddrPort
	id     int
	weight int
	check  haCheck
	forced int // bits of adminMaint and adminDrain

	leaving bool // it was told to take no more requests
	idle    int  // how often it was found without a request since
	round   int  // the last plan in which it was wanted
}

// haCheck says whether three failures in a row take a server out.
type haCheck int

const (
	checkNone haCheck = iota // it cannot be had: the file says "no-check"
	checkOff
	checkOn
)

// The bits of srv_admin_state and srv_check_state in HAProxy's management guide, section
// 9.3, "show servers state".
const (
	adminMaint, adminDrain      = 0x01, 0x08
	checkConfigured, checkTurns = 0x02, 0x04
)

// serverOptions are those that the built-in template has for all servers. A server that is
// added takes none of default-server: it keeps no idle connection unless it is told to, and
// HAProxy 2.6 counts its failures without ever doing anything about them.
const serverOptions = "check inter 10m fastinter 1s downinter 2s fall 2 rise 1 observe layer4 error-limit 3 " +
	"on-error fail-check pool-purge-delay 500ms pool-max-conn -1"

// versionMark separates a member's name from the number of a server that has to live
// beside another one of that member. No name of a member has a capital letter.
const versionMark = ":V"

// A haPlace is a backend.
type haPlace struct {
	name    string
	servers map[string]*haServer   // all, by name
	active  map[string]*haServer   // by member: those that are chosen from
	spare   map[string][]*haServer // by member: those that are not, or not yet known to be
	lastID  int
	round   int        // plans so far
	last    []haMember // of the last plan
}

func newPlace(name string) *haPlace {
	return &haPlace{name: name, servers: map[string]*haServer{}, active: map[string]*haServer{}, spare: map[string][]*haServer{}}
}

// hold notes a server that is not, or not yet known to be, an active one.
func (p *haPlace) hold(s *haServer) {
	p.servers[s.name] = s
	p.spare[s.member] = append(p.spare[s.member], s)
	p.lastID = max(p.lastID, s.id)
}

// release takes a server out of the spare ones.
func (p *haPlace) release(s *haServer) {
	list := p.spare[s.member]
	for i, other := range list {
		if other == s {
			list = append(list[:i:i], list[i+1:]...)
			break
		}
	}
	if p.spare[s.member] = list; len(list) == 0 {
		delete(p.spare, s.member)
	}
}

// forget is for a server that has been deleted.
func (p *haPlace) forget(s *haServer) {
	p.release(s)
	delete(p.servers, s.name)
}

// serves says whether a member is there, with that address.
func (p *haPlace) serves(member, address string) bool {
	s := p.active[member]
	return s != nil && s.addr.String() == address
}

// freeName gives a name for another server of a member.
func (p *haPlace) freeName(member string) string {
	name := member
	for n := 2; p.servers[name] != nil; n++ {
		name = member + versionMark + strconv.Itoa(n)
	}
	return name
}

func memberOf(server string) string {
	member, number, ok := strings.Cut(server, versionMark)
	if _, err := strconv.Atoi(number); !ok || err != nil {
		return server
	}
	return member
}

// String is how commands name the server.
func (s *haServer) String() string { return s.place.name + "/" + s.name }

// parseServers reads the answer to "show servers state". A backend without servers is
// not in it, so those that are known to be there are named.
func parseServers(text string) (map[string]*haPlace, error) {
	columns := map[string]int{}
	places := map[string]*haPlace{}
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		switch {
		case len(fields) == 0, len(fields) == 1 && fields[0] == "1": // the format's version
			continue
		case fields[0] == "#":
			for i, name := range fields[1:] {
				columns[name] = i
			}
			continue
		}
		row := haRow{fields: fields, columns: columns}
		backend, name := row.word("be_name"), row.word("srv_name")
		s := &haServer{name: name, member: memberOf(name), id: row.number("srv_id"), weight: row.number("srv_uweight"), forced: row.number("srv_admin_state") & (adminMaint | adminDrain)}
		switch state := row.number("srv_check_state"); {
		case state&checkConfigured == 0:
		case state&checkTurns == 0:
			s.check = checkOff
		default:
			s.check = checkOn
		}
		addr, port := row.word("srv_addr"), row.number("srv_port")
		if row.missing != "" {
			return nil, fmt.Errorf("%q has no %s", firstLine(line), row.missing)
		}
		if a, err := netip.ParseAddr(addr); err == nil {
			s.addr = netip.AddrPortFrom(a, uint16(port))
		}
		p := places[backend]
		if p == nil {
			p = newPlace(backend)
			places[backend] = p
		}
		s.place = p
		p.hold(s)
	}
	if len(columns) == 0 {
		return nil, fmt.Errorf("%q lists no servers", firstLine(text))
	}
	return places, nil
}

// A haRow is a line of a table whose first line names the columns.
type haRow struct {
	fields  []string
	columns map[string]int
	missing string // a column that is not there, or is no number
}

func (r *haRow) word(column string) string {
	i, ok := r.columns[column]
	if !ok || i >= len(r.fields) {
		r.missing = column
		return ""
	}
	return r.fields[i]
}

func (r *haRow) number(column string) int {
	n, err := strconv.Atoi(r.word(column))
	if err != nil {
		r.missing = column
	}
	return n
}
