package loadgen

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"
)

// Every way to fail a client is seen as what it is. The server does its worst to
// each request that is not the first of its connection, and is good to the first.
func TestFailures(t *testing.T) {
	// A server that closes after a whole answer says so, or its next request may meet that.
	last := func(conn net.Conn, status, body string) {
		fmt.Fprintf(conn, "HTTP/1.1 %s\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", status, len(body), body)
	}
	for _, tt := range []struct {
		name  string
		tweak func(*Config)
		worst func(conn net.Conn, body string) // the connection closes after it
		want  Kind
	}{
		{"closed without an answer", nil, func(net.Conn, string) {}, ClosedReused},
		{"reset without an answer", nil, func(conn net.Conn, _ string) { _ = conn.(*net.TCPConn).SetLinger(0) }, ClosedReused},
		{"head broken off", nil, func(conn net.Conn, _ string) { _, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nCon") }, Cut},
		{"body broken off", nil, func(conn net.Conn, _ string) {
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nrequ")
		}, Cut},
		{"no HTTP", nil, func(conn net.Conn, _ string) { _, _ = io.WriteString(conn, "SSH-2.0-x\r\n\r\n") }, Cut},
		{"5xx", nil, func(conn net.Conn, _ string) { last(conn, "502 Bad Gateway", "") }, ServerError},
		{"404", nil, func(conn net.Conn, _ string) { last(conn, "404 Not Found", "") }, Wrong},
		{"another body", func(c *Config) { c.Post = 1 }, func(conn net.Conn, body string) { last(conn, "200 OK", body+"!") }, Wrong},
		{"never answers", func(c *Config) { c.Timeout = 50 * time.Millisecond }, func(conn net.Conn, _ string) {
			_, _ = io.Copy(io.Discard, conn)
		}, Timeout},
		{"stops in the middle", func(c *Config) { c.Timeout = 50 * time.Millisecond }, func(conn net.Conn, _ string) {
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nrequ")
			_, _ = io.Copy(io.Discard, conn)
		}, Timeout},
	} {
		t.Run(tt.name, func(t *testing.T) {
			url := rawServer(t, func(conn net.Conn, nth int, body string) bool {
				if nth == 0 {
					return good(conn, body)
				}
				tt.worst(conn, body)
				return false
			})
			c := Config{URL: url, Rate: 1000, Clients: 2, Timeout: 5 * time.Second}
			if tt.tweak != nil {
				tt.tweak(&c)
			}
			got := run(t, c, 20)
			if got.Lost() == 0 || got.Counts[tt.want] != got.Lost() {
				t.Errorf("got counts %v, want failures, all of them of kind %q", got.Counts, tt.want)
			}
			within(t, "failures", float64(got.Lost())/float64(got.Sent()), .5, .1)
			if n := min(int(got.Lost()), maxFailures); len(got.Failures) != n || got.Failures[0].Kind != tt.want || got.Failures[0].Text == "" {
				t.Errorf("failures are told as %+v, want %d of kind %q", got.Failures, n, tt.want)
			}
		})
	}
}

func TestClosedOnFirstUse(t *testing.T) {
	url := rawServer(t, func(net.Conn, int, string) bool { return false })
	got := run(t, Config{URL: url, Rate: 1000, Clients: 2, Timeout: 5 * time.Second, Retry: true}, 20)
	if got.Counts[Closed] != got.Sent() || got.Retried != 0 {
		t.Errorf("got counts %v, retried %d, want all %q and none retried", got.Counts, got.Retried, Closed)
	}
}

func TestRefused(t *testing.T) {
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	got := run(t, Config{URL: "http://" + ln.Addr().String(), Rate: 1000, Clients: 2, Timeout: 5 * time.Second}, 20)
	if got.Counts[Dial] != got.Sent() {
		t.Errorf("got counts %v, want all %q", got.Counts, Dial)
	}
}

// With Retry, a GET survives what a POST does not.
func TestRetry(t *testing.T) {
	url := rawServer(t, func(conn net.Conn, nth int, body string) bool {
		return nth == 0 && good(conn, body)
	})
	for _, tt := range []struct {
		name  string
		tweak func(*Config)
		check func(*Result) bool
	}{
		{"GETs", func(*Config) {}, func(r *Result) bool { return r.Lost() == 0 && r.Retried > 0 }},
		{"POSTs", func(c *Config) { c.Post = 1 }, func(r *Result) bool { return r.Counts[ClosedReused] > 0 && r.LostGets() == 0 && r.Retried == 0 }},
		{"fresh POSTs", func(c *Config) { c.Post, c.FreshPosts = 1, true }, func(r *Result) bool { return r.Lost() == 0 && r.Fresh == r.Sent() }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := Config{URL: url, Rate: 1000, Clients: 1, Timeout: 5 * time.Second, Retry: true}
			tt.tweak(&c)
			got := run(t, c, 12)
			if !tt.check(&got) {
				t.Errorf("counts %v, retried %d, reopened %d", got.Counts, got.Retried, got.Reopened)
			}
		})
	}
}

// With RetryGateway, a GET that was answered 502 is sent once more; with Retry alone
// it is lost, and a POST is lost whatever was asked for.
func TestRetryGateway(t *testing.T) {
	for _, tt := range []struct {
		name  string
		tweak func(*Config)
		lost  int64
	}{
		{"GETs", func(c *Config) { c.RetryGateway = true }, 0},
		{"GETs, not asked for", func(c *Config) { c.Retry = true }, 1},
		{"POSTs", func(c *Config) { c.RetryGateway, c.Post = true, 1 }, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var asked atomic.Int64
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if asked.Add(1) == 1 {
					w.WriteHeader(http.StatusBadGateway)
					return
				}
				_, _ = io.Copy(w, r.Body)
			}))
			defer srv.Close()
			c := Config{URL: srv.URL, Rate: 1000, Clients: 1, Timeout: 5 * time.Second}
			tt.tweak(&c)
			if got := run(t, c, 5); got.Lost() != tt.lost || got.Retried != 1-tt.lost {
				t.Errorf("lost %d, retried %d, want %d and %d", got.Lost(), got.Retried, tt.lost, 1-tt.lost)
			}
		})
	}
}

// A kept connection that is closed before the next request is no failure, even
// where nothing may be sent again; but it is one to a client that does not look.
func TestReopens(t *testing.T) {
	for _, blind := range []bool{false, true} {
		url := rawServer(t, func(conn net.Conn, _ int, body string) bool {
			good(conn, body)
			return false
		})
		l, err := New(Config{URL: url, Rate: 1, Clients: 1, Timeout: 5 * time.Second, Blind: blind})
		if err != nil {
			t.Fatal(err)
		}
		c := l.client()
		defer c.close()
		post := order{method: "POST", path: "/echo", body: []byte("x")}
		want := []outcome{{}, {reopened: true}, {reopened: true}}
		if blind {
			want = []outcome{{}, {kind: ClosedReused}, {}}
		}
		for n, want := range want {
			post.due = time.Now()
			out := c.send(post)
			if out.kind != want.kind || out.retried || out.reopened != want.reopened {
				t.Errorf("blind: %t, request %d: %+v, want %+v", blind, n, out, want)
			}
			tick := time.NewTicker(time.Millisecond)
			defer tick.Stop()
			for deadline := time.Now().Add(5 * time.Second); c.conn != nil && alive(c.conn); <-tick.C {
				if time.Now().After(deadline) {
					t.Fatal("the server does not close")
				}
			}
		}
	}
}
