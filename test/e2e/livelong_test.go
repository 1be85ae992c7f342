package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// serveSocket starts an instance that speaks WebSocket, as far as a balancer sees it: it
// says again what it hears, in lines.
func serveSocket(t *testing.T, name string) (address string) {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Instance", name)
		if r.Header.Get("Upgrade") != "websocket" {
			fmt.Fprintln(w, name)
			return
		}
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		// The answer to the key below, RFC 6455, section 1.3.
		const accept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
		fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nX-Instance: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n", name, accept)
		_, _ = io.Copy(conn, buffered)
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// A socket is a client's WebSocket.
type socket struct {
	net.Conn
	lines *bufio.Reader
}

// openSocket opens one that the instance answers.
func openSocket(t *testing.T, url, name string) *socket {
	t.Helper()
	var opened *socket
	eventually(t, "a WebSocket to "+name, func() error {
		conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
		if err != nil {
			return err
		}
		s := &socket{conn, bufio.NewReader(conn)}
		_ = conn.SetDeadline(time.Now().Add(patience))
		fmt.Fprint(conn, "GET /ws HTTP/1.1\r\nHost: web.example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
		res, err := http.ReadResponse(s.lines, nil)
		if err == nil && (res.StatusCode != http.StatusSwitchingProtocols || res.Header.Get("X-Instance") != name) {
			err = fmt.Errorf("answered by %s: %s", res.Header.Get("X-Instance"), res.Status)
		}
		if err != nil {
			return errors.Join(err, conn.Close())
		}
		opened = s
		return nil
	})
	t.Cleanup(func() { _ = opened.Close() })
	return opened
}

// echoes says something and hears it again.
func (s *socket) echoes(t *testing.T, when string) {
	t.Helper()
	_ = s.SetDeadline(time.Now().Add(patience))
	if _, err := fmt.Fprintln(s, when); err != nil {
		t.Fatalf("the WebSocket, %s: %v", when, err)
	}
	if line, err := s.lines.ReadString('\n'); strings.TrimSpace(line) != when {
		t.Fatalf("the WebSocket, %s: it answers %q, %v", when, line, err)
	}
}

// A WebSocket keeps its own instance from being gone, and says so, and no other.
func TestLongRequestHoldsUpNobodyElse(t *testing.T) {
	onEach(t, func(t *testing.T, proxy string) {
		endpoint := newEtcd(t)
		put(t, endpoint, "/services/web/a", serveName(t, "a"))
		put(t, endpoint, "/services/web/c", serveName(t, "c"))
		l := startLive(t, proxy, endpoint)
		put(t, endpoint, "/services/web/b", serveSocket(t, "b"))
		ws := openSocket(t, l.url, "b")
		ws.echoes(t, "at first")
		before := l.counts(t)

		announce := func(args ...string) *process {
			t.Helper()
			return start(t, nil, testbed.announce, append(args, "--endpoints", endpoint)...)
		}
		// The test is the announcer that obeys the order.
		drain := func(id string) *process {
			t.Helper()
			p := announce("drain", id, "--timeout", patience.String())
			eventually(t, "the order is there", func() error {
				if etcdctl(t, endpoint, "get", "--keys-only", "/rollcall/drains/"+id) == "" {
					return errors.New("no order")
				}
				return nil
			})
			etcdctl(t, endpoint, "del", "/services/"+id)
			return p
		}
		b := drain("web/b")
		eventually(t, "b gets no new requests", func() error { return evenly(l.url, "a", "c") })
		a := drain("web/a")
		if code := a.wait(); code != 0 {
			t.Errorf("drain of a: exit code %d", code)
		}
		if err := evenly(l.url, "c"); err != nil {
			t.Errorf("after the drain of a: %v", err)
		}
		late := announce("wait", "web/b", "--gone", "--timeout", "2s")
		if code := late.wait(); code == 0 || !strings.Contains(late.output(), "still has requests running to web/b") {
			t.Errorf("while b's WebSocket is open: exit code %d, %s", code, late.output())
		}
		ws.echoes(t, "after all that")
		select {
		case <-b.done:
			t.Errorf("drain of b is over while its WebSocket is open: %s", b.output())
		default:
		}
		if err := ws.Close(); err != nil {
			t.Error(err)
		}
		if code := b.wait(); code != 0 {
			t.Errorf("drain of b after its WebSocket: exit code %d", code)
		}
		if code := announce("wait", "web/b", "--gone").wait(); code != 0 {
			t.Errorf("b is gone: exit code %d", code)
		}
		if now := l.counts(t); now.Reloads != before.Reloads {
			t.Errorf("%d reloads, were %d", now.Reloads, before.Reloads)
		}
	})
}

// A slow instance answers /long only when it is told to, all else at once.
type slow struct {
	address string
	began   chan struct{}
	answer  chan struct{}
}

func serveSlow(t *testing.T, name string) *slow {
	t.Helper()
	s := &slow{began: make(chan struct{}, 100), answer: make(chan struct{})}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Instance", name)
		if r.URL.Path == "/long" {
			s.began <- struct{}{}
			<-s.answer
		}
		fmt.Fprintln(w, name)
	}))
	s.address = server.Listener.Addr().String()
	t.Cleanup(server.Close)
	t.Cleanup(s.end) // the server's own end waits for it
	return s
}

// end has the long requests answered.
func (s *slow) end() {
	select {
	case <-s.answer:
	default:
		close(s.answer)
	}
}

// longRequest begins one that reaches the instance; what it gives waits for the answer.
func longRequest(t *testing.T, url string, s *slow) (finished func() string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(client.CloseIdleConnections)
	answer := make(chan string, 1)
	go func() {
		for {
			res, err := client.Get(url + "/long")
			if err != nil {
				answer <- err.Error()
				return
			}
			body, err := io.ReadAll(res.Body)
			_ = res.Body.Close()
			select {
			case <-s.answer:
				answer <- fmt.Sprint(res.StatusCode, " ", strings.TrimSpace(string(body)), " ", err)
				return
			default: // somebody else has answered
			}
		}
	}()
	select {
	case <-s.began:
	case <-time.After(patience):
		t.Fatal("no request reaches the slow instance")
	}
	return func() string {
		t.Helper()
		select {
		case a := <-answer:
			return a
		case <-time.After(patience):
			t.Fatal("the long request is not answered")
			return ""
		}
	}
}
