package discovery

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"
)

// lossWindow is how far apart losses may be and still count as one: the leases of
// machines that are cut off together end seconds apart.
const lossWindow = 30 * time.Second

// A Guard keeps the instances of a service in the catalog when so many of them lose
// their leases together that it is rather etcd or the network that failed. It has no
// clock and asks nobody: whether an instance that vanished was deleted or has lost its
// lease it is told; until then it takes it for lost. Not safe for concurrent use.
type Guard struct {
	prefix  string
	maxLoss float64
	hold    time.Duration

	live     *Catalog
	services map[string]*losses
	excused  map[string]bool // by "service/instance"
	verdict  Verdict
	basis    *Catalog // what was live at the verdict
}

// NewGuard prepares to guard the services below prefix. A service that loses a greater
// share than maxLoss of its instances keeps those for as long as hold; with a maxLoss
// of 1 or more, or a hold of 0, nothing is ever kept.
func NewGuard(prefix string, maxLoss float64, hold time.Duration) *Guard {
	return &Guard{prefix: prefix + "/", maxLoss: maxLoss, hold: hold, services: map[string]*losses{}}
}

// Observe takes in the catalog of what is in etcd now, and gives the instances that
// have vanished since the last one and hung on a lease: the caller is to find out
// whether that lives, and to call Acquit if so and Confirm otherwise.
func (g *Guard) Observe(live *Catalog, now time.Time) []*Instance {
	before := g.live
	g.live = live
	if before == nil || g.maxLoss >= 1 || g.hold <= 0 {
		return nil
	}
	if g.Mourning() {
		g.welcome(before)
	}
	var suspects []*Instance
	for _, i := range Vanished(before, live) {
		if i.Lease == 0 || g.there(i.Service, i.Name) {
			continue
		}
		suspects = append(suspects, i)
		if g.services[i.Service] == nil {
			g.services[i.Service] = &losses{byName: map[string]*loss{}}
		}
		g.services[i.Service].add(i, now)
	}
	return suspects
}

// welcome forgets the losses of what has returned since an earlier catalog, be it with a
// record that is refused. It does not look at all that is lost: where a thousand machines
// are cut off, they come one by one.
func (g *Guard) welcome(before *Catalog) {
	back := func(service, name string) {
		if l := g.services[service]; l != nil && l.byName[name] != nil {
			delete(l.byName, name)
			l.dirty = true
		}
	}
	for _, i := range Vanished(g.live, before) {
		back(i.Service, i.Name)
	}
	if slices.Equal(before.Refused, g.live.Refused) {
		return
	}
	for _, r := range g.live.Refused {
		service, name, _ := strings.Cut(strings.TrimPrefix(r.Key, g.prefix), "/")
		back(service, name)
	}
}

// there says whether the instance has a record, be it one that is refused.
func (g *Guard) there(service, name string) bool {
	if s, ok := g.live.Service(service); ok {
		if _, ok := slices.BinarySearchFunc(s.Instances, name, func(i *Instance, name string) int { return cmp.Compare(i.Name, name) }); ok {
			return true
		}
	}
	key := g.prefix + service + "/" + name
	_, ok := slices.BinarySearchFunc(g.live.Refused, key, func(r Refusal, key string) int { return cmp.Compare(r.Key, key) })
	return ok
}

// Confirm says that these instances, which Observe gave, have lost their leases.
func (g *Guard) Confirm(lost []*Instance) {
	for _, i := range lost {
		if l := g.services[i.Service]; l.has(i) && !l.byName[i.Name].sure {
			l.byName[i.Name].sure, l.dirty = true, true
		}
	}
}

// Acquit says that these instances, which Observe gave, were deleted. It may do so
// also of what was confirmed before for want of an answer.
func (g *Guard) Acquit(deleted []*Instance) {
	for _, i := range deleted {
		if l := g.services[i.Service]; l.has(i) {
			delete(l.byName, i.Name)
			l.dirty = true
		}
	}
}

