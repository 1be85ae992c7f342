package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"rollcall/test/ports"
)

// A whole machine: every container that asks for it, with labels, until TERM.
func TestWholeMachine(t *testing.T) {
	t.Parallel()
	endpoint := newEtcd(t)
	service := unique("shop")
	one, two := unique("one"), unique("two")
	label := func(s string) string { return "rollcall." + s }
	runContainer(t, one, "v1", "-P", "--label", label("service="+service), "--label", label("version=v1"),
		"--label", label("host=shop.example.com"), "--label", label("meta.rack=b12"))
	a := startAnnounce(t, endpoint, "--explicit")
	b := startRender(t, "nginx", endpoint, "--service", service)
	fromShop := func(path string) (int, http.Header, string) { return getHost(b.url+path, "shop.example.com") }
	answers := func(names ...string) func() error {
		return func() error {
			seen := map[string]bool{}
			for range 20 {
				code, header, body := fromShop("/")
				if code != http.StatusOK {
					return fmt.Errorf("%d %s", code, body)
				}
				seen[header.Get("X-Instance")] = true
			}
			for _, n := range names {
				if !seen[n] {
					return fmt.Errorf("answers from %v, want from %v", seen, names)
				}
			}
			if len(seen) != len(names) {
				return fmt.Errorf("answers from %v, want from %v", seen, names)
			}
			return nil
		}
	}
	eventually(t, "the first container answers", answers(one))
	// Eventually: a worker of the configuration before the first record, in which the
	// only service takes everything, may answer until it is told to stop.
	eventually(t, "an unknown host gets 404", func() error {
		if code, _, _ := get(b.url); code != http.StatusNotFound {
			return fmt.Errorf("it gets %d", code)
		}
		return nil
	})
	runContainer(t, two, "v2", "-P", "--label", label("service="+service), "--label", label("host=shop.example.com"))
	eventually(t, "the second container answers", answers(one, two))
	docker(t, "pause", two)
	eventually(t, "a paused container is withdrawn", answers(one))
	docker(t, "unpause", two)
	eventually(t, "and comes back", answers(one, two))
	before := docker(t, "port", two, "8080/tcp")
	docker(t, "restart", "-t", "1", two)
	eventually(t, "a restarted container answers at its new port", answers(one, two))
	t.Logf("port before the restart %q, after it %q", before, docker(t, "port", two, "8080/tcp"))

	rows := listJSON(t, endpoint, service)
	if len(rows) != 2 || rows[0].Version != "v1" || len(rows[0].RoutedBy) != 1 || !strings.HasSuffix(rows[0].Instance, one) {
		t.Errorf("announce list gives %+v", rows)
	}
	docker(t, "kill", one)
	docker(t, "kill", two)
	eventually(t, "an empty service gives 503 and Retry-After", func() error {
		code, header, body := fromShop("/")
		if code != http.StatusServiceUnavailable || header.Get("Retry-After") == "" {
			return fmt.Errorf("%d %v %s", code, header, body)
		}
		return nil
	})
	a.signal(syscall.SIGTERM)
	if code := a.wait(); code != 0 {
		t.Errorf("announce exits with %d after TERM, want 0", code)
	}
}

type listRow struct {
	Service, Instance, Endpoint, Version string
	RoutedBy                             []string `json:"routed_by"`
	Drained                              bool
}

func listJSON(t *testing.T, endpoint, service string) []listRow {
	t.Helper()
	out, err := command(testbed.announce, "list", service, "--endpoints", endpoint, "--output", "json")
	if err != nil {
		t.Fatal(err)
	}
	var rows []listRow
	if err := json.Unmarshal([]byte(out), &rows); err != nil {
		t.Fatal(err)
	}
	return rows
}

// TERM withdraws, and announce returns only when the request that is still running
// in an instance it announced has been answered.
func TestWithdrawalIsConfirmed(t *testing.T) {
	t.Parallel()
	for _, proxy := range []string{"nginx", "apache"} {
		t.Run(proxy, func(t *testing.T) {
			t.Parallel()
			endpoint := newEtcd(t)
			name := unique("slow")
			runContainer(t, name, "v1", "-P")
			a := startAnnounce(t, endpoint, "--container", name, "--service", "slow")
			b := startRender(t, proxy, endpoint, "--service", "slow")
			eventually(t, "it is routed", func() error { return evenly(b.url, name) })

			succeeded := slowRequest(t, b, "3s", endpointOf(t, endpoint, "slow"))
			a.signal(syscall.SIGTERM)
			if code := a.wait(); code != 0 {
				t.Errorf("announce exits with %d, want 0", code)
			}
			// It has returned: the container may be killed without a word.
			docker(t, "kill", name)
			succeeded()
			if code, _, _ := get(b.url); code != http.StatusServiceUnavailable {
				t.Errorf("after the withdrawal requests get %d, want 503", code)
			}
		})
	}
}

