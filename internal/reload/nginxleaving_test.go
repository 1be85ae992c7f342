package reload

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"rollcall/internal/templates"

	"golang.org/x/sys/unix"
)

// slow sends a request that is answered when its backend is released.
func (s *luaServer) slow(method string, b *luaBackend) (answer chan string) {
	s.t.Helper()
	answer = make(chan string, 1)
	go func() {
		status, body, err := s.request(context.Background(), method, "/slow")
		answer <- fmt.Sprint(status, " ", body, " ", err)
	}()
	select {
	case <-b.entered:
	case <-time.After(10 * time.Second):
		s.t.Fatal("the request did not reach its backend")
	}
	return answer
}

func (s *luaServer) within(d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(s.t.Context(), d)
	s.t.Cleanup(cancel)
	return ctx
}

// newLuaLeaving gives a server from which b has begun to leave for a, with a request of b's
// that is running.
func newLuaLeaving(t *testing.T, method string) (s *luaServer, a, b *luaBackend, answer chan string, l *Leaver) {
	t.Helper()
	a, b = newLuaBackend(t, "a", 100), newLuaBackend(t, "b", 100)
	s = newLuaServer(t, luaUpstream(b.Server))
	s.sync(0, b.Server)
	answer = s.slow(method, b)
	s.sync(2, a.Server)
	l = s.leaver("b")
	s.busy(l)
	return s, a, b, answer, l
}

// leaver gives the only member that leaves.
func (s *luaServer) leaver(member string) *Leaver {
	s.t.Helper()
	list := s.nginx.Leaving()
	if len(list) != 1 || list[0].Member != member || list[0].Pool != "web" {
		s.t.Fatalf("leaving: got %d, want %s alone", len(list), member)
	}
	return list[0]
}

// busy says that the leaver's requests are still running.
func (s *luaServer) busy(l *Leaver) {
	s.t.Helper()
	if err := l.Wait(s.within(100 * time.Millisecond)); !errors.Is(err, context.DeadlineExceeded) || l.Over() {
		s.t.Fatalf("over while a request is running: %v", err)
	}
}

func (s *luaServer) finished(l *Leaver) {
	s.t.Helper()
	if err := l.Wait(s.within(10 * time.Second)); err != nil || !l.Over() {
		s.t.Fatalf("not over when its requests are: %v", err)
	}
}

// over waits for the leaver, which is the last.
func (s *luaServer) over(l *Leaver) {
	s.t.Helper()
	s.finished(l)
	if n := len(s.nginx.Leaving()); n != 0 {
		s.t.Errorf("%d are leaving, want none", n)
	}
}

func TestLuaMemberLeavesWithItsLastRequest(t *testing.T) {
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		s, _, b, answer, l := newLuaLeaving(t, method)
		if got := s.answers(20); got["a"] != 20 {
			t.Errorf("answers: got %v, want a alone", got)
		}
		close(b.release)
		if got := <-answer; got != "200 b <nil>" {
			t.Errorf("slow request: got %q", got)
		}
		s.over(l)
	}
}

func TestLuaMemberThatReturnsIsNotLeaving(t *testing.T) {
	s, _, b, answer, first := newLuaLeaving(t, http.MethodGet)
	s.sync(2, b.Server)
	if !first.Over() {
		t.Error("it is back, and not over")
	}
	// And again by weight, with the same request.
	b.Weight = 0
	s.sync(1, b.Server)
	found := false
	for _, l := range s.nginx.Leaving() {
		if l.Member == "b" {
			found = true
			s.busy(l)
		}
	}
	if !found {
		t.Error("a member of weight 0 with a running request is not leaving")
	}
	close(b.release)
	<-answer
	for _, l := range s.nginx.Leaving() {
		if err := l.Wait(within(t, 10*time.Second)); err != nil {
			t.Error(err)
		}
	}
}

