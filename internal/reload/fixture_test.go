package reload

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rollcall/test/ports"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if os.Getenv(helperMode) != "" {
		os.Exit(helper())
	}
	goleak.VerifyTestMain(m)
}

// kinds are the servers that every test with a real one runs on.
var kinds = []string{"nginx", "apache", "haproxy"}

var programs = map[string][]string{"nginx": {"nginx"}, "apache": {"apache2", "httpd"}, "haproxy": {"haproxy"}}

// forEachKind runs a test on every kind of server.
func forEachKind(t *testing.T, test func(t *testing.T, f *fixture)) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel() // they wait most of the time
			test(t, newFixture(t, kind))
		})
	}
}

// A fixture is a directory with a configuration for one server.
type fixture struct {
	t       testing.TB
	kind    string
	program string
	dir     string
	main    string
	pidFile string
	control string // unix socket or address
	listen  string // where it serves
	backend *backend
	extra   string   // directives added to what config gives
	args    []string // of the server, after its own
	log     *slog.Logger
}

func newFixture(t testing.TB, kind string) *fixture {
	t.Helper()
	// Not t.TempDir: its path would be too long for a unix socket, and closed to www-data.
	dir, err := os.MkdirTemp("", "rollcall-reload-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	f := &fixture{t: t, kind: kind, dir: dir, main: filepath.Join(dir, kind+".conf"), pidFile: filepath.Join(dir, "pid"), listen: ports.Address(t), backend: newBackend(t)}
	f.log = slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if f.program, err = FindProgram(programs[kind]...); err != nil {
		t.Fatal(err)
	}
	f.control = filepath.Join(dir, "control.sock")
	if kind == "apache" {
		f.control = ports.Address(t)
	}
	return f
}

// config gives a whole configuration of a generation. What it answers at / is the
// generation too; /slow is answered when the backend is released.
func (f *fixture) config(generation string) []byte {
	return append([]byte(f.globals()), f.wrap(f.site(generation)+f.extra)...)
}

func (f *fixture) globals() string {
	switch f.kind {
	case "haproxy":
		user := ""
		if os.Getuid() == 0 {
			user = "user www-data\ngroup www-data\n"
		}
		return "global\nlog stderr format raw daemon warning\n" + user + "pidfile " + f.pidFile +
			"\ndefaults\nmode http\ntimeout connect 1s\ntimeout client 30s\ntimeout server 30s\noption idle-close-on-response\n"
	case "nginx":
		return "worker_processes 2;\npid " + f.pidFile + ";\nerror_log stderr;\nevents { worker_connections 64; }\n"
	}
	conf := fmt.Sprintf("ServerRoot %q\nDefaultRuntimeDir %q\nPidFile %q\nErrorLog /dev/stderr\nServerName localhost\nUser www-data\nGroup www-data\nStartServers 2\n", f.dir, f.dir, f.pidFile)
	for _, m := range []string{"mpm_event", "authz_core", "alias", "proxy", "proxy_http"} {
		conf += fmt.Sprintf("LoadModule %s_module %s/mod_%s.so\n", m, modules(f.program), m)
	}
	return conf
}

func (f *fixture) wrap(body string) []byte {
	if f.kind == "nginx" {
		temp := ""
		for _, name := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
			temp += name + "_temp_path " + f.dir + "/" + name + ";\n"
		}
		body = "http {\naccess_log off;\n" + temp + body + "\n}\n"
	}
	return []byte(body)
}

// site is the part that may stand in a file of its own.
func (f *fixture) site(generation string) string {
	if f.kind == "haproxy" {
		return fmt.Sprintf(`frontend control
bind unix@%s mode 666
http-request return status 200 content-type text/plain string "%s" if { path /rollcall/generation }
frontend site
bind %s
http-request return status 200 content-type text/plain string "%s" unless { path /slow }
default_backend slow
backend slow
server slow %s
`, f.control, generation, f.listen, generation, f.backend.addr)
	}
	if f.kind == "nginx" {
		return fmt.Sprintf(`server { listen unix:%s; location = /rollcall/generation { return 200 "%s $pid\n"; } }
server { listen %s; location / { return 200 "%s\n"; } location /slow { proxy_pass http://%s; } }
`, f.control, generation, f.listen, generation, f.backend.addr)
	}
	return fmt.Sprintf(`Listen %s
<VirtualHost %s>
Redirect 200 /rollcall/generation
ErrorDocument 200 "%s"
</VirtualHost>
Listen %s
<VirtualHost %s>
ProxyPass /slow http://%s/slow
RedirectMatch 200 ^/$
ErrorDocument 200 "%s"
</VirtualHost>
`, f.control, f.control, generation, f.listen, f.listen, f.backend.addr, generation)
}

