package reload

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"rollcall/internal/templates"
)

// TestLuaMembersUnderLoad changes members while requests are made, each on a connection
// of its own and on kept ones; a member that is over is closed at once.
func TestLuaMembersUnderLoad(t *testing.T) {
	steady, next := newLuaBackend(t, "steady", 100), newLuaBackend(t, "0", 100)
	s := newLuaServer(t, luaUpstream(steady.Server, next.Server))
	s.sync(0, steady.Server, next.Server)
	ctx, stop := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	var requests, failed atomic.Int64
	for i := range 8 {
		method := []string{http.MethodGet, http.MethodPost}[i%2]
		transport := &http.Transport{DisableKeepAlives: i < 4}
		clients.Go(func() {
			defer transport.CloseIdleConnections()
			for ctx.Err() == nil {
				req, err := http.NewRequest(method, "http://"+s.listen+"/", strings.NewReader("x"))
				if err != nil {
					t.Error(err)
					return
				}
				req.Host, req.GetBody = "web", nil // not sent again by the client
				requests.Add(1)
				resp, err := transport.RoundTrip(req)
				if err == nil {
					_, err = io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
				}
				if err != nil || resp.StatusCode != http.StatusOK {
					failed.Add(1)
					t.Errorf("%s: %v, %+v", method, err, resp)
				}
			}
		})
	}
	for i := range 30 {
		before := next
		asked := before.asked.Load()
		next = newLuaBackend(t, fmt.Sprint(i+1), 100)
		s.sync(2, steady.Server, next.Server)
		l := s.leaver(before.Name)
		if err := l.Wait(within(t, 10*time.Second)); err != nil {
			t.Fatal(err)
		}
		total := before.asked.Load()
		before.web.Close()
		eventually(t, "the new member is asked", func() bool { return next.asked.Load() > 0 })
		if now := before.asked.Load(); now != total {
			t.Errorf("%d requests after the last, of %d", now-total, total-asked)
		}
	}
	stop()
	clients.Wait()
	t.Logf("%d of %d requests failed", failed.Load(), requests.Load())
}

func TestLuaDriftIsPutRight(t *testing.T) {
	a, b := newLuaBackend(t, "a", 100), newLuaBackend(t, "b", 100)
	s := newLuaServer(t, luaUpstream(a.Server))
	s.sync(0, a.Server)
	other := s.driver()
	drifted := s.members()
	drifted.Pools[0].Members = []Member{{"b", b.Address, 7}, {"a", a.Address, 3}}
	if n, err := other.Sync(t.Context(), drifted, false); n != 2 || err != nil {
		t.Fatalf("%d changed, %v", n, err)
	}
	if n, err := s.nginx.Sync(t.Context(), s.members(), true); n != 2 || err != nil {
		t.Errorf("drift: %d changed, %v; want 2", n, err)
	}
	if got := s.answers(10); got["a"] != 10 {
		t.Errorf("answers: %v", got)
	}
	if n, err := s.nginx.Sync(t.Context(), s.members(), true); n != 0 || err != nil {
		t.Errorf("put right: %d changed, %v; want none", n, err)
	}
}

// What the file says counts at a start and at a reload, also when somebody else made it.
func TestLuaFileCountsAtAReload(t *testing.T) {
	a, b := newLuaBackend(t, "a", 100), newLuaBackend(t, "b", 100)
	s := newLuaServer(t, luaUpstream(a.Server))
	s.sync(0, a.Server)
	s.sync(2, b.Server)
	s.balancer.Upstreams[0].Servers = []templates.Server{a.Server}
	answer := s.slow(http.MethodGet, b)
	s.reload()
	if got := s.answers(10); got["a"] != 10 {
		t.Errorf("after a reload with a: %v", got)
	}
	s.sync(0, a.Server)
	l := s.leaver("b") // the reload took it out
	s.busy(l)
	close(b.release)
	<-answer
	s.over(l)
	s.reload() // with the same file
	s.sync(2, b.Server)
	if got := s.answers(10); got["b"] != 10 {
		t.Errorf("after Sync: %v", got)
	}
}