func TestLuaMemberLeavesWithItsWebSocket(t *testing.T) {
	a := newLuaBackend(t, "a", 100)
	echo := silentEcho(t)
	s := newLuaServer(t, luaUpstream(echo))
	s.sync(0, echo)
	conn, err := net.Dial("tcp", s.listen)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: web\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	in := bufio.NewReader(conn)
	if resp, err := http.ReadResponse(in, nil); err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("got %+v, %v", resp, err)
	}
	s.sync(2, a.Server)
	l := s.leaver("echo")
	s.busy(l)
	old := s.reload() // with it, the worker that has it becomes an old one
	s.sync(0, a.Server)
	s.busy(l)
	fmt.Fprint(conn, "still\n")
	if got, err := in.ReadString('\n'); got != "still\n" {
		t.Errorf("got %q, %v", got, err)
	}
	conn.Close()
	s.over(l)
	if err := old.Wait(within(t, 10*time.Second)); err != nil {
		t.Error(err)
	}
}

// silentEcho upgrades every request, and sends back what it gets.
func silentEcho(t *testing.T) templates.Server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	t.Cleanup(func() { l.Close(); all.Wait() })
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer conn.Close()
				in := bufio.NewReader(conn)
				if _, err := http.ReadRequest(in); err != nil {
					return
				}
				fmt.Fprint(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
				_, _ = in.WriteTo(conn)
			})
		}
	})
	addr := l.Addr().(*net.TCPAddr)
	return templates.Server{Name: "echo", Host: addr.IP.String(), Port: uint16(addr.Port), Address: addr.String(), Weight: 100}
}

func TestLuaWorkerThatIsKilledHasNoRequests(t *testing.T) {
	s, _, _, answer, l := newLuaLeaving(t, http.MethodPost)
	for _, worker := range s.nginx.children() {
		if err := worker.signal(unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	<-answer
	eventually(t, "nginx has new workers", func() bool { _, _, err := s.request(t.Context(), http.MethodGet, "/"); return err == nil })
	s.over(l)
	if n, err := s.nginx.Sync(t.Context(), s.members(), true); n != 0 || err != nil {
		t.Errorf("%d changed, %v", n, err)
	}
}

func TestLuaServerThatIsRestartedHasNoRequests(t *testing.T) {
	s, a, b, answer, l := newLuaLeaving(t, http.MethodPost)
	s.render()
	master, ok := s.master.Process()
	if !ok {
		t.Fatal("no master")
	}
	workers := s.nginx.children()
	if err := master.signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "another is started", func() bool { p, ok := s.master.Process(); return ok && p != master })
	s.confirm()
	s.sync(0, a.Server) // the file says it
	// The workers of the first go on with what they have begun.
	for _, w := range workers {
		if w.alive() {
			s.busy(l)
			break
		}
	}
	close(b.release)
	<-answer
	s.over(l)
}

// A renderer that is started again learns from nginx who is still leaving.
func TestLuaLeaversAreFoundByTheNextDriver(t *testing.T) {
	a, b := newLuaBackend(t, "a", 100), newLuaBackend(t, "b", 100)
	s := newLuaServer(t, luaUpstream(a.Server, b.Server))
	s.sync(0, a.Server, b.Server)
	done := make(chan string, 2)
	for range 2 {
		go func() {
			status, _, _ := s.request(context.Background(), http.MethodGet, "/slow")
			done <- fmt.Sprint(status)
		}()
	}
	<-a.entered
	<-b.entered
	s.sync(1, a.Server)
	s.nginx = s.driver()
	s.sync(0, a.Server)
	list := s.nginx.Leaving()
	if len(list) != 1 || list[0].Address != b.Address || strings.Contains(list[0].Member, " ") {
		t.Fatalf("leaving: got %d, want b alone", len(list))
	}
	s.busy(list[0])
	close(b.release)
	s.over(list[0])
	close(a.release)
	<-done
	<-done
}
