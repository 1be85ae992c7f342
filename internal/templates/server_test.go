package templates

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"rollcall/test/ports"
)

const apacheModules = "/usr/lib/apache2/modules"

var proxies = []string{"nginx", "apache", "haproxy"}

// checkConfiguration has the real server check a configuration made for /run/rollcall.
func checkConfiguration(t *testing.T, b Balancer, content string) {
	t.Helper()
	dir := runDir(t)
	main := filepath.Join(dir, "main.conf")
	content = strings.ReplaceAll(content, "/run/rollcall", dir)
	if b.Proxy == "haproxy" {
		write(t, filepath.Join(dir, "hosts.map"), hostMap(t, b))
		write(t, filepath.Join(dir, "certificates.list"), string(CertificateList(b.Certificates)))
	}
	placeCertificates(t, b, dir)
	if !b.Standalone {
		fragment := filepath.Join(dir, "fragment.conf")
		write(t, fragment, content)
		content = including(b.Proxy, dir, fragment)
		if len(b.LuaModules) > 0 {
			content = loading(b.LuaModules) + content
		}
	}
	write(t, main, content)
	args := []string{"nginx", "-t", "-q", "-e", "stderr", "-c", main}
	switch b.Proxy {
	case "apache":
		args = []string{"apache2", "-t", "-f", main}
	case "haproxy":
		args = haproxyArguments("-c", dir, b.Standalone)
	}
	cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
	out, err := cmd.CombinedOutput()
	if said := strings.TrimSpace(string(out)); err != nil || said != "" && said != "Syntax OK" && said != "Configuration file is valid" {
		t.Errorf("%s: %v\n%s", cmd, err, said)
	}
}

// haproxyArguments has HAProxy read the main configuration, and a fragment after it.
func haproxyArguments(mode, dir string, standalone bool) []string {
	args := []string{"haproxy", mode, "-f", dir + "/main.conf"}
	if !standalone {
		args = append(args, "-f", dir+"/fragment.conf")
	}
	return args
}

// including is an operator's own main configuration around a fragment.
func including(proxy, dir, fragment string) string {
	switch proxy {
	case "haproxy": // with defaults that would break every service, were they taken
		return "global\n  pidfile " + dir + "/pid\n  log stderr format raw daemon\ndefaults\n  mode tcp\n  log global\n  timeout connect 1\n  timeout client 1\n  timeout server 1\n"
	case "nginx":
		temp := "" // of its own: what the machine has belongs to whichever nginx started last
		for _, what := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
			temp += "  " + what + "_temp_path " + dir + "/" + what + ";\n"
		}
		return "pid " + dir + "/pid;\nerror_log stderr;\nevents {}\nhttp {\n  access_log off;\n" + temp + "  include " + fragment + ";\n}\n"
	}
	main := "ServerRoot " + dir + "\nDefaultRuntimeDir " + dir + "\nPidFile " + dir + "/pid\nErrorLog /dev/stderr\nServerName localhost\n" +
		"LoadModule mpm_event_module " + apacheModules + "/mod_mpm_event.so\n"
	if os.Getuid() == 0 {
		main += "User www-data\nGroup www-data\n"
	}
	return main + "Include " + fragment + "\n"
}

// A running is a real server that serves a rendered balancer.
type running struct {
	lua                          bool // nginx, whose members change through Lua
	proxy, dir, address, control string
	generation, structure        string // of what was rendered last
	cmd                          *exec.Cmd
	exited                       chan struct{}
	log                          *lockedBuffer
}

// start renders b for addresses that are free, and returns when the server serves it.
func start(t *testing.T, b Balancer, changes ...func(*running)) *running {
	t.Helper()
	r := &running{lua: b.Proxy == nginxWithLua, dir: runDir(t), address: ports.Address(t), exited: make(chan struct{}), log: &lockedBuffer{}}
	r.vary(&b)
	r.proxy = b.Proxy
	r.control = r.dir + "/control.sock"
	args := []string{"nginx", "-e", "stderr", "-g", "daemon off;", "-c", r.dir + "/main.conf"}
	switch b.Proxy {
	case "apache":
		r.control = ports.Address(t)
		args = []string{"apache2", "-DFOREGROUND", "-f", r.dir + "/main.conf"}
	case "haproxy":
		args = haproxyArguments("-W", r.dir, b.Standalone)
	}
	r.render(t, b)
	r.cmd = exec.Command(args[0], args[1:]...)
	r.cmd.Stderr = r.log
	r.cmd.WaitDelay = 5 * time.Second // a worker that stays must not hold the test through the pipe
	for _, change := range changes {
		change(r)
	}
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = r.cmd.Wait()
		close(r.exited)
	}()
	t.Cleanup(func() { r.stop(t) })
	r.confirm(t)
	return r
}

