package loadgen

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
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

// A request waits for a free client, and its latency counts from when it was due.
func TestLatencyCountsFromDue(t *testing.T) {
	url := rawServer(t, func(conn net.Conn, nth int, _ string) bool {
		if nth == 0 {
			<-time.After(200 * time.Millisecond)
		}
		return good(conn, "")
	})
	got := run(t, Config{URL: url, Rate: 200, Clients: 1, Timeout: 5 * time.Second}, 60)
	if p50 := got.Latency.Quantile(.5); p50 < 20*time.Millisecond {
		t.Errorf("p50 is %v, though half of the requests had to wait for the first", p50)
	}
}

// Slow requests take what they are asked to, and their latency is what comes on top.
func TestSlowRequests(t *testing.T) {
	const slow = 100 * time.Millisecond
	var mu sync.Mutex
	seen := map[string]bool{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		seen[r.Method+" "+r.Host+r.URL.String()] = true
		mu.Unlock()
		if r.URL.Path == "/slow" {
			<-time.After(slow)
		}
		_, _ = io.Copy(w, r.Body)
	}))
	defer srv.Close()
	c := Default(srv.URL + "/shop?x=1")
	c.Host, c.Slow, c.Post, c.SlowFor, c.Rate, c.Clients = "www.example.com", .5, .5, slow, 500, 100
	got := run(t, c, 100)
	want := map[string]bool{
		"GET www.example.com/slow?d=100ms": true, "POST www.example.com/slow?d=100ms": true,
		"GET www.example.com/shop?x=1": true, "POST www.example.com/echo": true,
	}
	if fmt.Sprint(seen) != fmt.Sprint(want) {
		t.Errorf("server saw %v, want %v", seen, want)
	}
	tally := &got.Classes[Slow]
	within(t, "slow requests", float64(tally.Sent())/float64(got.Sent()), .5, .2)
	if p50 := tally.Latency.Quantile(.5); p50 >= slow || got.Lost() > 0 {
		t.Errorf("p50 of slow requests is %v beyond what they were asked to take; lost %d", p50, got.Lost())
	}
}

// Clients that use their connection rarely come by themselves, each on its own connection.
func TestRareClients(t *testing.T) {
	var mu sync.Mutex
	conns := map[string]int{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		conns[r.RemoteAddr]++
		mu.Unlock()
		_, _ = io.Copy(w, r.Body)
	}))
	defer srv.Close()
	c := Config{URL: srv.URL, Rate: 1e-3, Clients: 1, Post: .5, Rare: 5, RareEvery: 20 * time.Millisecond, Timeout: 5 * time.Second}
	began := time.Now()
	got := run(t, c, 50)
	if fair := 50 * c.RareEvery / time.Duration(c.Rare); time.Since(began) < fair/2 {
		t.Errorf("50 requests within %v, want them in about %v", time.Since(began), fair)
	}
	tally := &got.Classes[Rare]
	if n := tally.Sent(); n < got.Sent()-1 || got.Lost() > 0 || tally.SentPosts() == 0 || tally.SentPosts() == n {
		t.Errorf("%d of %d requests were of such clients, %d POSTs, %d lost", n, got.Sent(), tally.SentPosts(), got.Lost())
	}
	if len(conns) != c.Rare+1 {
		t.Errorf("requests came on connections %v, want one for each of %d clients", conns, c.Rare+1)
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
	c := Config{URL: "https://x/", Slow: 2, SlowFor: time.Minute, Rare: 20_000}
	_, err := New(c)
	if err == nil {
		t.Fatal("no error")
	}
	want := `URL "https://x/" is not http://host[:port]/path
rate 0 is not above 0 and at most 100000 a second
clients: 0 is not from 1 to 10000
timeout 0s is not positive
slow requests of 1m0s do not fit into a timeout of 0s
rarely used connections: 20000 is not from 0 to 10000
rarely used connections: an interval of 0s is not positive
share of slow requests 2 is not from 0 to 1`
	if err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
	if c := Default("http://127.0.0.1:8080/"); c.Validate() != nil {
		t.Errorf("the default is refused: %v", c.Validate())
	}
}
