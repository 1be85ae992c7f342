package templates

import (
	"bytes"
	"context"
	"errors"
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
)

const apacheModules = "/usr/lib/apache2/modules"

var proxies = []string{"nginx", "apache"}

// checkConfiguration has the real server check a configuration made for /run/rollcall.
func checkConfiguration(t *testing.T, b Balancer, content string) {
	t.Helper()
	dir := runDir(t)
	main := filepath.Join(dir, "main.conf")
	content = strings.ReplaceAll(content, "/run/rollcall", dir)
	if !b.Standalone {
		fragment := filepath.Join(dir, "fragment.conf")
		write(t, fragment, content)
		content = including(b.Proxy, dir, fragment)
	}
	write(t, main, content)
	args := []string{"nginx", "-t", "-q", "-e", "stderr", "-c", main}
	if b.Proxy == "apache" {
		args = []string{"apache2", "-t", "-f", main}
	}
	cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
	out, err := cmd.CombinedOutput()
	if said := strings.TrimSpace(string(out)); err != nil || said != "" && said != "Syntax OK" {
		t.Errorf("%s: %v\n%s", cmd, err, said)
	}
}

// including is an operator's own main configuration around a fragment.
func including(proxy, dir, fragment string) string {
	if proxy == "nginx" {
		return "pid " + dir + "/pid;\nerror_log stderr;\nevents {}\nhttp {\n  access_log off;\n  include " + fragment + ";\n}\n"
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
	proxy, dir, address, control string
	generation                   string // of what was rendered last
	cmd                          *exec.Cmd
	exited                       chan struct{}
	log                          *lockedBuffer
}

// start renders b for addresses that are free, and returns when the server serves it.
func start(t *testing.T, b Balancer, changes ...func(*running)) *running {
	t.Helper()
	r := &running{proxy: b.Proxy, dir: runDir(t), address: freeAddress(t), exited: make(chan struct{}), log: &lockedBuffer{}}
	r.control = r.dir + "/control.sock"
	args := []string{"nginx", "-e", "stderr", "-g", "daemon off;", "-c", r.dir + "/main.conf"}
	if b.Proxy == "apache" {
		r.control = freeAddress(t)
		args = []string{"apache2", "-DFOREGROUND", "-f", r.dir + "/main.conf"}
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
	b.Listen, b.Control, b.RunDir, b.PidFile = []string{r.address}, r.control, r.dir, r.dir+"/pid"
	if b.ErrorLog == "" {
		b.ErrorLog = "stderr"
		if os.Getuid() == 0 {
			b.User, b.Group = "www-data", "www-data"
		}
	}
	if b.Proxy == "apache" {
		b.Modules = apacheModules
	}
	out := mustRender(t, b)
	r.generation = out.Generation
	content := string(out.Content)
	if !b.Standalone {
		fragment := filepath.Join(r.dir, "fragment.conf")
		write(t, fragment, content)
		content = including(b.Proxy, r.dir, fragment)
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
	signal := syscall.SIGHUP
	if r.proxy == "apache" {
		signal = syscall.SIGUSR1
	}
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
	network := "tcp"
	if r.proxy == "nginx" {
		network = "unix"
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

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
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