// Excuse replaces the set of instances, by "service/instance", that are not to be held
// because somebody has ordered them to go.
func (g *Guard) Excuse(ids map[string]bool) {
	g.excused = ids
	for _, l := range g.services {
		l.dirty = true
	}
}

// Mourning says whether there are losses that may yet be held, or are. While there are
// none, only what Observe is given at the end of several changes matters.
func (g *Guard) Mourning() bool { return len(g.services) > 0 }

// A Verdict is what a Guard makes of what it was told.
type Verdict struct {
	// Catalog is what is in etcd together with what is held, and the names of what may
	// yet be; the very same as long as none of that changes.
	Catalog *Catalog
	// Held counts the instances that are held, by service.
	Held map[string]int
	// Lost is set while there are losses of which it is known that their leases are gone,
	// held or not: who orders such an instance to go is to be heard, see Excuse.
	Lost bool
	// Open is set while the catalog has instances of which it is not known whether they
	// were deleted.
	Open bool
	// Next is when to ask again although nothing happens; zero for never.
	Next time.Time
}

// Judge says what is to be served now. To be called after the first Observe.
func (g *Guard) Judge(now time.Time) Verdict {
	changed := g.basis != g.live
	v := Verdict{Held: map[string]int{}}
	held := map[string]*Service{}
	var mourned []string
	for name, l := range g.services {
		live, _ := g.live.Service(name)
		if l.dirty || l.live != live || !l.next.IsZero() && !now.Before(l.next) {
			g.expire(name, l, now)
			changed = l.judge(name, live, g.maxLoss, g.hold, now) || changed
		}
		if len(l.byName) == 0 {
			delete(g.services, name)
			continue
		}
		if len(l.held) > 0 {
			held[name], v.Held[name] = l.shown, len(l.held)
		}
		mourned = append(mourned, l.rest...)
		v.Lost, v.Open = v.Lost || l.lost, v.Open || l.open
		if !l.next.IsZero() && (v.Next.IsZero() || l.next.Before(v.Next)) {
			v.Next = l.next
		}
	}
	v.Catalog = g.verdict.Catalog
	if changed {
		v.Catalog = g.live
		if len(held)+len(mourned) > 0 {
			c := *g.live
			if len(held) > 0 {
				c.Services = merge(c.Services, held, func(s *Service) string { return s.Name })
			}
			slices.Sort(mourned)
			c.Mourned = mourned
			v.Catalog = &c
		}
	}
	g.verdict, g.basis = v, g.live
	return v
}

// expire forgets what is not to be held any more, or was lost too long ago to count.
func (g *Guard) expire(service string, l *losses, now time.Time) {
	maps.DeleteFunc(l.byName, func(name string, x *loss) bool {
		return g.excused[service+"/"+name] || now.Sub(x.at) >= g.hold || !x.keep && now.Sub(x.at) >= lossWindow
	})
}

// Vanished gives the instances of one catalog that are not in a later one. What the
// two share costs a comparison of pointers.
func Vanished(before, after *Catalog) []*Instance {
	var gone []*Instance
	missing(before.Services, after.Services, func(s *Service) string { return s.Name }, func(was, is *Service) {
		var now []*Instance
		if is != nil {
			now = is.Instances
		}
		missing(was.Instances, now, func(i *Instance) string { return i.Name }, func(was, is *Instance) {
			if is == nil {
				gone = append(gone, was)
			}
		})
	})
	return gone
}

// missing calls differ for each member of a sorted list that is another one in a
// later list, or nil where there is none.
func missing[T any](before, after []*T, name func(*T) string, differ func(was, is *T)) {
	for _, was := range before {
		for len(after) > 0 && after[0] != was && name(after[0]) < name(was) {
			after = after[1:]
		}
		switch {
		case len(after) > 0 && after[0] == was:
			after = after[1:]
		case len(after) > 0 && name(after[0]) == name(was):
			differ(was, after[0])
			after = after[1:]
		default:
			differ(was, nil)
		}
	}
}