// slowRequest sends a request that takes a while, and returns when it has reached the
// instance at the endpoint. What it gives checks that the request was answered.
func slowRequest(t *testing.T, b *balancer, takes, endpoint string) (succeeded func()) {
	t.Helper()
	answered := make(chan string, 1)
	go func() {
		code, _, body := get(b.url + "/slow?d=" + takes)
		answered <- fmt.Sprintf("%d %s", code, body)
	}()
	eventually(t, "the slow request runs", func() error {
		conns, err := established(endpoint)
		if err == nil && conns == 0 {
			err = errors.New("no connection to the container")
		}
		return err
	})
	return func() {
		t.Helper()
		select {
		case got := <-answered:
			if !strings.HasPrefix(got, "200 ") {
				t.Errorf("the slow request got %s", got)
			}
		case <-time.After(patience):
			t.Error("the slow request was never answered")
		}
	}
}

// endpointOf gives the host:port that a service is announced with; "" if none is.
func endpointOf(t *testing.T, etcd, service string) string {
	t.Helper()
	for _, r := range listJSON(t, etcd, service) {
		return r.Endpoint
	}
	return ""
}

// established counts this machine's TCP connections to an IPv4 endpoint, from
// /proc/net/tcp: address and port in hexadecimal, the address in host order.
func established(endpoint string) (int, error) {
	to, err := netip.ParseAddrPort(endpoint)
	if err != nil {
		return 0, err
	}
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		return 0, err
	}
	ip := to.Addr().As4()
	slices.Reverse(ip[:])
	want := fmt.Sprintf(" %X:%04X 01 ", ip[:], to.Port())
	return strings.Count(string(table), want), nil
}

