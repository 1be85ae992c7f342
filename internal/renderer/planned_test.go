package renderer

import (
	"context"
	"errors"
	"net"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"rollcall/internal/discovery"
	"rollcall/internal/templates"
)

// A city is where members live: an address is "accepts", "refuses" or says nothing.
type city struct {
	accepts []string
	refuses []string

	mu    sync.Mutex
	asked []string
}

func (c *city) dial(ctx context.Context, _, address string) (net.Conn, error) {
	c.mu.Lock()
	c.asked = append(c.asked, address)
	c.mu.Unlock()
	switch {
	case slices.Contains(c.accepts, address):
		conn, other := net.Pipe()
		other.Close()
		return conn, nil
	case slices.Contains(c.refuses, address):
		return nil, errors.New("refused")
	}
	<-ctx.Done()
	return nil, ctx.Err()
}

// serving makes an upstream of addresses; one that ends in "!" gets no new requests.
func serving(name string, addresses ...string) templates.Upstream {
	u := templates.Upstream{Name: name}
	for n, a := range addresses {
		s := templates.Server{Name: name + strconv.Itoa(n), Address: a, Weight: 100}
		if a[len(a)-1] == '!' {
			s.Address, s.Weight = a[:len(a)-1], 0
		}
		u.Servers = append(u.Servers, s)
	}
	return u
}

func TestPlanned(t *testing.T) {
	shared := serving("a", "a:1", "a:2")
	for _, tt := range []struct {
		name          string
		before, after []templates.Upstream
		want          bool
		asked         []string
		took          time.Duration
	}{
		{"nothing", []templates.Upstream{shared}, []templates.Upstream{shared}, true, nil, 0},
		{"joins", []templates.Upstream{serving("b", "alive:1")}, []templates.Upstream{shared, serving("b", "alive:1", "dead:1")}, true, nil, 0},
		{"leaves alive", []templates.Upstream{serving("b", "alive:1", "alive:2")}, []templates.Upstream{serving("b", "alive:1")}, true, []string{"alive:2"}, 0},
		{"leaves dead", []templates.Upstream{serving("b", "alive:1", "dead:1")}, []templates.Upstream{serving("b", "alive:1")}, false, []string{"dead:1"}, 0},
		{"silent", []templates.Upstream{serving("b", "alive:1", "silent:1")}, []templates.Upstream{serving("b", "alive:1")}, false, []string{"silent:1"}, probeTime},
		{"one of many is dead", []templates.Upstream{serving("b", "alive:1", "silent:1", "dead:1")}, []templates.Upstream{serving("b")}, false, []string{"alive:1", "dead:1", "silent:1"}, 0},
		{"upstream is gone", []templates.Upstream{shared, serving("b", "dead:1")}, []templates.Upstream{shared}, false, []string{"dead:1"}, 0},
		{"had no requests", []templates.Upstream{serving("b", "alive:1", "dead:1!")}, []templates.Upstream{serving("b", "alive:1")}, true, nil, 0},
		{"drains", []templates.Upstream{serving("b", "alive:1", "dead:1")}, []templates.Upstream{serving("b", "alive:1", "dead:1!")}, true, nil, 0},
		{"is called otherwise", []templates.Upstream{serving("b", "alive:1", "dead:1")}, []templates.Upstream{serving("b", "dead:1", "alive:1")}, true, nil, 0},
		{"the first", nil, []templates.Upstream{shared}, true, nil, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := &city{accepts: []string{"alive:1", "alive:2"}, refuses: []string{"dead:1"}}
				began := time.Now()
				if got := planned(t.Context(), tt.before, tt.after, c.dial); got != tt.want {
					t.Errorf("planned: got %v, want %v", got, tt.want)
				}
				if took := time.Since(began); took != tt.took {
					t.Errorf("took %v, want %v", took, tt.took)
				}
				slices.Sort(c.asked)
				if !slices.Equal(c.asked, tt.asked) {
					t.Errorf("asked %q, want %q", c.asked, tt.asked)
				}
			})
		})
	}
}

func TestPlannedAsksNotTooMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var all []string
		for n := range 1000 {
			all = append(all, "alive:"+strconv.Itoa(n))
		}
		c := &city{accepts: all}
		if !planned(t.Context(), []templates.Upstream{serving("a", all...)}, nil, c.dial) {
			t.Error("all of them live")
		}
		if len(c.asked) != maxProbes {
			t.Errorf("asked %d, want %d", len(c.asked), maxProbes)
		}
	})
}

// TestPlannedDials has real addresses, one of which nobody listens on any more.
func TestPlannedDials(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	before := []templates.Upstream{serving("a", l.Addr().String())}
	dial := new(net.Dialer).DialContext
	if !planned(t.Context(), before, nil, dial) {
		t.Error("it accepts connections: got not planned")
	}
	l.Close()
	if planned(t.Context(), before, nil, dial) {
		t.Error("it refuses connections: got planned")
	}
}

func TestHurry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one := func(name, host string) *discovery.Instance {
			return &discovery.Instance{Service: "web", Name: name, Host: host, Port: 1, Proto: "tcp", Weight: 100}
		}
		catalog := func(list ...*discovery.Instance) *discovery.Catalog {
			return &discovery.Catalog{Services: []*discovery.Service{{Name: "web", Instances: list}}}
		}
		a, b, d := one("a", "alive"), one("b", "alive2"), one("d", "dead")
		c := &city{accepts: []string{"alive:1", "alive2:1"}, refuses: []string{"dead:1"}}
		now := catalog(a, b, d)
		newest := func() *discovery.Catalog { return now }
		address := func(i *discovery.Instance) (string, bool) { return i.Host, true }
		inHurry := hurry(now, newest, address, c.dial)
		for _, tt := range []struct {
			newest *discovery.Catalog
			want   bool
			asked  int // altogether
		}{
			{now, false, 0},
			{catalog(a, d), false, 1},
			{catalog(a, one("b", "elsewhere"), d), false, 1}, // it has moved; that may wait
			{catalog(a), true, 3},
			{&discovery.Catalog{}, true, 6},
		} {
			now = tt.newest
			if got := inHurry(); got != tt.want || len(c.asked) != tt.asked {
				t.Errorf("got %v after %q, want %v after %d", got, c.asked, tt.want, tt.asked)
			}
			if inHurry() && len(c.asked) != tt.asked {
				t.Errorf("the same catalog is looked at again")
			}
		}
	})
}
