package reload

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rollcall/test/loadgen"
)

// gatedFixture is a server with a gate before one that sends back what it is sent.
func gatedFixture(t *testing.T, kind string) (f *fixture, gate string) {
	f = newFixture(t, kind)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }))
	t.Cleanup(srv.Close)
	f.backend.addr = srv.Listener.Addr().String()
	return f, filepath.Join(f.dir, "gate")
}

// gatedCandidate has the site pass everything on, and the gate before it.
func (f *fixture) gatedCandidate(generation, gate string) Candidate {
	content := string(f.config(generation))
	swap := func(old, with string) {
		if !strings.Contains(content, old) {
			f.t.Fatalf("%q is not in\n%s", old, content)
		}
		content = strings.ReplaceAll(content, old, with)
	}
	if f.kind == "nginx" {
		swap("worker_connections 64", "worker_connections 1024") // when they run out, kept ones are closed
		swap("location = /rollcall/generation", `location = /rollcall/kept { return 200 "$connections_waiting\n"; } location = /rollcall/generation`)
		swap("http {\n", "http {\nproxy_http_version 1.1;\nproxy_set_header Connection \"\";\nerror_page 598 = @gate;\nupstream back { server "+f.backend.addr+"; keepalive 8; }\n")
		swap(fmt.Sprintf("location / { return 200 %q; }", generation+"\n"), fmt.Sprintf(
			"if (-f %q) { return 598; } location / { proxy_pass http://back; } location @gate { keepalive_timeout 0; proxy_pass http://back; }", gate))
	} else {
		for _, m := range []string{"setenvif", "status", "authz_host"} {
			content = fmt.Sprintf("LoadModule %s_module %s/mod_%s.so\n", m, modules(f.program), m) + content
		}
		content += fmt.Sprintf("SetEnvIfExpr \"-f '%s'\" nokeepalive\n<Location /rollcall/status>\nSetHandler server-status\nRequire local\n</Location>\n", gate)
		swap("RedirectMatch 200 ^/$\n", "ProxyPass / http://"+f.backend.addr+"/\n")
	}
	c := f.candidate(generation)
	c.Files[0].Content, c.Gentle = []byte(content), true
	return c
}

// gatedTransaction runs on a supervised server that serves g0.
func (f *fixture) gatedTransaction(gate string) (*Transaction, Gated) {
	f.t.Helper()
	s, _ := f.supervise()
	var p Proxy
	var err error
	if f.kind == "nginx" {
		p, err = NewNginx(NginxConfig{Main: f.main, Control: f.control, Program: f.program, Master: s, Gate: gate})
	} else {
		p, err = NewApache(ApacheConfig{Main: f.main, Control: f.control, Program: f.program, Master: s, Gate: gate})
	}
	if err != nil {
		f.t.Fatal(err)
	}
	tx := New(Config{Proxy: p, Logger: f.log, Timeouts: Timeouts{Confirm: 8 * time.Second}})
	f.t.Cleanup(func() { tx.Close() })
	if _, err := tx.Apply(f.t.Context(), f.gatedCandidate("g0", gate)); err != nil {
		f.t.Fatal(err, outputOf(err))
	}
	return tx, p.(Gated)
}

// TestKept counts connections of clients that have been answered, and no others.
func TestKept(t *testing.T) {
	for _, kind := range []string{"nginx", "apache"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			f, gate := gatedFixture(t, kind)
			_, p := f.gatedTransaction(gate)
			count := func(want int) {
				t.Helper()
				eventually(t, fmt.Sprint(want, " kept connections"), func() bool {
					got, err := p.Kept(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					return got == want
				})
			}
			count(0)
			var open []net.Conn
			for range 3 {
				conn, err := net.Dial("tcp", f.listen)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: site\r\nContent-Length: 4\r\n\r\nbody")
				if _, err := conn.Read(make([]byte, 4096)); err != nil {
					t.Fatal(err)
				}
				open = append(open, conn)
			}
			count(3)
			open[0].Close()
			count(2)
			// One that is busy is not kept.
			fmt.Fprintf(open[1], "POST / HTTP/1.1\r\nHost: site\r\nContent-Length: 4\r\n\r\n")
			count(1)
		})
	}
}

// TestGatedReloadsLoseNothing has clients with all kinds of connections while a server
// is reloaded. Without the gate some of them see theirs closed under a request.
func TestGatedReloadsLoseNothing(t *testing.T) {
	for _, kind := range []string{"nginx", "apache"} {
		t.Run(kind, func(t *testing.T) {
			f, gate := gatedFixture(t, kind)
			tx, _ := f.gatedTransaction(gate)
			load := loadgen.Default("http://" + f.listen + "/")
			load.Rare, load.RareEvery = 10, 400*time.Millisecond
			l, err := loadgen.New(load)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() { l.Run(ctx); close(done) }()
			defer func() { cancel(); <-done }()
			eventually(t, "the load runs", func() bool { r := l.Snapshot(); return r.Counts[loadgen.OK] > 100 })
			for n := range 4 {
				if _, err := tx.Apply(ctx, f.gatedCandidate(fmt.Sprint("g", n+1), gate)); err != nil {
					t.Fatal(err, outputOf(err))
				}
			}
			after := l.Snapshot()
			eventually(t, "the load goes on", func() bool { r := l.Snapshot(); return r.Counts[loadgen.OK] > after.Counts[loadgen.OK]+50 })
			for _, failed := range l.Snapshot().Failures {
				t.Errorf("a request failed: %+v", failed)
			}
		})
	}
}

// TestGateIsShutAtOnceWhenNothingIsKept is the price of a gate that nobody needs.
func TestGateIsShutAtOnceWhenNothingIsKept(t *testing.T) {
	for _, kind := range []string{"nginx", "apache"} {
		t.Run(kind, func(t *testing.T) {
			f, path := gatedFixture(t, kind)
			tx, p := f.gatedTransaction(path)
			w := &work{Transaction: tx, candidate: Candidate{Gentle: true}, before: func() Serving { return Serving{Generation: "g0"} }}
			best := time.Hour
			for range 5 { // the machine may be busy
				began := time.Now()
				(&gate{w: w, proxy: p, opened: began}).wait(t.Context())
				best = min(best, time.Since(began))
			}
			if best > 200*time.Millisecond {
				t.Errorf("waited %v although no connection is kept", best)
			}
			t.Logf("waited %v", best)
		})
	}
}
