package reload

import (
	"fmt"
	"net/url"
)

// addedScheme is that of members which are added while Apache runs: mod_proxy_http speaks
// HTTP to them as to all others, and passes WebSockets on. Of a member that is added as
// "http" it would not, and the manager has no "upgrade" to set, as it has none for any
// other parameter of a BalancerMember: up to the next reload, these are Apache's own.
const addedScheme = "ws://"

// An apacheWant is what a balancer should be.
type apacheWant struct {
	balancer string
	pool     *Pool
	factors  map[string]int // of the members that get requests, in hundredths, by address
	attempts int
}

func newApacheWant(balancer string, p *Pool) *apacheWant {
	w := &apacheWant{balancer: balancer, pool: p, factors: map[string]int{}}
	most := 100
	for _, m := range p.Members {
		most = max(most, m.Weight)
	}
	for _, m := range p.Members {
		if m.Weight > 0 {
			// The scale of a BalancerMember's loadfactor: 1 to 100.
			w.factors[m.Address] = max(100, m.Weight*10000/most)
		}
	}
	w.attempts = max(0, min(99, len(w.factors)-1))
	return w
}

// An apacheChange is one request to a manager.
type apacheChange struct {
	balancer string
	set      url.Values
}

// adds says that it makes a member known.
func (c apacheChange) adds() bool { return c.set.Has("b_nwrkr") }

// wrong lists the addresses of the members that are not as they should be.
func (w *apacheWant) wrong(b *apacheBalancer) (addresses []string) {
	found := map[string]bool{}
	for _, worker := range b.workers {
		address := worker.address()
		factor, wanted := w.factors[address]
		if wanted = wanted && !found[address]; wanted {
			found[address] = true
		}
		if wanted && (!worker.plain() || b.unequal(worker, factor)) || !wanted && !worker.off() {
			addresses = append(addresses, address)
		}
	}
	for address := range w.factors {
		if !found[address] {
			addresses = append(addresses, address)
		}
	}
	return addresses
}

// joins says that one of the members is not known to the balancer.
func (w *apacheWant) joins(b *apacheBalancer) bool {
	found := make(map[string]bool, len(b.workers))
	for _, worker := range b.workers {
		if address := worker.address(); w.factors[address] > 0 {
			found[address] = true
		}
	}
	return len(found) < len(w.factors)
}

// changes gives what to ask for until the balancer is as it should be, and nothing when it
// is. Nobody leaves before others have come: what is to be added has to be there first,
// and is disabled then. Where nothing may be added, who is missing is passed over.
func (w *apacheWant) changes(b *apacheBalancer, add bool) (list []apacheChange) {
	found, leave := map[string]bool{}, []apacheChange{}
	for _, worker := range b.workers {
		address := worker.address()
		factor, wanted := w.factors[address]
		// Of two with one address, the first is it.
		if !wanted || found[address] {
			if !worker.off() {
				// Draining, because a disabled one refuses also a request that has just chosen it.
				leave = append(leave, b.change(worker, url.Values{"w_status_N": {"1"}}))
			}
			continue
		}
		found[address] = true
		// One that was added is out for a minute after an error. Where there is no other, that
		// helps nobody; where there is, it must be so, or the other would not be tried.
		ignore := worker.added() && len(w.factors) == 1
		if !worker.plain() || worker.ignoring() != ignore || b.unequal(worker, factor) {
			list = append(list, b.change(worker, url.Values{
				"w_lf":       {loadFactor(factor)},
				"w_status_I": {flag(ignore)},
				"w_status_N": {"0"}, "w_status_D": {"0"}, "w_status_S": {"0"}, "w_status_H": {"0"}, "w_status_R": {"0"},
			}))
		}
	}
	adding := false
	for _, m := range w.pool.Members {
		if add && m.Weight > 0 && !found[m.Address] {
			adding = true
			list = append(list, apacheChange{b.name, url.Values{"b_nwrkr": {addedScheme + m.Address}, "b_wyes": {"1"}}})
		}
	}
	if !adding {
		list = append(list, leave...)
	}
	if len(list) == 0 && b.attempts != w.attempts {
		list = append(list, apacheChange{b.name, url.Values{}})
	}
	for _, c := range list {
		c.set.Set("b_max", fmt.Sprint(w.attempts))
	}
	return list
}

func (b *apacheBalancer) change(worker apacheWorker, set url.Values) apacheChange {
	set.Set("w", worker.url)
	return apacheChange{b.name, set}
}

// unequal says that a worker's share is not what it should be. Apache may have stored a
// hundredth less than it was given, and gives the only member there is always the same.
func (b *apacheBalancer) unequal(worker apacheWorker, factor int) bool {
	return len(b.workers) > 1 && (factor-worker.factor > 1 || worker.factor-factor > 1)
}

// loadFactor writes hundredths. Apache cuts off what is behind them, and with it what it
// could not represent exactly.
func loadFactor(hundredths int) string {
	if hundredths%100 == 0 {
		return fmt.Sprint(hundredths / 100)
	}
	return fmt.Sprintf("%d.%02d5", hundredths/100, hundredths%100)
}

func flag(set bool) string {
	if set {
		return "1"
	}
	return "0"
}
