package e2e

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// A storm of changes costs a handful of reloads, and its last state is what is served.
func TestStorm(t *testing.T) {
	onEach(t, func(t *testing.T, proxy string) {
		const changes = 1000
		endpoint := newEtcd(t)
		put(t, endpoint, "/services/web/a", serveName(t, "a"))
		b := startRender(t, proxy, endpoint, "--service", "web")
		reloads := func() int {
			value := strings.TrimPrefix(b.metric("rollcall_render_reloads_total "), "rollcall_render_reloads_total ")
			n, err := strconv.Atoi(value)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		client, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, DialTimeout: patience})
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		before, began := reloads(), time.Now()
		ends := [2]string{serveName(t, "b"), serveName(t, "c")}
		for n := range changes {
			if _, err := client.Put(t.Context(), "/services/web/b", ends[n%2]); err != nil {
				t.Fatal(err)
			}
		}
		took := time.Since(began)
		eventually(t, "the last state is served", func() error { return evenly(b.url, "a", "c") })
		// One a second, a few at the beginning and one at the end, however slow this machine is.
		if got, most := reloads()-before, 8+int(took/time.Second); got > most {
			t.Errorf("%d changes within %s: %d reloads, want at most %d", changes, took, got, most)
		}
		fmt.Fprintf(t.Output(), "%d changes within %s: %d reloads\n", changes, took, reloads()-before)
	})
}
