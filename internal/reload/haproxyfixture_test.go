package reload

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"rollcall/internal/templates"
)

// A haFixture is an HAProxy with the built-in balancer, and members that say who they are.
type haFixture struct {
	*fixture
	proxy     *HAProxy
	master    *Supervisor
	settings  templates.Settings
	structure string // of what was written last
}

func newHAFixture(t testing.TB, members ...Member) *haFixture {
	t.Helper()
	f := &haFixture{fixture: newFixture(t, "haproxy"), settings: templates.DefaultSettings()}
	f.write(members...)
	f.master, _ = f.supervise()
	var err error
	f.proxy, err = NewHAProxy(HAProxyConfig{Main: f.main, Control: f.control, Members: f.socket(), Master: f.master})
	if err != nil {
		t.Fatal(err)
	}
	f.confirm()
	return f
}

func (f *haFixture) socket() string { return filepath.Join(f.dir, "members.sock") }

// write renders a configuration with these members, as rollcall would place it.
func (f *haFixture) write(members ...Member) {
	f.t.Helper()
	up := templates.Upstream{Name: "web"}
	for _, m := range members {
		up.Servers = append(up.Servers, templates.Server{Name: m.Name, Host: "host", Address: m.Address, Weight: m.Weight})
	}
	b := templates.Balancer{
		Proxy: "haproxy", Standalone: true, Listen: []string{f.listen}, Settings: f.settings, Control: f.control, Members: f.socket(),
		PidFile: f.pidFile, HostMap: filepath.Join(f.dir, "hosts.map"), Upstreams: []templates.Upstream{up},
		Default: templates.VirtualHost{Routes: []templates.Route{{Upstream: "web"}}},
	}
	if os.Getuid() == 0 {
		b.User, b.Group = "www-data", "www-data"
	}
	hosts, err := templates.HostMap(b)
	if err != nil {
		f.t.Fatal(err)
	}
	tmpl, err := templates.Builtin("haproxy")
	if err != nil {
		f.t.Fatal(err)
	}
	out, err := tmpl.Render(b)
	if err != nil {
		f.t.Fatal(err)
	}
	f.structure = out.Structure
	for path, content := range map[string][]byte{b.HostMap: hosts, f.main: out.Content} {
		if err := os.WriteFile(path, content, 0o644); err != nil {
			f.t.Fatal(err)
		}
	}
}

// confirm waits until what was written last is served.
func (f *haFixture) confirm() {
	f.t.Helper()
	content, err := os.ReadFile(f.main)
	if err != nil {
		f.t.Fatal(err)
	}
	_, generation, _ := strings.Cut(string(content), "# Generation ")
	ctx, cancel := context.WithTimeout(f.t.Context(), time.Minute) // with 10,000 members it takes seconds
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		got, err := f.proxy.Running(ctx)
		if err == nil && strings.HasPrefix(generation, got.Generation+",") && got.Structure == f.structure {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			f.t.Fatalf("it does not serve what was written: %v, %v", got, err)
		}
	}
}

// reload has the server read what was written last.
func (f *haFixture) reload() {
	f.t.Helper()
	if err := f.proxy.Reload(f.t.Context()); err != nil {
		f.t.Fatal(err)
	}
	f.confirm()
}

func (f *haFixture) pool(members ...Member) *Pool {
	return &Pool{Name: "web", Places: []string{"rollcall_web"}, Members: members}
}

func (f *haFixture) sync(readBack bool, members ...Member) (int, error) {
	return f.proxy.Sync(f.t.Context(), Members{Structure: f.structure, Pools: []*Pool{f.pool(members...)}}, readBack)
}

// become is a Sync that has to work, and gives how many members it changed.
func (f *haFixture) become(members ...Member) int {
	f.t.Helper()
	n, err := f.sync(false, members...)
	if err != nil {
		f.t.Fatalf("sync %v: %v", members, err)
	}
	return n
}

