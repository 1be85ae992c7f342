package loadgen

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestGoodServer(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Instance", "web-1")
		w.Header().Set("X-Version", "v1")
		_, _ = io.Copy(w, r.Body)
	}))
	defer srv.Close()
	c := Default(srv.URL)
	c.Rate = 2000
	got := run(t, c, 500)

	if got.Lost() != 0 || got.Retried != 0 || got.Reopened != 0 {
		t.Errorf("lost %d, retried %d, reopened %d of a good server: %v", got.Lost(), got.Retried, got.Reopened, got.Failures)
	}
	sent := float64(got.Sent())
	within(t, "POSTs", float64(got.Posts[OK])/sent, .25, .08)
	within(t, "fresh connections", float64(got.Fresh)/sent, .3, .08)
	if got.Instances["web-1"] != got.Sent() || got.Versions["v1"] != got.Sent() {
		t.Errorf("answered by %v, %v, want all %d by web-1, v1", got.Instances, got.Versions, got.Sent())
	}
	if got.Latency.Count() != got.Sent() {
		t.Errorf("%d latencies of %d requests", got.Latency.Count(), got.Sent())
	}
}

// Every way to fail a client is seen as what it is. The server does its worst to
// each request that is not the first of its connection, and is good to the first.
func TestFailures(t *testing.T) {
	answer := func(body string) string {
		return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
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
		{"5xx", nil, func(conn net.Conn, _ string) {
			_, _ = io.WriteString(conn, "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
		}, ServerError},
		{"404", nil, func(conn net.Conn, _ string) {
			_, _ = io.WriteString(conn, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
		}, Wrong},
		{"another body", func(c *Config) { c.Post = 1 }, func(conn net.Conn, body string) {
			_, _ = io.WriteString(conn, answer(body+"!"))
		}, Wrong},
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
					_, err := io.WriteString(conn, answer(body))
					return err == nil
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
		fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		return nth == 0 // the second request is answered; the third finds the connection closing
	})
	flaky := rawServer(t, func(conn net.Conn, nth int, body string) bool {
		if nth > 0 {
			return false
		}
		fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		return true
	})
	for _, tt := range []struct {
		name, url string
		post      float64
		check     func(*Result) bool
	}{
		{"closed while idle is no failure", url, 1, func(r *Result) bool { return r.Lost() == 0 && r.Reopened > 0 && r.Retried == 0 }},
		{"GETs", flaky, 0, func(r *Result) bool { return r.Lost() == 0 && r.Retried > 0 }},
		{"POSTs", flaky, 1, func(r *Result) bool { return r.Counts[ClosedReused] > 0 && r.LostGets() == 0 && r.Retried == 0 }},
		{"fresh POSTs", flaky, 1, func(r *Result) bool { return r.Lost() == 0 && r.Fresh == r.Sent() }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			// One client at a slow pace: the server's close has arrived before the next request.
			got := run(t, Config{URL: tt.url, Rate: 100, Clients: 1, Timeout: 5 * time.Second, Post: tt.post, Retry: true, FreshPosts: strings.HasPrefix(tt.name, "fresh")}, 12)
			if !tt.check(&got) {
				t.Errorf("counts %v, retried %d, reopened %d", got.Counts, got.Retried, got.Reopened)
			}
		})
	}
}

// A request waits for a free client, and its latency counts from when it was due.
func TestLatencyCountsFromDue(t *testing.T) {
	url := rawServer(t, func(conn net.Conn, nth int, _ string) bool {
		if nth == 0 {
			<-time.After(200 * time.Millisecond)
		}
		_, err := io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		return err == nil
	})
	got := run(t, Config{URL: url, Rate: 200, Clients: 1, Timeout: 5 * time.Second}, 60)
	if p50 := got.Latency.Quantile(.5); p50 < 20*time.Millisecond {
		t.Errorf("p50 is %v, though half of the requests had to wait for the first", p50)
	}
}

func TestSlowRequests(t *testing.T) {
	var mu sync.Mutex
	seen := map[string]bool{}
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		seen[r.Method+" "+r.Host+r.URL.String()] = true
	}))
	defer srv.Close()
	c := Default(srv.URL + "/shop?x=1")
	c.Host, c.Slow, c.Post, c.SlowFor, c.Rate = "www.example.com", .5, 0, 1500*time.Millisecond, 1000
	run(t, c, 50)
	want := map[string]bool{"GET www.example.com/slow?d=1.5s": true, "GET www.example.com/shop?x=1": true}
	if fmt.Sprint(seen) != fmt.Sprint(want) {
		t.Errorf("server saw %v, want %v", seen, want)
	}
}

