package bench

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// A storm is many changes in a short time.
type storm struct {
	name    string
	changes int
	during  time.Duration
	sockets bool // clients begin WebSockets meanwhile
}

var allStorms = []storm{
	{"200 in one second", 200, time.Second, false},
	{"10,000 in ten seconds", 10_000, 10 * time.Second, false},
	{"10,000 in ten seconds, WebSockets", 10_000, 10 * time.Second, true},
}

// An aftermath is what a storm led to.
type aftermath struct {
	reloads int
	settled time.Duration // from the beginning of the last change until it is served
	closing int           // workers of older configurations, at most
	sockets int           // WebSockets, each begun in another moment of the storm
	cut     int           // of which the server has cut off
}

// socketEvery is how often a client begins a WebSocket during a storm: each keeps one of
// the workers that it finds, for as long as it lasts.
const socketEvery = 250 * time.Millisecond

// calm is how long nothing has changed when a storm begins.
const calm = time.Second

// endure changes one instance after the other, as evenly as possible.
func (b *renderBed) endure(o storm) aftermath {
	b.tb.Helper()
	if o.sockets {
		b.rest(b.store.put(renderPrefix+"sockets/one", startEcho(b.tb)))
	}
	time.Sleep(calm)
	var found aftermath
	stop := b.observe(&found, o.sockets)
	began := time.Now()
	var group errgroup.Group
	group.SetLimit(16)
	for k := range o.changes - 1 {
		time.Sleep(time.Until(began.Add(o.during * time.Duration(k) / time.Duration(o.changes))))
		group.Go(func() error {
			b.put(k*7919%int(b.catalog), uint16(firstPort+1+k))
			return nil
		})
	}
	_ = group.Wait() // who fails has told
	last, revision := b.put(0, firstPort+9)
	found.settled = b.acknowledged(revision).Sub(last)
	found.reloads = len(b.swaps)
	stop()
	b.rest(revision)
	return found
}

// observe counts the workers that finish what they have begun, and begins WebSockets
// if it is to, until it is stopped. Then it looks which of these still work, and ends them.
func (b *renderBed) observe(found *aftermath, withSockets bool) (stop func()) {
	b.tb.Helper()
	done := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				_, closing, err := b.nginx.processes()
				if err != nil {
					b.tb.Error(err)
					return
				}
				found.closing = max(found.closing, closing)
			case <-done:
				return
			}
		}
	})
	var sockets []net.Conn
	running.Go(func() {
		tick := time.NewTicker(socketEvery)
		defer tick.Stop()
		for withSockets {
			conn, err := openSocket(b.nginx.listen)
			if err != nil {
				b.tb.Error(err)
				return
			}
			sockets = append(sockets, conn)
			select {
			case <-tick.C:
			case <-done:
				return
			}
		}
	})
	return func() {
		close(done)
		running.Wait()
		for _, conn := range sockets {
			found.sockets++
			if !echoes(conn) {
				found.cut++
			}
			_ = conn.Close()
		}
	}
}

// startEcho starts a server of WebSockets, as far as a balancer sees them, and gives its record.
func startEcho(tb testing.TB) (record string) {
	tb.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		fmt.Fprint(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
		_, _ = io.Copy(conn, rw)
	}))
	tb.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

// openSocket begins a WebSocket through a balancer.
func openSocket(address string) (net.Conn, error) {
	conn, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: sockets\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err == nil && res.StatusCode != http.StatusSwitchingProtocols {
		err = fmt.Errorf("a WebSocket is answered with %s", res.Status)
	}
	return conn, err
}

func echoes(conn net.Conn) bool {
	var back [1]byte
	if _, err := conn.Write([]byte("x")); err != nil {
		return false
	}
	_, err := io.ReadFull(conn, back[:])
	return err == nil && back[0] == 'x'
}

// BenchmarkRenderStorm measures what becomes of many changes at once.
func BenchmarkRenderStorm(b *testing.B) {
	for _, o := range allStorms {
		b.Run(strings.ReplaceAll(strings.ReplaceAll(o.name, ",", ""), " ", "-"), func(b *testing.B) {
			const instances = 1000
			r := newRenderBed(b, instances).endure(o)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(r.reloads), "reloads")
			b.ReportMetric(milliseconds(r.settled), "last-ms/op")
			b.ReportMetric(float64(r.closing), "old-workers")
			storms.add(o.name, instances, r.reloads, r.settled, r.closing, r.sockets, r.cut)
		})
	}
}
