package loadgen

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"
)

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

// good sends the answer that every request hopes for.
func good(conn net.Conn, body string) bool {
	_, err := fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	return err == nil
}

func within(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if got < want-tolerance || got > want+tolerance {
		t.Errorf("share of %s is %.2f, want %.2f ± %.2f", what, got, want, tolerance)
	}
}
