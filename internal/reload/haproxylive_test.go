package reload

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rollcall/test/ports"
)

func TestHAProxyMembersChangeLive(t *testing.T) {
	a, b, c := newMember(t, "a"), newMember(t, "b"), newMember(t, "c")
	f := newHAFixture(t, a.Member)
	pid := f.api("show info")
	stop := f.load()
	for i, tt := range []struct {
		members  []Member
		changed  int
		answered string
	}{
		{[]Member{a.Member}, 0, "a"},
		{[]Member{a.Member, b.Member}, 1, "a b"}, // join
		{[]Member{a.Member, b.Member, c.Member}, 1, "a b c"},
		{[]Member{a.Member, b.Member, c.weigh(0)}, 1, "a b"}, // drain
		{[]Member{a.weigh(8), b.Member, c.Member}, 2, "a b c"},
		{[]Member{a.Member, c.Member}, 2, "a c"},          // leave
		{[]Member{a.at(b), c.Member}, 1, "b c"},           // another address
		{[]Member{a.at(b)}, 1, "b"},                       // the last one
		{[]Member{a.at(b)}, 0, "b"},                       //
		{[]Member{a.at(b), c.weigh(0)}, 1, "b"},           // one that drains is no other
		{[]Member{a.at(c), b.at(a), c.at(b)}, 3, "a b c"}, // all change places
	} {
		n, err := f.sync(i == 0, tt.members...)
		if err != nil || n != tt.changed {
			t.Fatalf("%v: got %d changes, %v; want %d", tt.members, n, err, tt.changed)
		}
		if got := f.answered(50); got != tt.answered {
			t.Errorf("%v: answered by %q, want %q", tt.members, got, tt.answered)
		}
		if n, err := f.sync(true, tt.members...); err != nil || n != 0 {
			t.Errorf("%v, read back: got %d changes, %v; want none", tt.members, n, err)
		}
	}
	requests, failures := stop()
	if len(failures) > 0 || requests < 100 {
		t.Errorf("%d of %d requests failed, first %q", len(failures), requests, failures[:min(3, len(failures))])
	}
	if now := f.api("show info"); firstPid(now) != firstPid(pid) {
		t.Errorf("it was reloaded: %s, was %s", firstPid(now), firstPid(pid))
	}
}

func firstPid(info string) string {
	_, pid, _ := strings.Cut(info, "\nPid: ")
	pid, _, _ = strings.Cut(pid, "\n")
	return pid
}

// TestHAProxyLastMemberLeaves has nobody left to answer, and then somebody again.
func TestHAProxyLastMemberLeaves(t *testing.T) {
	a, b := newMember(t, "a"), newMember(t, "b")
	f := newHAFixture(t)
	f.become()
	for _, m := range []*haMemberServer{a, b, a} {
		f.become(m.Member)
		if got := f.answered(5); got != m.Name {
			t.Errorf("answered by %q, want %q", got, m.Name)
		}
		f.become(m.weigh(0))
		f.unavailable()
		f.become(m.Member)
		f.become()
		f.unavailable()
	}
}

// TestHAProxyLeaverFinishes removes a member with requests of all kinds in flight.
func TestHAProxyLeaverFinishes(t *testing.T) {
	a, b := newMember(t, "a"), newMember(t, "b")
	f := newHAFixture(t, a.Member)
	f.become(a.Member)
	get, post := f.held(a, http.MethodGet), f.held(a, http.MethodPost)
	socket := f.webSocket()
	f.become(b.Member)
	a.close()
	l := f.leaving("a")
	stop := f.load()
	f.notOver(l)
	a.free()
	for _, answer := range []chan string{get, post} {
		if got := <-answer; got != "200 OK a" {
			t.Errorf("in flight: got %q, want the answer of a", got)
		}
	}
	f.notOver(l)
	if got := socket("ping"); got != "ping" {
		t.Errorf("WebSocket: got %q, want an echo", got)
	}
	socket("")
	f.over(l)
	if requests, failures := stop(); len(failures) > 0 || requests == 0 {
		t.Errorf("%d of %d requests failed: %q", len(failures), requests, failures[:min(3, len(failures))])
	}
	if n := a.tooLate(); n > 0 {
		t.Errorf("%d requests came after it had been removed", n)
	}
	if list := f.proxy.Leaving(); len(list) != 0 {
		t.Errorf("%d still leave", len(list))
	}
	if got := f.servers(); len(got) != 1 {
		t.Errorf("servers: %q, want b alone", got)
	}
}

