// Package loadgen sends requests to a web server at a steady rate and counts what
// its clients would have noticed. It is for tests, the demo and measurements; it
// knows nothing of rollcall, containers or proxies.
//
// It speaks HTTP/1.1 over connections of its own, because net/http's Transport
// sends a request again by itself when a kept connection turns out to be closed:
// the very failures that a reload causes would stay invisible.
//
// A request has failed when its client saw an error or an answer that is not the
// right one; see Kind for all of them. Nothing is sent twice, with two exceptions
// that must be asked for (Config.Retry, Config.RetryGateway) and are counted by themselves. Not a failure:
// a kept connection that the server has closed before the next request is
// written. Every client looks first and opens another (Result.Reopened), unless it is
// asked not to (Config.Blind).
//
// The load is open: requests are due at fixed times whatever the answers take, and
// a latency counts from when its request was due. A server that stalls is thereby
// charged for every request it kept waiting.
package loadgen

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"strconv"
	"sync"
	"time"
)

// Config says what load to send.
type Config struct {
	URL  string // http://host:port/path of the GETs; POSTs go to /echo at the same place
	Host string // Host header; the URL's by default

	Rate    float64 // requests per second
	Clients int     // clients, each with one kept connection: the bound of what runs at a time

	// Shares of the requests, 0–1. They are drawn independently of each other.
	Fresh float64 // sent on a connection of their own, which closes after it
	Post  float64 // POSTs whose body must come back
	Slow  float64 // asked to take SlowFor: /slow?d=… instead of the URL's path, or of /echo

	// Rare is the number of clients, besides all those, that use their kept connection only
	// once in about RareEvery: in between, the server may well close it. They add
	// Rare/RareEvery to Rate.
	Rare      int
	RareEvery time.Duration

	// FreshPosts sends every POST on a connection of its own, as careful clients do:
	// on a kept one it may meet a server that is just closing it, and may not be sent again.
	FreshPosts bool

	// Blind clients do not look whether a kept connection was closed before they use it.
	Blind bool

	SlowFor time.Duration
	Timeout time.Duration // of one request, from writing to the last byte of its answer

	// Retry sends a GET once more, on a new connection, when a kept connection closes
	// before the first byte of the answer: what browsers do (RFC 9110, section 9.2.2).
	Retry bool
	// RetryGateway sends a GET once more that was answered with 502: what a careful
	// client does behind a proxy that does not try another server by itself.
	RetryGateway bool

	Seed uint64 // the same seed draws the same requests
}

// Default gives the load that the tests use unless they say otherwise: much of
// everything that a reload could hurt.
func Default(target string) Config {
	return Config{
		URL: target, Rate: 200, Clients: 20,
		Fresh: 0.3, Post: 0.25, Slow: 0, RareEvery: 3 * time.Second,
		SlowFor: 2 * time.Second, Timeout: 10 * time.Second, Seed: 1,
	}
}

// Validate lists everything that is wrong with the configuration.
func (c *Config) Validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	u, err := url.Parse(c.URL)
	check(err == nil && u.Scheme == "http" && u.Hostname() != "", "URL %q is not http://host[:port]/path", c.URL)
	check(c.Rate > 0 && c.Rate <= 100_000, "rate %g is not above 0 and at most 100000 a second", c.Rate)
	check(c.Clients > 0 && c.Clients <= 10_000, "clients: %d is not from 1 to 10000", c.Clients)
	check(c.Timeout > 0, "timeout %v is not positive", c.Timeout)
	check(c.Slow == 0 || c.SlowFor > 0 && c.SlowFor < c.Timeout, "slow requests of %v do not fit into a timeout of %v", c.SlowFor, c.Timeout)
	check(c.Rare >= 0 && c.Rare <= 10_000, "rarely used connections: %d is not from 0 to 10000", c.Rare)
	check(c.Rare == 0 || c.RareEvery > 0, "rarely used connections: an interval of %v is not positive", c.RareEvery)
	for _, s := range []struct {
		name  string
		share float64
	}{{"fresh", c.Fresh}, {"post", c.Post}, {"slow", c.Slow}} {
		check(s.share >= 0 && s.share <= 1, "share of %s requests %g is not from 0 to 1", s.name, s.share)
	}
	return errors.Join(errs...)
}

// A Load is one run of the generator.
type Load struct {
	config Config
	target target

	mu     sync.Mutex
	result Result
}

