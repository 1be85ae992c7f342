package e2e

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"rollcall/internal/discovery/etcd"
	"rollcall/test/ports"
)

// patience bounds every wait for a condition: far above what anything takes.
const patience = 60 * time.Second

// eventually waits until check gives nil.
func eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("%s: %v", what, err)
		}
	}
}

// A process is a program that a test started.
type process struct {
	t    *testing.T
	cmd  *exec.Cmd
	done chan struct{}

	mu  sync.Mutex
	out bytes.Buffer
}

func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.Write(b)
}

// output gives what the process has printed so far.
func (p *process) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

// start runs a program until the test ends it; its output is shown if the test fails.
func start(t *testing.T, env []string, program string, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(program, args...), done: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = p, p
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait()
	}()
	t.Cleanup(func() {
		p.end()
		if t.Failed() {
			t.Logf("%s %s:\n%s", program, strings.Join(args, " "), p.output())
		}
	})
	return p
}

// end stops the process, in order if it can.
func (p *process) end() {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGTERM, syscall.SIGKILL} {
		_ = p.cmd.Process.Signal(sig)
		select {
		case <-p.done:
			return
		case <-time.After(10 * time.Second):
		}
	}
	<-p.done
}

func (p *process) signal(sig syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		p.t.Fatal(err)
	}
}

// wait gives the exit code of a process that ends by itself.
func (p *process) wait() int {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(patience):
		p.t.Fatal("process does not end")
	}
	return p.cmd.ProcessState.ExitCode()
}

func local(port int) string { return "127.0.0.1:" + strconv.Itoa(port) }

// newEtcd starts an etcd server for one test.
func newEtcd(t *testing.T) (endpoint string) {
	t.Helper()
	s, err := etcd.StartServer(t.Context(), t.TempDir(), []string{"http://127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s.Endpoints()[0]
}

// etcdctl is what a script would do.
func etcdctl(t *testing.T, endpoint string, args ...string) string {
	t.Helper()
	cmd := exec.Command("etcdctl", append([]string{"--endpoints", endpoint}, args...)...)
	cmd.Env = append(os.Environ(), "ETCDCTL_API=3")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("etcdctl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

func put(t *testing.T, endpoint, key, value string) {
	t.Helper()
	etcdctl(t, endpoint, "put", key, value)
}

// unique gives a name that no other container or test has.
func unique(name string) string {
	var b [4]byte
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	return name + "-" + hex.EncodeToString(b[:])
}

// runContainer starts a container of the test image and removes it at the end.
func runContainer(t *testing.T, name, version string, args ...string) {
	t.Helper()
	runImage(t, testbed.image, name, version, args...)
}

func runImage(t *testing.T, image, name, version string, args ...string) {
	t.Helper()
	all := append([]string{"run", "-d", "--name", name, "--hostname", name, "-e", "VERSION=" + version}, args...)
	if _, err := command("docker", append(all, image)...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = command("docker", "rm", "-f", name) })
}

func docker(t *testing.T, args ...string) string {
	t.Helper()
	out, err := command("docker", args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// startAnnounce announces with the flags that every test needs.
func startAnnounce(t *testing.T, endpoint string, args ...string) *process {
	t.Helper()
	return start(t, nil, testbed.announce, append([]string{
		"--endpoints", endpoint, "--address", testbed.address, "--state-dir", t.TempDir(), "--listen", "", "--log-format", "text",
	}, args...)...)
}

// A balancer is a render with its supervised server.
type balancer struct {
	*process
	url, status string
}

// startRender runs a supervised balancer and waits until it is ready.
func startRender(t *testing.T, proxy, endpoint string, args ...string) *balancer {
	t.Helper()
	b := launchRender(t, proxy, endpoint, args...)
	eventually(t, "render is ready", func() error { return ready(b.status) })
	return b
}

func launchRender(t *testing.T, proxy, endpoint string, args ...string) *balancer {
	t.Helper()
	port, status, control := ports.Free(t), ports.Free(t), ports.Free(t)
	all := []string{
		proxy, "--supervise", "--endpoints", endpoint, "--listen", local(port), "--status-listen", local(status),
		"--run-dir", serverDir(t), "--log-format", "text",
	}
	if proxy == "apache" {
		all = append(all, "--control", local(control))
	}
	return &balancer{
		process: start(t, nil, testbed.render, append(all, args...)...),
		url:     "http://" + local(port), status: "http://" + local(status),
	}
}

// serverDir is a directory that a server's unprivileged workers may enter.
func serverDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "rollcall-run-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func ready(status string) error {
	code, _, body := get(status + "/readyz")
	if code != http.StatusOK {
		return fmt.Errorf("%d %s", code, body)
	}
	return nil
}

// get sends one request on a connection of its own; code 0 stands for an error,
// which is the body then.
func get(url string) (code int, header http.Header, body string) { return getHost(url, "") }

func getHost(url, host string) (code int, header http.Header, body string) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, nil, err.Error()
	}
	req.Close = true
	req.Host = host
	res, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		return 0, nil, err.Error()
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, nil, err.Error()
	}
	return res.StatusCode, res.Header, string(b)
}

// spread sends n requests and counts who answers; any failure is an error.
func spread(url string, n int) (map[string]int, error) {
	counts := map[string]int{}
	for range n {
		code, header, body := get(url)
		if code != http.StatusOK {
			return nil, fmt.Errorf("%s: %d %s", url, code, body)
		}
		counts[header.Get("X-Instance")]++
	}
	return counts, nil
}

// evenly checks that each of the names, and nobody else, answers its share.
func evenly(url string, names ...string) error {
	n := 40 * len(names)
	counts, err := spread(url, n)
	if err != nil {
		return err
	}
	if len(counts) != len(names) {
		return fmt.Errorf("answers from %v, want from %v", counts, names)
	}
	var errs []error
	for _, name := range names {
		if c := counts[name]; c < 25 || c > 55 {
			errs = append(errs, fmt.Errorf("%s answers %d of %d requests to %d servers", name, c, n, len(names)))
		}
	}
	return errors.Join(errs...)
}
