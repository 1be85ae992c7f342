package e2e

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"rollcall/internal/discovery/etcd"
	"rollcall/test/ports"
)

// leased puts records that hang on one new lease, and gives its id.
func leased(t *testing.T, endpoint string, records map[string]string) string {
	t.Helper()
	// "lease 694d7… granted with TTL(600s)"
	words := strings.Fields(etcdctl(t, endpoint, "lease", "grant", "600"))
	if len(words) < 2 {
		t.Fatalf("etcdctl lease grant says %q", words)
	}
	for key, value := range records {
		etcdctl(t, endpoint, "put", "--lease", words[1], key, value)
	}
	return words[1]
}

// Most of a service goes with its leases: rather the network failed than all of
// them. What is deleted goes at once all the same.
func TestHeld(t *testing.T) {
	t.Parallel()
	endpoint := newEtcd(t)
	leases := map[string]string{}
	for _, name := range []string{"a", "b", "c", "d"} {
		leases[name] = leased(t, endpoint, map[string]string{"/services/web/" + name: serveName(t, name)})
	}
	b := startRender(t, "nginx", endpoint, "--service", "web", "--hold", "1h")
	eventually(t, "four are routed to", func() error { return evenly(b.url, "a", "b", "c", "d") })

	etcdctl(t, endpoint, "lease", "revoke", leases["a"])
	eventually(t, "one that loses its lease goes", func() error { return evenly(b.url, "b", "c", "d") })
	etcdctl(t, endpoint, "lease", "revoke", leases["b"])
	etcdctl(t, endpoint, "lease", "revoke", leases["c"])
	b.says(t, "web/c")
	eventually(t, "most of them are held", func() error {
		if got := b.metric("rollcall_catalog_held "); got == "rollcall_catalog_held 0" {
			return errors.New(got)
		}
		return nil
	})
	if err := b.routes("b", "c", "d"); err != nil {
		t.Error(err)
	}
	acks := etcdctl(t, endpoint, "get", "--prefix", "--print-value-only", "/rollcall/renderers/")
	if !strings.Contains(acks, `"held":[`) || !strings.Contains(acks, `"web/c"`) {
		t.Errorf("the acknowledgement does not name who is held: %s", acks)
	}
	etcdctl(t, endpoint, "del", "/services/web/d")
	eventually(t, "what is deleted goes", func() error { return b.without("d") })
	put(t, endpoint, "/services/web/b", serveName(t, "b"))
	put(t, endpoint, "/services/web/c", serveName(t, "c"))
	etcdctl(t, endpoint, "put", "/services/web/a", serveName(t, "a"))
	eventually(t, "nobody is held once they are back", func() error {
		if got := b.metric("rollcall_catalog_held "); got != "rollcall_catalog_held 0" {
			return errors.New(got)
		}
		return evenly(b.url, "a", "b", "c")
	})
}

// routes checks that each of the names is sent requests.
func (b *balancer) routes(names ...string) error {
	counts, err := spread(b.url, 20*len(names))
	if err != nil {
		return err
	}
	for _, name := range names {
		if counts[name] == 0 {
			err = errors.Join(err, fmt.Errorf("%s is sent nothing: %v", name, counts))
		}
	}
	return err
}

// without checks that one is not sent any.
func (b *balancer) without(name string) error {
	counts, err := spread(b.url, 40)
	if err == nil && counts[name] > 0 {
		err = fmt.Errorf("%s is still sent requests: %v", name, counts)
	}
	return err
}

// A balancer that starts while etcd is away serves what it knew before, and follows
// etcd when it is back.
func TestCache(t *testing.T) {
	onEach(t, func(t *testing.T, proxy string) {
		dir, data := t.TempDir(), t.TempDir()
		cache := filepath.Join(dir, "catalog")
		endpoint := "http://" + local(ports.Free(t))
		server, err := etcd.StartServer(t.Context(), data, []string{endpoint})
		if err != nil {
			t.Fatal(err)
		}
		put(t, endpoint, "/services/web/a", serveName(t, "a"))
		first := startRender(t, proxy, endpoint, "--service", "web", "--cache", cache)
		eventually(t, "it is routed to", func() error { return evenly(first.url, "a") })
		first.signal(syscall.SIGTERM)
		if code := first.wait(); code != 0 {
			t.Errorf("render exits with %d, want 0", code)
		}
		server.Close()

		second := launchRender(t, proxy, endpoint, "--service", "web", "--cache", cache)
		eventually(t, "it is routed to without etcd", func() error { return evenly(second.url, "a") })
		second.says(t, `"stale": true`)
		server, err = etcd.StartServer(t.Context(), data, []string{endpoint})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(server.Close)
		put(t, endpoint, "/services/web/b", serveName(t, "b"))
		eventually(t, "who comes then is routed to", func() error { return evenly(second.url, "a", "b") })
		second.settled(t, `"stale": true`)
	})
}