func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, err := New(Config{URL: "http://127.0.0.1:1/", Rate: 50, Clients: 1, Timeout: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		began := time.Now()
		orders := make(chan order)
		go func() {
			l.pace(ctx, began, orders)
			close(orders)
		}()
		n := 0
		for o := range orders {
			if want := began.Add(time.Duration(n) * 20 * time.Millisecond); !o.due.Equal(want) {
				t.Fatalf("request %d is due %v, want %v", n, o.due.Sub(began), want.Sub(began))
			}
			switch n++; n {
			case 10: // busy for a second: the fifty that were due meanwhile follow at once
				<-time.After(time.Second)
			case 60:
				if late := time.Since(began); late > 1200*time.Millisecond {
					t.Errorf("caught up after %v, want at most 1.2s", late)
				}
			case 100:
				if took := time.Since(began); took != 99*20*time.Millisecond {
					t.Errorf("100 requests were due within %v, want %v", took, 99*20*time.Millisecond)
				}
				cancel()
			}
		}
	})
}

func TestValidate(t *testing.T) {
	c := Config{URL: "https://x/", Slow: 2, SlowFor: time.Minute}
	_, err := New(c)
	if err == nil {
		t.Fatal("no error")
	}
	want := `URL "https://x/" is not http://host[:port]/path
rate 0 is not above 0 and at most 100000 a second
clients: 0 is not from 1 to 10000
timeout 0s is not positive
slow requests of 1m0s do not fit into a timeout of 0s
share of slow requests 2 is not from 0 to 1`
	if err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
	if c := Default("http://127.0.0.1:8080/"); c.Validate() != nil {
		t.Errorf("the default is refused: %v", c.Validate())
	}
}

// run sends load until n requests have ended.
func run(t *testing.T, c Config, n int64) Result {
	t.Helper()
	l, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.Run(ctx)
	}()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for s := l.Snapshot(); s.Sent() < n; s = l.Snapshot() {
		select {
		case <-tick.C:
		case <-done:
			t.Fatalf("only %d of %d requests ended", s.Sent(), n)
		}
	}
	cancel()
	<-done
	return l.Snapshot()
}

// rawServer hands every request's body to serve, with its number on its
// connection, and closes the connection when serve says so.
func rawServer(t *testing.T, serve func(conn net.Conn, nth int, body string) (keep bool)) (url string) {
	t.Helper()
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer conn.Close()
				in := bufio.NewReader(conn)
				for nth := 0; ; nth++ {
					req, err := http.ReadRequest(in)
					if err != nil {
						return
					}
					body, err := io.ReadAll(req.Body)
					if err != nil || !serve(conn, nth, string(body)) {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		running.Wait()
	})
	return "http://" + ln.Addr().String()
}

func within(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if got < want-tolerance || got > want+tolerance {
		t.Errorf("share of %s is %.2f, want %.2f ± %.2f", what, got, want, tolerance)
	}
}

func TestPrint(t *testing.T) {
	r := newResult()
	r.Took = 2 * time.Second
	o := order{method: "GET"}
	for range 3 {
		r.count(o, outcome{instance: "web-1", version: "v1", latency: 10 * time.Millisecond})
	}
	r.count(order{method: "POST", fresh: true}, outcome{kind: ServerError, err: fmt.Errorf("status 502 Bad Gateway")})
	r.Failures[0].At = 1500 * time.Millisecond
	if got, want := r.String(), "requests sent 4, lost 1 (p50 10ms, p99 10ms, max 10ms)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	var out strings.Builder
	r.Print(&out)
	want := `sent       4 in 2s, 2/s (1 POST, 1 on fresh connections)
ok         3
lost       1 (0 GET, 1 POST)
           1 5xx
retried    0 on a kept connection closed without an answer
reopened   0 kept connections found closed before the next request
latency    p50 10ms, p99 10ms, p99.9 10ms, max 10ms
instances  web-1 100%
versions   v1 100%
failure    at 1.5s: POST: 5xx: status 502 Bad Gateway
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}
