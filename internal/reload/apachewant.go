package reload

import (
	"fmt"
	"net/url"
)

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

// joins says that a member is not there at all, so that there has to be a reload: Apache 2.4
// adds one to a list that the child's other threads are reading, and every few hundred times
// a child crashes with all its requests. It would also have none of a BalancerMember's
// parameters, such as how long it may take to accept a connection.
func (w *apacheWant) joins(b *apacheBalancer) bool {
	missing := len(w.factors)
	found := make(map[string]bool, len(b.workers))
	for _, worker := range b.workers {
		address := worker.address()
		if w.factors[address] > 0 && !found[address] {
			found[address] = true
			missing--
		}
	}
	return missing > 0
}

// changes gives what to ask for until a balancer that nobody joins is as it should be, and
// nothing when it is.
func (w *apacheWant) changes(b *apacheBalancer) (list []apacheChange) {
	found, leave := map[string]bool{}, []apacheChange{}
	for _, worker := range b.workers {
		address := worker.address()
		factor, wanted := w.factors[address]
		// Of two with one address, the first is it.
		if !wanted || found[address] {
			if !worker.off() {
				// Draining, because a disabled one refuses also a request that has just chosen it.
				leave = append(leave, w.change(worker, url.Values{"w_status_N": {"1"}}))
			}
			continue
		}
		found[address] = true
		if !worker.plain() || b.unequal(worker, factor) {
			list = append(list, w.change(worker, url.Values{
				"w_lf":       {loadFactor(factor)},
				"w_status_I": {"0"}, "w_status_N": {"0"}, "w_status_D": {"0"}, "w_status_S": {"0"}, "w_status_H": {"0"}, "w_status_R": {"0"},
			}))
		}
	}
	list = append(list, leave...) // after those that come back
	if len(list) == 0 && b.attempts != w.attempts {
		list = append(list, apacheChange{w.balancer, url.Values{}})
	}
	for _, c := range list {
		c.set.Set("b_max", fmt.Sprint(w.attempts))
	}
	return list
}

func (w *apacheWant) change(worker apacheWorker, set url.Values) apacheChange {
	set.Set("w", worker.url)
	return apacheChange{w.balancer, set}
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