func (f *fixture) candidate(generation string) Candidate {
	return Candidate{Generation: generation, Files: []File{{Path: f.main, Content: f.config(generation)}}}
}

func (f *fixture) proxy(m Master) Proxy {
	f.t.Helper()
	var p Proxy
	var err error
	switch f.kind {
	case "nginx":
		p, err = NewNginx(NginxConfig{Main: f.main, Control: f.control, Program: f.program, Master: m})
	case "apache":
		p, err = NewApache(ApacheConfig{Main: f.main, Control: f.control, Program: f.program, Master: m})
	default:
		p, err = NewHAProxy(HAProxyConfig{Main: f.main, Control: f.control, Program: f.program, Master: m})
	}
	if err != nil {
		f.t.Fatal(err)
	}
	return p
}

func (f *fixture) childConfig() SupervisorConfig {
	c := childOf(f.kind, f.program, f.main, f.pidFile, f.control)
	own := c.Argv
	c.Argv = func() []string { return append(own(), f.args...) }
	c.Logger = f.log
	c.StopTimeout = 5 * time.Second
	return c
}

func childOf(kind, program, main, pidFile, control string) SupervisorConfig {
	switch kind {
	case "nginx":
		return NginxChild(program, main, pidFile, control)
	case "apache":
		return ApacheChild(program, main, pidFile)
	default:
		return HAProxyChild(program, main, pidFile, control)
	}
}

// supervise runs a supervisor until the test ends, or stop is called.
func (f *fixture) supervise() (s *Supervisor, stop func()) {
	s = NewSupervisor(f.childConfig())
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			f.t.Errorf("supervisor: %v", err)
		}
	}
	f.t.Cleanup(stop)
	return s, stop
}

// transaction runs on a supervised server.
func (f *fixture) transaction() (*Transaction, *Supervisor) {
	s, _ := f.supervise()
	return f.transactionOn(s), s
}

func (f *fixture) transactionOn(m Master) *Transaction {
	t := New(Config{Proxy: f.proxy(m), Logger: f.log, Timeouts: Timeouts{Confirm: 8 * time.Second}})
	f.t.Cleanup(func() { t.Close() })
	return t
}

func (f *fixture) apply(t *Transaction, generation string) Outcome {
	f.t.Helper()
	out, err := t.Apply(f.t.Context(), f.candidate(generation))
	if err != nil {
		f.t.Fatalf("apply %s: %v\n%s", generation, err, outputOf(err))
	}
	return out
}

// serves checks what the server answers to clients on new connections.
func (f *fixture) serves(want string) {
	f.t.Helper()
	for range 5 {
		got, err := get(f.t.Context(), "http://"+f.listen+"/")
		if err != nil || got != want {
			f.t.Fatalf("served: got %q, %v; want %q", got, err, want)
		}
	}
}

func (f *fixture) onDisk(want []byte) {
	f.t.Helper()
	got, err := os.ReadFile(f.main)
	if err != nil || string(got) != string(want) {
		f.t.Fatalf("on disk: got %q, %v; want %q", got, err, want)
	}
}

func get(ctx context.Context, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return strings.TrimSpace(string(b)), err
}

// A backend answers when it is released.
type backend struct {
	addr    string
	entered chan struct{}
	release chan struct{}
}

func newBackend(t testing.TB) *backend {
	b := &backend{entered: make(chan struct{}, 16), release: make(chan struct{}, 16)}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.entered <- struct{}{}
		select {
		case <-b.release:
		case <-r.Context().Done():
		}
		fmt.Fprintln(w, "slow")
	}))
	t.Cleanup(srv.Close)
	b.addr = srv.Listener.Addr().String()
	return b
}

// slow sends a request that stays in flight until the backend is released.
func (f *fixture) slow() (answer chan string) {
	f.t.Helper()
	answer = make(chan string, 1)
	go func() {
		got, err := get(context.Background(), "http://"+f.listen+"/slow")
		if err != nil {
			got = err.Error()
		}
		answer <- got
	}()
	select {
	case <-f.backend.entered:
	case <-time.After(5 * time.Second):
		f.t.Fatal("slow request did not reach the backend")
	}
	return answer
}

func modules(program string) string {
	if strings.HasSuffix(program, "httpd") {
		return "/usr/lib64/httpd/modules"
	}
	return "/usr/lib/apache2/modules"
}

// eventually polls until the condition holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	deadline := time.NewTimer(10 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("never happened: %s", what)
		}
	}
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

func discard(*testing.T) *slog.Logger { return slog.New(slog.DiscardHandler) }