func TestLuaRefuses(t *testing.T) {
	a, b := newLuaBackend(t, "a", 100), newLuaBackend(t, "b", 100)
	s := newLuaServer(t, luaUpstream(a.Server))
	s.sync(0, a.Server)
	want := s.members()
	want.Pools[0].Members = []Member{{"b", b.Address, 100}}
	for name, change := range map[string]func(*Nginx, *Members){
		"secret":       func(n *Nginx, _ *Members) { n.live.control.secret = "guessed" },
		"no secret":    func(n *Nginx, _ *Members) { n.live.control.secret = "" },
		"structure":    func(_ *Nginx, m *Members) { m.Structure = "other" },
		"no structure": func(_ *Nginx, m *Members) { m.Structure = "" },
		"pool": func(_ *Nginx, m *Members) {
			m.Pools = append(m.Pools[:1:1], &Pool{Name: "x", Places: []string{"x"}})
		},
	} {
		n, m := s.driver(), want
		change(n, &m)
		if changed, err := n.Sync(t.Context(), m, false); !errors.Is(err, ErrNeedsReload) || changed != 0 && name != "pool" {
			t.Errorf("%s: %d changed, %v", name, changed, err)
		}
	}
	if got := s.answers(10); got["a"] != 10 {
		t.Errorf("answers: %v", got)
	}
	// A server without Lua.
	s.balancer.Members = ""
	s.reload()
	if _, err := s.nginx.Sync(t.Context(), want, false); !errors.Is(err, ErrNeedsReload) {
		t.Errorf("without Lua: %v", err)
	}
}

// TestLuaMemoryIsFull says so, and serves what it has.
func TestLuaMemoryIsFull(t *testing.T) {
	a := newLuaBackend(t, "a", 100)
	s := newLuaServer(t, luaUpstream(a.Server))
	content := strings.Replace(string(s.render().Content), "rollcall_members 32m", "rollcall_members 64k", 1)
	write(t, s.main, content)
	if err := s.nginx.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.nginx.Confirm(t.Context(), s.balancer.Generation); err != nil {
		t.Fatal(err)
	}
	s.sync(0, a.Server)
	want := s.members()
	for i := range 5000 {
		want.Pools[0].Members = append(want.Pools[0].Members, Member{fmt.Sprintf("x%04d", i), fmt.Sprintf("192.0.2.1:%d", i+1), 0})
	}
	if _, err := s.nginx.Sync(t.Context(), want, false); !errors.Is(err, ErrNeedsReload) || !strings.Contains(err.Error(), "no memory") {
		t.Errorf("got %v, want no memory", err)
	}
	if got := s.answers(10); got["a"] != 10 {
		t.Errorf("answers: %v", got)
	}
	want.Pools[0].Members = want.Pools[0].Members[:1]
	if _, err := s.nginx.Sync(t.Context(), want, false); err != nil { // some had been written
		t.Error(err)
	}
}

// TestLuaPieces has more members than a piece and a message hold, in any order.
func TestLuaPieces(t *testing.T) {
	a := newLuaBackend(t, "a", 1)
	s := newLuaServer(t, luaUpstream(a.Server))
	s.sync(0, a.Server)
	servers := []templates.Server{a.Server}
	for i := range 20_000 {
		servers = append(servers, templates.Server{Name: fmt.Sprintf("b%05d", i), Address: fmt.Sprintf("[2001:db8::%x]:80", i+1), Weight: 0})
	}
	s.sync(20_000, servers...)
	if n, err := s.driver().Sync(t.Context(), s.members(), true); n != 0 || err != nil {
		t.Errorf("read back: %d changed, %v", n, err)
	}
	some := []templates.Server{a.Server}
	for i, server := range servers[1:] {
		if i%3 == 0 {
			some = append(some, server)
		}
	}
	s.sync(20_000-(len(some)-1), some...)
	s.sync(20_000-(len(some)-1), servers...)
	if n, err := s.driver().Sync(t.Context(), s.members(), true); n != 0 || err != nil {
		t.Errorf("read back: %d changed, %v", n, err)
	}
	if got := s.answers(10); got["a"] != 10 {
		t.Errorf("answers: %v", got)
	}
	s.sync(20_000, a.Server)
	if n, err := s.driver().Sync(t.Context(), s.members(), true); n != 0 || err != nil {
		t.Errorf("read back: %d changed, %v", n, err)
	}
}