// Drain takes an instance out and leaves it running, resume puts it back, also
// across a restart of the announcer.
func TestDrainAndResume(t *testing.T) {
	t.Parallel()
	endpoint := newEtcd(t)
	service := unique("web")
	names := []string{unique("left"), unique("right")}
	for _, n := range names {
		runContainer(t, n, "v1", "-P", "--label", "rollcall.service="+service, "--label", "rollcall.instance="+n)
	}
	state := t.TempDir()
	announce := func() *process {
		return startAnnounce(t, endpoint, "--explicit", "--state-dir", state)
	}
	a := announce()
	b := startRender(t, "nginx", endpoint, "--service", service)
	eventually(t, "both answer", func() error { return evenly(b.url, names...) })
	do := func(args ...string) string {
		t.Helper()
		out, err := command(testbed.announce, append(args, "--endpoints", endpoint)...)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	if out, err := command(testbed.announce, "drain", service+"/mistyped", "--endpoints", endpoint); err == nil {
		t.Errorf("the drain of what is not announced succeeds: %s", out)
	}
	if drains := etcdctl(t, endpoint, "get", "--prefix", "--keys-only", "/rollcall/drains/"); drains != "" {
		t.Errorf("it left an order: %s", drains)
	}
	if out := do("drain", service+"/"+names[0]); !strings.Contains(out, "confirmed by 1 renderer") {
		t.Errorf("drain says %q", out)
	}
	if err := evenly(b.url, names[1]); err != nil {
		t.Errorf("after the drain: %v", err)
	}
	a.signal(syscall.SIGTERM)
	a.wait()
	announce()
	do("wait", service+"/"+names[1])
	do("wait", service+"/"+names[0], "--gone")
	if err := evenly(b.url, names[1]); err != nil {
		t.Errorf("after a restart of the announcer: %v", err)
	}
	if out, err := command(testbed.announce, "wait", service+"/mistyped", "--gone", "--endpoints", endpoint); err == nil {
		t.Errorf("the end of what was never announced is proven: %s", out)
	}
	do("resume", service+"/"+names[0])
	if err := evenly(b.url, names...); err != nil {
		t.Errorf("after the resume: %v", err)
	}
	do("drain", service+"/"+names[1])
	docker(t, "rm", "-f", names[1])
	if out := do("resume", service+"/"+names[1]); !strings.Contains(out, "the order is lifted") {
		t.Errorf("the resume of what is gone says %q", out)
	}
}

// kill -9 of render leaves its server serving, and the next render takes it over.
func TestRenderKilled(t *testing.T) {
	onEach(t, func(t *testing.T, proxy string) {
		endpoint := newEtcd(t)
		put(t, endpoint, "/services/web/one", serveName(t, "one"))
		b := startRender(t, proxy, endpoint, "--service", "web")
		args := b.cmd.Args[1:]
		eventually(t, "it is served", func() error { return evenly(b.url, "one") })
		b.signal(syscall.SIGKILL)
		b.wait()
		if err := evenly(b.url, "one"); err != nil {
			t.Errorf("after kill -9: %v", err)
		}
		put(t, endpoint, "/services/web/two", serveName(t, "two"))
		again := start(t, nil, testbed.render, args...)
		eventually(t, "the next render goes on", func() error { return evenly(b.url, "one", "two") })
		if strings.Contains(again.output(), "server started") {
			t.Error("the server was started a second time; it should have been taken over")
		}
	})
}

// A second render for the same file refuses to start, and leaves the first one's
// server alone.
func TestSecondRender(t *testing.T) {
	t.Parallel()
	endpoint := newEtcd(t)
	put(t, endpoint, "/services/web/one", serveName(t, "one"))
	b := startRender(t, "nginx", endpoint, "--service", "web")
	eventually(t, "it is served", func() error { return evenly(b.url, "one") })
	second := start(t, nil, testbed.render, append(b.cmd.Args[1:], "--status-listen", "")...)
	if code := second.wait(); code != 1 || !strings.Contains(second.output(), "another render") {
		t.Errorf("the second render exits with %d:\n%s", code, second.output())
	}
	if err := evenly(b.url, "one"); err != nil {
		t.Errorf("after the second render: %v", err)
	}
	if strings.Contains(b.output(), "server died") {
		t.Error("the second render ended the first one's server")
	}
}

// When a whole machine stops, announce and render are told at the same time. Announce
// waits for the server that still answers, not only for the renderer.
func TestEverythingStopsAtOnce(t *testing.T) {
	t.Parallel()
	endpoint := newEtcd(t)
	name := unique("last")
	runContainer(t, name, "v1", "-P")
	a := startAnnounce(t, endpoint, "--container", name, "--service", "last")
	b := startRender(t, "nginx", endpoint, "--service", "last")
	eventually(t, "it is routed", func() error { return evenly(b.url, name) })
	succeeded := slowRequest(t, b, "4s", endpointOf(t, endpoint, "last"))
	b.signal(syscall.SIGTERM)
	eventually(t, "the server is being stopped", func() error {
		if !strings.Contains(b.output(), "server is being stopped") {
			return errors.New(b.output())
		}
		return nil
	})
	a.signal(syscall.SIGTERM)
	if code := a.wait(); code != 0 {
		t.Errorf("announce exits with %d, want 0", code)
	}
	docker(t, "kill", name)
	succeeded()
}

// Beside a server that runs by itself: --dry-run shows, --once writes, and the
// daemon follows.
func TestBesideARunningServer(t *testing.T) {
	onEach(t, func(t *testing.T, proxy string) {
		endpoint := newEtcd(t)
		put(t, endpoint, "/services/web/one", serveName(t, "one"))
		s := newServer(t, proxy)
		dry := start(t, nil, testbed.render, s.args(endpoint, "--service", "web", "--dry-run")...)
		if code := dry.wait(); code != 0 || !strings.Contains(dry.output(), "+") || !strings.Contains(dry.output(), "# one") {
			t.Errorf("--dry-run exits with %d and prints:\n%s", code, dry.output())
		}
		if text, err := os.ReadFile(s.output()); len(text) > 0 || proxy != "haproxy" && !errors.Is(err, os.ErrNotExist) {
			t.Errorf("--dry-run left a file: %v\n%s", err, text)
		}
		start(t, nil, testbed.render, s.args(endpoint, "--service", "web")...)
		eventually(t, "it is served", func() error { return evenly(s.url, "one") })
		put(t, endpoint, "/services/web/two", serveName(t, "two"))
		eventually(t, "a second joins", func() error { return evenly(s.url, "one", "two") })
		if left, _ := filepath.Glob(filepath.Join(s.dir, "conf.d", "[^.]*")); len(left) != 1 {
			t.Errorf("the server's include finds %v, want render's file alone", left)
		}
	})
}

// Both programs tell systemd when they are ready, and when they stop.
func TestNotify(t *testing.T) {
	t.Parallel()
	endpoint := newEtcd(t)
	put(t, endpoint, "/services/web/one", serveName(t, "one"))
	programs := map[string][]string{
		testbed.announce: {"--explicit", "--address", testbed.address, "--state-dir", t.TempDir(), "--listen", ""},
		testbed.render: {
			"nginx", "--supervise", "--listen", local(ports.Free(t)), "--status-listen", "", "--run-dir", serverDir(t),
		},
	}
	for program, args := range programs {
		t.Run(filepath.Base(program), func(t *testing.T) {
			socket := filepath.Join(serverDir(t), "notify")
			l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			p := start(t, []string{"NOTIFY_SOCKET=" + socket}, program, append(args, "--endpoints", endpoint)...)
			expect := func(want string) {
				t.Helper()
				_ = l.SetReadDeadline(time.Now().Add(patience))
				for buf := make([]byte, 4096); ; {
					n, err := l.Read(buf)
					if err != nil {
						t.Fatalf("waiting for %s: %v", want, err)
					}
					if strings.Contains(string(buf[:n]), want) {
						return
					}
				}
			}
			expect("READY=1")
			p.signal(syscall.SIGTERM)
			expect("STOPPING=1")
			if code := p.wait(); code != 0 {
				t.Errorf("exit code %s, want 0", strconv.Itoa(code))
			}
		})
	}
}
