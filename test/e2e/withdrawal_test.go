package e2e

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"rollcall/internal/discovery"
	"rollcall/test/ports"
)

// stuck puts the acknowledgement of a renderer into etcd that lives and never drains anything.
func (r *recorder) stuck(t *testing.T, id string) {
	t.Helper()
	lease, err := r.client.Grant(t.Context(), 600)
	if err != nil {
		t.Fatal(err)
	}
	a := &discovery.Acknowledgement{ID: id, Prefix: "/services", Proxy: "nginx", Node: "lb-1", Applied: 1, Drained: 1, LastError: "disk is full"}
	value, err := a.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.client.Put(t.Context(), a.Key(), value, clientv3.WithLease(lease.ID)); err != nil {
		t.Fatal(err)
	}
}

// stopping gives a sidekick that has been told to stop, while the renderers named are stuck.
func stopping(t *testing.T, endpoint, drainTimeout string, renderers ...string) (*process, *recorder) {
	t.Helper()
	web := unique("web")
	runContainer(t, web, "v1", "-P")
	r := record(t, endpoint, "website")
	for _, id := range renderers {
		r.stuck(t, id)
	}
	a := startAnnounce(t, endpoint, "--container", web, "--service", "website", "--drain-timeout", drainTimeout)
	r.holds(t, "it is announced", "website/"+web)
	a.signal(syscall.SIGTERM)
	return a, r
}

// With nobody to wait for, or nobody alive, a stop returns at once, and says so.
func TestStopWithoutRenderers(t *testing.T) {
	t.Parallel()
	endpoint := newEtcd(t)
	a, r := stopping(t, endpoint, "1h")
	if code := a.wait(); code != 0 || !strings.Contains(a.output(), "msg=withdrawn records=1 confirmed_by=0") {
		t.Errorf("exit code %d, output\n%s", code, a.output())
	}
	r.holds(t, "it is withdrawn")
	if leases := etcdctl(t, endpoint, "lease", "list"); !strings.Contains(leases, "found 0 leases") {
		t.Errorf("leases are left: %s", leases)
	}
}

// A balancer that never lets go holds a stop up until the deadline, and is named. The
// record is gone at once all the same.
func TestStopAtItsDeadline(t *testing.T) {
	t.Parallel()
	a, r := stopping(t, newEtcd(t), "1s", "lb-1-nginx-1234")
	code := a.wait()
	for _, want := range []string{"not confirmed by lb-1-nginx-1234 on lb-1, which has applied revision 1 of", "disk is full"} {
		if code != 1 || !strings.Contains(a.output(), want) {
			t.Errorf("exit code %d, want 1 and %q in\n%s", code, want, a.output())
		}
	}
	r.holds(t, "it is withdrawn")
}

func TestSecondTermLeavesAtOnce(t *testing.T) {
	t.Parallel()
	a, r := stopping(t, newEtcd(t), "1h", "lb-1-nginx-1234")
	r.holds(t, "it is withdrawn")
	select {
	case <-a.done:
		t.Fatalf("it has not waited:\n%s", a.output())
	default:
	}
	a.signal(syscall.SIGTERM)
	a.wait()
}

// An etcdProcess is etcd as machines run it, with its data on disk.
type etcdProcess struct {
	*process
	t        *testing.T
	endpoint string
	args     []string
}

func startEtcd(t *testing.T) *etcdProcess {
	t.Helper()
	client, peer := "http://"+local(ports.Free(t)), "http://"+local(ports.Free(t))
	e := &etcdProcess{t: t, endpoint: client, args: []string{
		"--data-dir", filepath.Join(t.TempDir(), "etcd"), "--listen-client-urls", client, "--advertise-client-urls", client,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "default=" + peer,
	}}
	e.start()
	return e
}

func (e *etcdProcess) start() {
	e.t.Helper()
	e.process = start(e.t, []string{"ETCD_UNSUPPORTED_ARCH=" + runtime.GOARCH}, "etcd", e.args...)
	eventually(e.t, "etcd answers", func() error {
		out, err := exec.Command("etcdctl", "--endpoints", e.endpoint, "endpoint", "health").CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
}

// crash ends etcd without a word.
func (e *etcdProcess) crash() {
	e.t.Helper()
	e.signal(syscall.SIGKILL)
	e.wait()
}

// An operator's order outlives a restart of everything: etcd, the announcer, the container.
// A crash of etcd itself is no event for a record.
func TestDrainOutlivesEverything(t *testing.T) {
	t.Parallel()
	e := startEtcd(t)
	service, out, in := unique("shop"), unique("out"), unique("in")
	shop := func(name string) []string {
		return []string{"-P", "--label", "rollcall.service=" + service, "--label", "rollcall.instance=" + name}
	}
	runContainer(t, out, "v1", shop(out)...)
	runContainer(t, in, "v1", shop(in)...)
	state := t.TempDir()
	announce := func() *process {
		return startAnnounce(t, e.endpoint, "--explicit", "--state-dir", state, "--ttl", "60s")
	}
	a := announce()
	r := record(t, e.endpoint, service)
	r.holds(t, "both are announced", service+"/"+out, service+"/"+in)
	if _, err := command(testbed.announce, "drain", service+"/"+out, "--endpoints", e.endpoint); err != nil {
		t.Fatal(err)
	}
	r.holds(t, "one is drained", service+"/"+in)
	before := len(r.caughtUp(t))

	e.crash()
	e.start()
	a.signal(syscall.SIGKILL)
	a.wait()
	a = announce()
	docker(t, "restart", "-t", "0", out)
	next := unique("next")
	runContainer(t, next, "v1", shop(next)...)
	r.holds(t, "all else goes on", service+"/"+in, service+"/"+next)
	if got := r.caughtUp(t)[before:]; len(got) != 1 || got[0] != "put /services/"+service+"/"+next {
		t.Errorf("a watcher sees %q", got)
	}
	if _, err := command(testbed.announce, "resume", service+"/"+out, "--endpoints", e.endpoint); err != nil {
		t.Fatal(err)
	}
	r.holds(t, "it is back", service+"/"+in, service+"/"+out, service+"/"+next)
	a.signal(syscall.SIGTERM)
	if code := a.wait(); code != 0 {
		t.Errorf("announce exits with %d after TERM", code)
	}
}