// api sends a command as an operator would.
func (f *haFixture) api(command string) string {
	f.t.Helper()
	conn, err := net.Dial("unix", f.socket())
	if err != nil {
		f.t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, command+"\n"); err != nil {
		f.t.Fatal(err)
	}
	b, err := io.ReadAll(conn)
	if err != nil {
		f.t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// servers gives what HAProxy says about its servers: name, address, weight, state.
func (f *haFixture) servers() []string {
	f.t.Helper()
	places, err := parseServers(f.api("show servers state"))
	if err != nil {
		f.t.Fatal(err)
	}
	list := []string{}
	for _, p := range places {
		for _, s := range p.servers {
			list = append(list, fmt.Sprintf("%s %s weight %d check %d forced %d", s, s.addr, s.weight, s.check, s.forced))
		}
	}
	slices.Sort(list)
	return list
}

// answered gives who answers that many requests, each on a connection of its own.
func (f *haFixture) answered(times int) string {
	f.t.Helper()
	names := map[string]bool{}
	for range times {
		got, err := get(f.t.Context(), "http://"+f.listen+"/")
		if err != nil {
			f.t.Fatal(err)
		}
		names[got] = true
	}
	list := []string{}
	for name := range names {
		list = append(list, name)
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

// leaving gives the only one that leaves.
func (f *haFixture) leaving(member string) *Leaver {
	f.t.Helper()
	list := f.proxy.Leaving()
	if len(list) != 1 || list[0].Member != member || list[0].Pool != "web" {
		f.t.Fatalf("leaving: %d, want %s alone", len(list), member)
	}
	return list[0]
}

func (f *haFixture) over(l *Leaver) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), 10*time.Second)
	defer cancel()
	if err := l.Wait(ctx); err != nil || !l.Over() {
		f.t.Fatalf("it does not leave: %v\n%s", err, f.api("show servers conn"))
	}
}

// A haMemberServer answers with its name; what is held stays in flight until released.
type haMemberServer struct {
	Member
	entered chan struct{}
	release chan struct{}
	once    sync.Once
	mu      sync.Mutex
	closed  bool // it takes no requests any more, and says so with a failure
	late    int
}

func newMember(t testing.TB, name string) *haMemberServer {
	m := &haMemberServer{entered: make(chan struct{}, 64), release: make(chan struct{})}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.mu.Lock()
		if m.closed {
			m.late++
		}
		m.mu.Unlock()
		_, _ = io.Copy(io.Discard, r.Body)
		switch r.URL.Path {
		case "/held":
			m.entered <- struct{}{}
			<-m.release
		case "/socket":
			conn, rw, err := w.(http.Hijacker).Hijack()
			if err != nil {
				return
			}
			defer conn.Close()
			_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
			_, _ = io.Copy(conn, rw)
			return
		}
		_, _ = io.WriteString(w, name)
	}))
	t.Cleanup(srv.Close)
	t.Cleanup(m.free)
	m.Member = Member{Name: name, Address: srv.Listener.Addr().String(), Weight: 1}
	return m
}

// free lets go of what is held.
func (m *haMemberServer) free() { m.once.Do(func() { close(m.release) }) }

// close notes that no request may come from now on.
func (m *haMemberServer) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
}

func (m *haMemberServer) tooLate() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.late
}

// weigh gives the member with another weight.
func (m *haMemberServer) weigh(weight int) Member {
	return Member{Name: m.Name, Address: m.Address, Weight: weight}
}

// at gives a member of that name at another's address.
func (m *haMemberServer) at(other *haMemberServer) Member {
	return Member{Name: m.Name, Address: other.Address, Weight: 1}
}

// held sends a request that stays in flight until the member releases it.
func (f *haFixture) held(m *haMemberServer, method string) (answer chan string) {
	f.t.Helper()
	answer = make(chan string, 1)
	go func() {
		req, err := http.NewRequestWithContext(context.Background(), method, "http://"+f.listen+"/held", strings.NewReader("body"))
		if err != nil {
			answer <- err.Error()
			return
		}
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		resp, err := client.Do(req)
		if err != nil {
			answer <- err.Error()
			return
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		answer <- resp.Status + " " + string(b)
	}()
	select {
	case <-m.entered:
	case got := <-answer:
		f.t.Fatalf("request was not held: %s", got)
	case <-time.After(5 * time.Second):
		f.t.Fatal("request did not reach the member")
	}
	return answer
}

// load sends requests of all kinds until it is stopped, and gives how many there were and
// what went wrong.
func (f *haFixture) load() (stop func() (requests int, failures []string)) {
	ctx, cancel := context.WithCancel(context.Background())
	var mu sync.Mutex
	var clients sync.WaitGroup
	requests, failures := 0, []string{}
	for i := range 6 {
		clients.Go(func() {
			client := http.Client{Transport: &http.Transport{DisableKeepAlives: i%2 == 0}}
			defer client.CloseIdleConnections()
			for ctx.Err() == nil {
				method := []string{http.MethodGet, http.MethodPost}[i/2%2]
				req, err := http.NewRequest(method, "http://"+f.listen+"/", strings.NewReader("body"))
				if err != nil {
					panic(err)
				}
				resp, err := client.Do(req)
				failure := ""
				if err != nil {
					failure = err.Error()
				} else {
					if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
						failure = fmt.Sprint(resp.Status, err)
					}
					resp.Body.Close()
				}
				mu.Lock()
				requests++
				if failure != "" {
					failures = append(failures, method+" "+failure)
				}
				mu.Unlock()
			}
		})
	}
	stop = func() (int, []string) {
		cancel()
		clients.Wait()
		return requests, failures
	}
	f.t.Cleanup(func() { stop() })
	return stop
}

func (f *haFixture) unavailable() {
	f.t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + f.listen + "/")
	if err != nil {
		f.t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
		f.t.Errorf("got %s, want 503 with Retry-After", resp.Status)
	}
}

// notOver looks a few times.
func (f *haFixture) notOver(l *Leaver) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := l.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) || l.Over() {
		f.t.Fatalf("it is over while requests are running: %v", err)
	}
}

// webSocket opens a connection that echoes; with "" it is closed.
func (f *haFixture) webSocket() func(string) string {
	f.t.Helper()
	conn, err := net.Dial("tcp", f.listen)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	_, _ = io.WriteString(conn, "GET /socket HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n")
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		f.t.Fatalf("WebSocket: %v, %v", resp, err)
	}
	return func(text string) string {
		if text == "" {
			conn.Close()
			return ""
		}
		_, _ = io.WriteString(conn, text)
		got := make([]byte, len(text))
		_, _ = io.ReadFull(r, got)
		return string(got)
	}
}
