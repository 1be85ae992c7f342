package machines_test

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"rollcall/test/machines"
)

// During a deploy on all machines, programs of rollcall are killed at random moments: sidekicks
// that announce, wait or withdraw, global announcers, renderers in the middle of a change. No user
// notices, and in the end everything is as it should be.
func TestKilledAnyTime(t *testing.T) {
	c := good(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	draw := rand.New(rand.NewPCG(seed, 0))
	extra := labelled(t, c) // for a global announcer
	u := arrive(t, c, machines.Proxies()...)

	for a := 1; a <= c.Applications(); a += 2 {
		var done sync.WaitGroup
		done.Go(func() { killSome(t, c, draw) })
		if _, err := c.Home(a).Systemctl(t.Context(), "restart", machines.Web(a)); err != nil {
			t.Error(err)
		}
		done.Wait()
		err := machines.Poll(t.Context(), "everything is well after the restart of "+c.Instance(a), func() error {
			return c.Serves(t.Context(), machines.Service, append([]string{extra}, everybody(c)...), c.Machines)
		})
		if err != nil {
			t.Error(err)
		}
	}
	u.flow()
	u.nothingLost()
}

// killSome kills some programs, one after the other.
func killSome(t *testing.T, c *machines.Cluster, draw *rand.Rand) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for met := 0; met < 4; {
		timer.Reset(time.Duration(draw.IntN(1000)) * time.Millisecond)
		select {
		case <-t.Context().Done():
			return
		case <-timer.C:
		}
		i := draw.IntN(len(c.Machines))
		units := []string{machines.Sidekick(2*i + 1), machines.Sidekick(2*i + 2), announcer, machines.RenderUnit(machines.Proxies()[i])}
		unit := units[draw.IntN(len(units))]
		// One that is just not there cannot be met.
		if err := c.Machines[i].ProcessKill(t.Context(), unit); err == nil {
			t.Logf("killed %s on %s", unit, c.Machines[i].Name)
			met++
		}
	}
}