// target is what all requests have in common.
type target struct {
	addr string // host:port to connect to
	host string // Host header
	path string // of plain GETs
}

// An order is one request that is due.
type order struct {
	class  Class
	due    time.Time
	takes  time.Duration // what a slow one is asked to take
	method string
	path   string
	body   []byte // of a POST
	fresh  bool
}

// New prepares a load. Errors: what Config.Validate says.
func New(c Config) (*Load, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	u, err := url.Parse(c.URL)
	if err != nil {
		return nil, err
	}
	t := target{addr: u.Host, host: u.Host, path: u.RequestURI()}
	if u.Port() == "" {
		t.addr = net.JoinHostPort(u.Hostname(), "80")
	}
	if c.Host != "" {
		t.host = c.Host
	}
	return &Load{config: c, target: t, result: newResult()}, nil
}

// Run sends until ctx ends, then waits for the answers that are still due, each
// within Config.Timeout. It may be called once.
func (l *Load) Run(ctx context.Context) {
	began := time.Now()
	l.locked(func(r *Result) { r.began = began })

	orders := make(chan order)
	var clients sync.WaitGroup
	for range l.config.Clients {
		clients.Go(func() {
			c := l.client()
			defer c.close()
			for o := range orders {
				l.carryOut(c, o)
			}
		})
	}
	for i := range l.config.Rare {
		clients.Go(func() { l.seldom(ctx, began, i) })
	}
	l.pace(ctx, began, orders)
	close(orders)
	clients.Wait()
	l.locked(func(r *Result) { r.Took = time.Since(began) })
}

// pace hands out orders when they are due. It falls behind while all clients are
// busy and then catches up; what was due stays due.
func (l *Load) pace(ctx context.Context, began time.Time, orders chan<- order) {
	draw := rand.New(rand.NewPCG(l.config.Seed, 0))
	timer := time.NewTimer(0)
	defer timer.Stop()
	for n := 0; ; n++ {
		o := l.order(n, draw)
		o.due = began.Add(time.Duration(float64(n) / l.config.Rate * float64(time.Second)))
		timer.Reset(time.Until(o.due))
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		select {
		case orders <- o:
		case <-ctx.Done():
			return
		}
	}
}

// seldom is the i-th client that uses its connection rarely.
func (l *Load) seldom(ctx context.Context, began time.Time, i int) {
	c := l.client()
	defer c.close()
	draw := rand.New(rand.NewPCG(l.config.Seed, uint64(i)+1))
	timer := time.NewTimer(0)
	defer timer.Stop()
	// They begin one after the other and then lose their step, so that every moment meets some.
	due := began.Add(l.config.RareEvery * time.Duration(i) / time.Duration(l.config.Rare))
	for n := 0; ; n++ {
		timer.Reset(time.Until(due))
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		o := l.plain(draw.Float64() < l.config.Post, i+n*l.config.Rare)
		o.class, o.due = Rare, due
		l.carryOut(c, o)
		due = due.Add(time.Duration((.5 + draw.Float64()) * float64(l.config.RareEvery)))
	}
}

func (l *Load) client() *client { return &client{config: &l.config, target: &l.target} }

func (l *Load) carryOut(c *client, o order) {
	out := c.send(o)
	l.locked(func(r *Result) { r.count(o, out) })
}

// order draws the n-th order.
func (l *Load) order(n int, draw *rand.Rand) order {
	slow, post, fresh := draw.Float64() < l.config.Slow, draw.Float64() < l.config.Post, draw.Float64() < l.config.Fresh
	o := l.plain(post, n)
	if o.fresh = fresh || post && l.config.FreshPosts; o.fresh {
		o.class = Fresh
	}
	if slow {
		o.class, o.path, o.takes = Slow, "/slow?d="+l.config.SlowFor.String(), l.config.SlowFor
	}
	return o
}

// plain gives an order on a kept connection, the n-th of its kind.
func (l *Load) plain(post bool, n int) order {
	if post {
		return order{method: "POST", path: "/echo", body: strconv.AppendInt([]byte("request "), int64(n), 10)}
	}
	return order{method: "GET", path: l.target.path}
}

// Snapshot gives what has been counted so far, or all of it once Run has returned.
func (l *Load) Snapshot() Result {
	var s Result
	l.locked(func(r *Result) {
		s = r.clone()
		if s.Took == 0 && !s.began.IsZero() {
			s.Took = time.Since(s.began)
		}
	})
	return s
}

func (l *Load) locked(f func(*Result)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f(&l.result)
}