// TestHAProxyReturnsWhileLeaving has a member come back, as it was and elsewhere, while
// requests that it had before are still running.
func TestHAProxyReturnsWhileLeaving(t *testing.T) {
	a, b, c := newMember(t, "a"), newMember(t, "b"), newMember(t, "c")
	f := newHAFixture(t, a.Member)
	f.become(a.Member)
	answer := f.held(a, http.MethodGet)
	f.become(b.Member)
	gone := f.leaving("a")
	f.become(a.Member, b.Member)
	if list := f.proxy.Leaving(); len(list) != 0 || !gone.Over() {
		t.Errorf("a is back, and leaves all the same: %d, over %v", len(list), gone.Over())
	}
	if got := f.answered(20); got != "a b" {
		t.Errorf("answered by %q, want a and b", got)
	}
	f.become(a.at(c), b.Member) // moves
	old := f.leaving("a")
	if old.Address != a.Address || old.Over() {
		t.Errorf("leaving: %s, over %v; want the old address %s", old.Address, old.Over(), a.Address)
	}
	if got := f.answered(20); got != "b c" {
		t.Errorf("answered by %q, want b and c", got)
	}
	a.close()
	f.answered(50)
	f.notOver(old)
	a.free()
	if got := <-answer; got != "200 OK a" {
		t.Errorf("in flight: got %q, want the answer of a", got)
	}
	f.over(old)
	if n := a.tooLate(); n > 0 {
		t.Errorf("%d requests came to the old address", n)
	}
	if n, err := f.sync(true, a.at(c), b.Member); err != nil || n != 0 {
		t.Errorf("read back: %d changes, %v; want none", n, err)
	}
}

// TestHAProxyDrift has somebody change servers by hand.
func TestHAProxyDrift(t *testing.T) {
	a, b := newMember(t, "a"), newMember(t, "b")
	f := newHAFixture(t, a.Member, b.Member)
	f.become(a.Member, b.Member)
	right := f.servers()
	for _, tt := range []struct {
		command string
		changed int
	}{
		{"set server rollcall_web/a state drain", 1},
		{"set server rollcall_web/a state maint", 1},
		{"set server rollcall_web/b weight 7", 1},
		{"set server rollcall_web/b addr 127.0.0.9 port 9", 1},
		{"disable health rollcall_web/a", 0},
		{"add server rollcall_web/x 127.0.0.1:9;enable server rollcall_web/x", 1},
		{"set server rollcall_web/a state maint;del server rollcall_web/a", 1},
	} {
		f.api(tt.command)
		if slices.Equal(f.servers(), right) {
			t.Fatalf("%s: changed nothing: %q", tt.command, right)
		}
		if n, err := f.sync(false, a.Member, b.Member); err != nil || n != 0 && tt.changed == 0 {
			t.Errorf("%s: not read back: %d changes, %v", tt.command, n, err)
		}
		n, err := f.sync(true, a.Member, b.Member)
		if err != nil || n != tt.changed {
			t.Errorf("%s: got %d changes, %v; want %d", tt.command, n, err, tt.changed)
		}
		if n, err := f.sync(true, a.Member, b.Member); err != nil || n != 0 {
			t.Errorf("%s: once more: %d changes, %v", tt.command, n, err)
		}
		if got := strings.Join(f.servers(), "\n"); strings.Contains(got, fmt.Sprintf("check %d", checkOff)) {
			t.Errorf("%s: a check stays disabled:\n%s", tt.command, got)
		}
		if got := f.answered(10); got != "a b" {
			t.Errorf("%s: answered by %q, want a and b", tt.command, got)
		}
	}
}

// TestHAProxyObedience has a server vanish of which nothing is known yet: it is not there
// to be told, and that is noticed and put right.
func TestHAProxyObedience(t *testing.T) {
	a, b := newMember(t, "a"), newMember(t, "b")
	f := newHAFixture(t, a.Member, b.Member)
	f.become(a.Member, b.Member)
	f.api("set server rollcall_web/a state maint;del server rollcall_web/a")
	if n := f.become(a.weigh(3), b.Member); n != 1 {
		t.Errorf("%d changes, want 1", n)
	}
	if got := f.answered(10); got != "a b" {
		t.Errorf("answered by %q, want a and b", got)
	}
}

// TestHAProxyLeaverOfAnOldWorker reloads while a member leaves: what it had begun goes on
// in the old worker, and ends with it.
func TestHAProxyLeaverOfAnOldWorker(t *testing.T) {
	a, b := newMember(t, "a"), newMember(t, "b")
	f := newHAFixture(t, a.Member)
	f.become(a.Member)
	answer := f.held(a, http.MethodGet)
	f.become(b.Member)
	l := f.leaving("a")
	f.write(b.Member)
	f.reload()
	if _, err := f.sync(false, b.Member); !errors.Is(err, ErrNeedsReload) {
		t.Errorf("a worker that nobody has looked at: got %v, want the whole transaction", err)
	}
	if n, err := f.sync(true, b.Member); err != nil || n != 0 {
		t.Errorf("the new worker has %d members other than its file, want none; %v", n, err)
	}
	if f.leaving("a") != l {
		t.Error("it is another one that leaves")
	}
	f.notOver(l)
	a.free()
	if got := <-answer; got != "200 OK a" {
		t.Errorf("in flight: got %q, want the answer of a", got)
	}
	f.over(l)
}

