package reload

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// counted notes how often commands were sent.
type counted struct {
	mu    sync.Mutex
	times map[string]int
}

func (c *counted) add(command string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.times == nil {
		c.times = map[string]int{}
	}
	c.times[command]++
	return c.times[command]
}

func (c *counted) of(command string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.times[command]
}

const deleteA, drainA = "del server rollcall_web/a", "set server rollcall_web/a state drain"

// TestHAProxyIsLeftAlone has a member leave with a request that takes its time: HAProxy
// halts all its threads to delete a server, so that this is not tried before it is over,
// and many who wait ask no more often than one.
func TestHAProxyIsLeftAlone(t *testing.T) {
	a, b := newMember(t, "a"), newMember(t, "b")
	f := newHAFixture(t, a.Member)
	var sent counted
	f.proxy = f.between(func(command string) (string, bool) {
		sent.add(command)
		return "", false
	})
	f.become(a.Member)
	answer := f.held(a, http.MethodGet)
	f.become(b.Member)
	l := f.leaving("a")
	ctx, cancel := context.WithTimeout(t.Context(), 600*time.Millisecond)
	defer cancel()
	var many sync.WaitGroup
	for range 50 {
		many.Go(func() { _ = l.Wait(ctx) })
	}
	many.Wait()
	if n := sent.of(deleteA); n != 1 || l.Over() {
		t.Errorf("deletion was tried %d times, over %v; want the once of its removal", n, l.Over())
	}
	// After 2, 4, 8, … 512 ms.
	if n := sent.of("show info"); n < 4 || n > 14 {
		t.Errorf("it was asked %d times, want about 11", n)
	}
	f.become(b.Member, a.at(b))
	if n := sent.of(deleteA); n != 1 {
		t.Error("deletion was tried again by what had nothing to do with it")
	}
	a.free()
	<-answer
	began := time.Now()
	f.over(l)
	// It is found within a second, and a kept connection takes no second one.
	if took := time.Since(began); took > 1800*time.Millisecond {
		t.Errorf("it was over after %s, want about a second at most", took)
	}
}

// TestHAProxyDoesNotDeleteAtOnce has a server be connected to for a while after its last
// request: its connections are closed over and over, until they are all gone.
func TestHAProxyDoesNotDeleteAtOnce(t *testing.T) {
	a, b := newMember(t, "a"), newMember(t, "b")
	f := newHAFixture(t, a.Member)
	var sent counted
	f.proxy = f.between(func(command string) (string, bool) {
		n := sent.add(command)
		if command == deleteA && n <= 5 {
			return "Server still has connections attached to it, cannot remove it.\n", true
		}
		return "", false
	})
	f.become(a.Member)
	f.become(b.Member)
	f.over(f.leaving("a"))
	if n, closed := sent.of(deleteA), sent.of(drainA); n != 6 || closed != 4 {
		t.Errorf("tried %d times, connections closed %d times; want 6 and, from the second look on, 4", n, closed)
	}
}

// TestHAProxyLeaverGetsRequests has somebody make a server that leaves serve again: it is
// told once more.
func TestHAProxyLeaverGetsRequests(t *testing.T) {
	a, b := newMember(t, "a"), newMember(t, "b")
	f := newHAFixture(t, a.Member)
	f.become(a.Member)
	answer := f.held(a, http.MethodGet)
	f.become(b.Member)
	l := f.leaving("a")
	f.api("set server rollcall_web/a state ready")
	a.free()
	<-answer
	f.over(l)
	if got := strings.Join(f.servers(), "\n"); strings.Contains(got, "rollcall_web/a ") {
		t.Errorf("it is still there:\n%s", got)
	}
	if n, err := f.sync(true, b.Member); err != nil || n != 0 {
		t.Errorf("read back: %d changes, %v; want none", n, err)
	}
}

// TestHAProxyManyLeave has more members leave at once than are asked for one by one.
func TestHAProxyManyLeave(t *testing.T) {
	a, b := newMember(t, "a"), newMember(t, "b")
	f := newHAFixture(t, b.Member)
	var sent counted
	f.proxy = f.between(func(command string) (string, bool) {
		sent.add(command)
		return "", false
	})
	members := []Member{}
	for i := range maxSingle + 20 {
		members = append(members, Member{Name: fmt.Sprintf("a%03d", i), Address: a.Address, Weight: 1})
	}
	f.become(members...)
	var held []chan string
	for range members { // one after the other gets one
		held = append(held, f.held(a, http.MethodGet))
	}
	f.become(b.Member)
	list := f.proxy.Leaving()
	if len(list) <= maxSingle {
		t.Fatalf("%d leave, of %d", len(list), len(members))
	}
	f.notOver(list[0])
	if all, again := sent.of("show stat rollcall_web 4 -1"), sent.of("del server rollcall_web/a000"); all == 0 || again != 1 {
		t.Errorf("all were asked for %d times, deletion of one tried %d times; want some, and 1", all, again)
	}
	a.free()
	for _, answer := range held {
		if got := <-answer; got != "200 OK a" {
			t.Errorf("in flight: got %q, want the answer of a", got)
		}
	}
	for _, l := range list {
		f.over(l)
	}
	if got := f.servers(); len(got) != 1 {
		t.Errorf("servers: %q, want b alone", got)
	}
}
