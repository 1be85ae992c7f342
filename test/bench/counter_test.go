package bench

import (
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// A counter is a connection to etcd of which the bytes are counted.
type counter struct {
	endpoint string
	received atomic.Int64 // from etcd

	target string
	mu     sync.Mutex
	conns  []net.Conn
}

func startCounter(tb testing.TB, endpoint string) *counter {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	c := &counter{endpoint: "http://" + l.Addr().String(), target: strings.TrimPrefix(endpoint, "http://")}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() { c.pass(client) })
		}
	})
	tb.Cleanup(func() {
		err := l.Close()
		c.mu.Lock()
		for _, conn := range c.conns {
			err = errors.Join(err, ignoreClosed(conn.Close()))
		}
		c.mu.Unlock()
		running.Wait()
		if err != nil {
			tb.Error(err)
		}
	})
	return c
}

// pass connects a client to etcd for as long as both stay.
func (c *counter) pass(client net.Conn) {
	server, err := net.Dial("tcp", c.target)
	if err != nil {
		_ = client.Close() // as etcd would have: nobody is there
		return
	}
	c.mu.Lock()
	c.conns = append(c.conns, client, server)
	c.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() {
		_, _ = io.Copy(server, client)
		_ = server.Close()
	})
	both.Go(func() {
		_, _ = io.Copy(client, io.TeeReader(server, c))
		_ = client.Close()
	})
	both.Wait()
}

// Write counts.
func (c *counter) Write(p []byte) (int, error) {
	c.received.Add(int64(len(p)))
	return len(p), nil
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