// TestHAProxyDiesWithLeavers has the worker end at once: so do its requests.
func TestHAProxyDiesWithLeavers(t *testing.T) {
	a, b := newMember(t, "a"), newMember(t, "b")
	f := newHAFixture(t, a.Member)
	f.become(a.Member)
	f.held(a, http.MethodGet)
	f.become(b.Member)
	l := f.leaving("a")
	if err := f.proxy.live.worker.signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	f.over(l)
	eventually(t, "it is started again, from its file", func() bool {
		n, err := f.sync(false, a.Member, b.Member)
		return err == nil && n == 1
	})
	if got := f.answered(10); got != "a b" {
		t.Errorf("answered by %q, want a and b", got)
	}
}

func TestHAProxyNeedsReload(t *testing.T) {
	a := newMember(t, "a")
	f := newHAFixture(t, a.Member)
	without, err := NewHAProxy(HAProxyConfig{Main: f.main, Control: f.control, Master: f.master})
	if err != nil {
		t.Fatal(err)
	}
	for name, try := range map[string]func() (int, error){
		"no socket": func() (int, error) {
			return without.Sync(t.Context(), Members{Structure: f.structure}, false)
		},
		"another structure": func() (int, error) {
			return f.proxy.Sync(t.Context(), Members{Structure: "other", Pools: []*Pool{f.pool(a.Member)}}, true)
		},
		"no structure": func() (int, error) {
			return f.proxy.Sync(t.Context(), Members{Pools: []*Pool{f.pool(a.Member)}}, true)
		},
		"a backend that is not there": func() (int, error) {
			return f.proxy.Sync(t.Context(), Members{Structure: f.structure, Pools: []*Pool{{Name: "x", Places: []string{"rollcall_x"}, Members: []Member{a.Member}}}}, false)
		},
	} {
		if n, err := try(); !errors.Is(err, ErrNeedsReload) || n != 0 && name != "a backend that is not there" {
			t.Errorf("%s: got %d, %v; want ErrNeedsReload", name, n, err)
		}
	}
	for _, m := range []Member{
		{"a;disable frontend rollcall", a.Address, 1},
		{"a\nquit", a.Address, 1},
		{"a b", a.Address, 1},
		{"", a.Address, 1},
		{"a:V2", a.Address, 1},
		{"a", "127.0.0.1:80 disabled", 1},
		{"a", "localhost:80", 1},
		{"a", "127.0.0.1:80;quit", 1},
		{"a", "[fe80::1%eth0]:80", 1},
		{"a", a.Address, 257},
		{"a", a.Address, -1},
	} {
		if n, err := f.sync(true, m); err == nil || errors.Is(err, ErrNeedsReload) || n != 0 {
			t.Errorf("%v: got %d, %v; want a refusal", m, n, err)
		}
	}
	f.become(a.Member)
	if got := f.answered(3); got != "a" {
		t.Errorf("answered by %q, want a", got)
	}
}

// TestHAProxyRetriesElsewhere removes a member that has a request and never answers it:
// HAProxy sends it again, to another one.
func TestHAProxyRetriesElsewhere(t *testing.T) {
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer dead.Close()
	a, b := Member{Name: "a", Address: dead.Addr().String(), Weight: 1}, newMember(t, "b")
	f := newHAFixture(t, a)
	f.become(a)
	answer := make(chan string, 1)
	go func() {
		got, err := get(context.Background(), "http://"+f.listen+"/")
		answer <- fmt.Sprint(got, err)
	}()
	conn, err := dead.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	f.become(b.Member)
	l := f.leaving("a")
	f.notOver(l)
	conn.Close()
	if got, want := <-answer, "b<nil>"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	f.over(l)
	_ = dead.(*net.TCPListener).SetDeadline(time.Now())
	if conn, err := dead.Accept(); err == nil {
		conn.Close()
		t.Error("the removed one was connected to again")
	}
}

// TestHAProxySoleMember has nobody else to ask: failures do not take out the last one, and
// bring back the one that they had taken out.
func TestHAProxySoleMember(t *testing.T) {
	a, b := Member{Name: "a", Address: ports.Address(t), Weight: 1}, newMember(t, "b")
	f := newHAFixture(t, b.Member)
	f.become(a, b.Member)
	down := func() bool {
		id := f.proxy.live.places["rollcall_web"].active["a"].id
		stats := statsOf(f.api("show stat rollcall_web 4 "+strconv.Itoa(id)), "status")
		return strings.HasPrefix(stats["rollcall_web/a"], "DOWN")
	}
	eventually(t, "a is taken out", func() bool { f.answered(3); return down() })
	f.become(a)
	for range 2 { // of three attempts each
		if down() {
			t.Fatal("the sole member is out")
		}
		if got, err := get(t.Context(), "http://"+f.listen+"/"); err != nil || got == "b" {
			t.Fatalf("got %q, %v", got, err)
		}
	}
	f.become(a, b.Member)
	eventually(t, "a is taken out again", func() bool { f.answered(3); return down() })
}
