package reload

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// slowly sends a request that stays in flight until the backend is released.
func (a *liveApache) slowly(b *namedBackend) (answer chan string) {
	a.t.Helper()
	answer = make(chan string, 1)
	go func() {
		got, err := a.get(context.Background(), "/slow", nil)
		if err != nil {
			got = err.Error()
		}
		answer <- got
	}()
	select {
	case <-b.entered:
	case <-time.After(10 * time.Second):
		a.t.Fatal("the slow request did not reach its backend")
	}
	return answer
}

// leaver gives the only one there is.
func (a *liveApache) leaver(want string) *Leaver {
	a.t.Helper()
	list := a.driver.Leaving()
	if len(list) != 1 || list[0].Pool+" "+list[0].Member != want {
		a.t.Fatalf("leaving: got %+v, want %s", list, want)
	}
	return list[0]
}

// stays says that the leaver is not over after looking for a while.
func (a *liveApache) stays(l *Leaver) {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(a.t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := l.Wait(ctx); err == nil || l.Over() {
		a.t.Fatal("the leaver is over, while a request is running")
	}
}

func (a *liveApache) ends(l *Leaver) {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(a.t.Context(), 20*time.Second)
	defer cancel()
	if err := l.Wait(ctx); err != nil || !l.Over() {
		a.t.Fatalf("the leaver is not over: %v", err)
	}
}

// newApacheLeaving gives a server from which one has begun to leave for two, with a request
// of one's that is running.
func newApacheLeaving(t *testing.T) (a *liveApache, one *namedBackend, answer chan string) {
	t.Helper()
	a = newLiveApache(t)
	one, two := newNamedBackend(t, "one"), newNamedBackend(t, "two")
	a.want("web", one.Member)
	a.sync(false, 1)
	answer = a.slowly(one)
	a.want("web", two.Member)
	a.sync(false, 2)
	return a, one, answer
}

func TestApacheMemberLeavesWithItsLastRequest(t *testing.T) {
	t.Parallel()
	a, one, answer := newApacheLeaving(t)
	if got := a.answers(8); got != "two" {
		t.Errorf("while one leaves: got answers of %q", got)
	}
	l := a.leaver("web one")
	a.stays(l)
	one.release <- struct{}{}
	if got := <-answer; got != "one" {
		t.Errorf("slow request: got %q", got)
	}
	a.ends(l)
	if list := a.driver.Leaving(); len(list) > 0 {
		t.Errorf("leaving: got %+v, want none", list)
	}
	// One without requests is over as soon as can be.
	a.want("web")
	a.sync(false, 1)
	a.ends(a.leaver("web two"))
}

func TestApacheMemberReturnsWhileLeaving(t *testing.T) {
	t.Parallel()
	a := newLiveApache(t)
	one := newNamedBackend(t, "one")
	a.want("web", one.Member)
	a.sync(false, 1)
	answer := a.slowly(one)
	a.want("web", one.weighing(0))
	a.sync(false, 1)
	l := a.leaver("web one")
	if got := a.answers(1); !strings.HasPrefix(got, "503 ") {
		t.Errorf("weight 0: got %q, want 503", got)
	}
	a.sync(true, 0)
	if again := a.leaver("web one"); again != l {
		t.Error("what was read back made another leaver of the same")
	}
	a.want("web", one.Member)
	a.sync(false, 1)
	if list := a.driver.Leaving(); len(list) > 0 || !l.Over() {
		t.Errorf("after its return: got %+v leaving, over %v", list, l.Over())
	}
	one.release <- struct{}{}
	if got := <-answer; got != "one" {
		t.Errorf("slow request: got %q", got)
	}
}

// TestApacheMemberLeavesThroughAReload has the counts begin anew under a leaver's request.
func TestApacheMemberLeavesThroughAReload(t *testing.T) {
	t.Parallel()
	a, one, answer := newApacheLeaving(t)
	l := a.leaver("web one")
	a.reload()
	a.stays(l)
	a.sync(true, 0)
	a.stays(a.leaver("web one"))
	one.release <- struct{}{}
	if got := <-answer; got != "one" {
		t.Errorf("slow request: got %q", got)
	}
	a.ends(l)
}

// TestApacheLeaverOfBefore has another driver find what one has left behind.
func TestApacheLeaverOfBefore(t *testing.T) {
	t.Parallel()
	a := newLiveApache(t)
	one := newNamedBackend(t, "one")
	a.want("web", one.Member)
	a.sync(false, 1)
	answer := a.slowly(one)
	a.want("web")
	a.sync(false, 1)
	driver, err := NewApache(ApacheConfig{Main: a.main, Control: a.control, Program: a.program, Master: a.master, Members: liveSecret, Side: a.b.Side})
	if err != nil {
		t.Fatal(err)
	}
	a.driver = driver
	a.sync(false, 0)
	l := a.leaver("web " + one.Address)
	a.stays(l)
	one.release <- struct{}{}
	<-answer
	a.ends(l)
}

// TestApacheAddedMemberPassesWebSocketsOn is about one that came while Apache ran, and about
// one that leaves under an open WebSocket.
func TestApacheAddedMemberPassesWebSocketsOn(t *testing.T) {
	t.Parallel()
	a := newLiveApache(t)
	echo := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		fmt.Fprint(rw, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
		rw.Flush()
		_, _ = io.Copy(conn, rw)
	}))
	defer echo.Close()
	a.want("web", Member{"echo", echo.Listener.Addr().String(), 100})
	a.sync(false, 1)
	conn, err := net.Dial("tcp", a.listen)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	fmt.Fprint(conn, "GET /ws HTTP/1.1\r\nHost: web.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	in := bufio.NewReader(conn)
	resp, err := http.ReadResponse(in, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("got %+v, %v; want 101", resp, err)
	}
	a.want("web")
	a.sync(false, 1)
	l := a.leaver("web echo")
	a.stays(l)
	fmt.Fprint(conn, "still there\n")
	if got, err := in.ReadString('\n'); err != nil || got != "still there\n" {
		t.Fatalf("got %q, %v", got, err)
	}
	conn.Close()
	a.ends(l)
}