// render writes the configuration for this server's addresses.
func (r *running) render(t *testing.T, b Balancer) {
	t.Helper()
	r.vary(&b)
	b.Listen, b.Control, b.RunDir, b.PidFile = []string{r.address}, r.control, r.dir, r.dir+"/pid"
	if b.ErrorLog == "" {
		b.ErrorLog = "stderr"
		if os.Getuid() == 0 {
			b.User, b.Group = "www-data", "www-data"
		}
	}
	if b.Settings == (Settings{}) {
		b.Settings = DefaultSettings()
	}
	switch b.Proxy {
	case "apache":
		b.Modules = apacheModules
	case "haproxy":
		b.HostMap = asset(t, r.dir, "hosts", hostMap(t, b))
		if b.TLS() {
			b.CertificateList = asset(t, r.dir, "certificates", string(CertificateList(b.Certificates)))
		}
	}
	out := mustRender(t, b)
	r.generation, r.structure = out.Generation, out.Structure
	content := string(out.Content)
	if !b.Standalone {
		fragment := filepath.Join(r.dir, "fragment.conf")
		write(t, fragment, content)
		content = including(b.Proxy, r.dir, fragment)
		if r.lua {
			content = loading(luaModules) + content
		}
		if b.Proxy == "apache" {
			content = strings.Replace(content, "Include", "Listen "+r.address+"\nInclude", 1)
		}
	}
	write(t, filepath.Join(r.dir, "main.conf"), content)
}

// reload has the server go over to another balancer.
func (r *running) reload(t *testing.T, b Balancer) {
	t.Helper()
	r.render(t, b)
	signal := map[string]syscall.Signal{"nginx": syscall.SIGHUP, "apache": syscall.SIGUSR1, "haproxy": syscall.SIGUSR2}[r.proxy]
	if err := r.cmd.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
	r.confirm(t)
}

// confirm waits until several answers in a row are of the generation rendered last:
// for a moment, workers of both accept.
func (r *running) confirm(t *testing.T) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for confirmed := 0; confirmed < 10; {
		confirmed++
		if got, err := r.askGeneration(); err != nil || !strings.HasPrefix(got, r.generation) {
			confirmed = 0
		}
		select {
		case <-r.exited:
			t.Fatalf("%s ended\n%s", r.proxy, r.log)
		case <-deadline:
			t.Fatalf("%s does not serve generation %s\n%s", r.proxy, r.generation, r.log)
		case <-poll.C:
		}
	}
}

func (r *running) stop(t *testing.T) {
	_ = r.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-r.exited:
	case <-time.After(30 * time.Second): // Apache itself kills a child that hangs after 10
		t.Errorf("%s does not stop", r.proxy)
		_ = r.cmd.Process.Kill()
		<-r.exited
	}
	if t.Failed() {
		t.Logf("%s said:\n%s", r.proxy, r.log)
	}
}

// askGeneration gives what the server's generation endpoint answers.
func (r *running) askGeneration() (string, error) {
	network := "unix"
	if r.proxy == "apache" {
		network = "tcp"
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, r.control)
	}}, Timeout: 5 * time.Second}
	resp, err := client.Get("http://localhost/rollcall/generation")
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusOK {
		err = errors.New(resp.Status)
	}
	return string(body), err
}

// runDir makes a directory whose path is short enough for a unix socket in it.
func runDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "rollcall")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil { // the workers are somebody else
		t.Fatal(err)
	}
	return dir
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// A lockedBuffer takes a process's output while the test may read it.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// asset writes a file that HAProxy reads beside its configuration; its name tells its content.
func asset(t *testing.T, dir, name, content string) string {
	t.Helper()
	path := fmt.Sprintf("%s/%s-%x", dir, name, sha256.Sum256([]byte(content)))
	write(t, path, content)
	return path
}

func hostMap(t testing.TB, b Balancer) string {
	t.Helper()
	content, err := HostMap(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
