package templates

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"rollcall/test/ports"
)

// streamModule is where Debian has it; other builds of nginx have it built in.
func streamModule() string {
	const file = "/usr/lib/nginx/modules/ngx_stream_module.so"
	if _, err := os.Stat(file); err != nil {
		return ""
	}
	return file
}

// streams are the proxies that pass connections on.
var streams = []string{"nginx", "haproxy"}

// greeter says its name to every connection, and then sends back what it gets.
func greeter(t *testing.T, name string) Server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				fmt.Fprintln(conn, name)
				_, _ = io.Copy(conn, conn)
			}()
		}
	}()
	addr := l.Addr().(*net.TCPAddr)
	return Server{Name: name, Host: addr.IP.String(), Port: uint16(addr.Port), Address: addr.String(), Weight: 100}
}

// converse connects, says something, and gives what is answered: until the end, or
// until that much of it. What does not let one connect, or resets, answers nothing.
func converse(t *testing.T, address, say string, enough int) string {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return ""
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(conn, say)
	all, err := io.ReadAll(io.LimitReader(conn, int64(enough)))
	var netErr net.Error
	if errors.As(err, &netErr) && netErr.Timeout() {
		t.Errorf("%s: neither enough nor an end after %q", address, all)
	}
	return string(all)
}

// TestTCP passes connections on to services, one of which is also reached as a host.
func TestTCP(t *testing.T) {
	for _, proxy := range streams {
		t.Run(proxy, func(t *testing.T) {
			dead := Server{Name: "dead", Host: "127.0.0.1", Port: 1, Address: ports.Address(t), Weight: 100}
			off := greeter(t, "off")
			off.Weight = 0
			db, empty, idle, web := ports.Address(t), ports.Address(t), ports.Address(t), ports.Address(t)
			b := Balancer{
				Proxy: proxy, Standalone: true, StreamModule: streamModule(),
				Upstreams: []Upstream{
					{Name: "db", Servers: []Server{greeter(t, "db1"), greeter(t, "db2"), dead, off}},
					{Name: "empty"},
					{Name: "idle", Servers: []Server{off}},
					upstream("web", backend(t, "web")),
				},
				Default: VirtualHost{Routes: []Route{{"", "web"}}},
				TCP:     []TCPListener{{db, "db"}, {empty, "empty"}, {idle, "idle"}, {web, "web"}},
			}
			r := start(t, b)
			seen := map[string]bool{}
			for range 20 {
				name, echo, _ := strings.Cut(converse(t, db, "\x00\x16\xff hello", len("db1\n")+9), "\n")
				if echo != "\x00\x16\xff hello" {
					t.Fatalf("got %q from %q, want what was sent", echo, name)
				}
				seen[name] = true
			}
			if got := sortedNames(seen); got != "db1 db2" {
				t.Errorf("got answers from %q, want db1 and db2", got)
			}
			for _, address := range []string{empty, idle} {
				if got := converse(t, address, "", 1<<20); got != "" {
					t.Errorf("a service without servers answers %q", got)
				}
			}
			if got := converse(t, web, "GET / HTTP/1.0\r\n\r\n", 1<<20); !strings.Contains(got, "X-Backend: web") {
				t.Errorf("got %q, want the answer of web", got)
			}
			if resp, _ := r.send(t, "GET", "any", "/", ""); resp.Header.Get("X-Backend") != "web" {
				t.Errorf("got %s, want the answer of web", resp.Status)
			}

			// The first server comes: the port is served as soon as the generation is.
			b.Upstreams[1].Servers = []Server{greeter(t, "first")}
			r.reload(t, b)
			if got := converse(t, empty, "x", len("first\nx")); got != "first\nx" {
				t.Errorf("after the first server came: got %q", got)
			}
		})
	}
}
