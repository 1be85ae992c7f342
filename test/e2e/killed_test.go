package e2e

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// kill -9 of render, again and again, at any moment of a storm of changes: what is on
// disk is always accepted by the server's own check, no client sees anything of it, and in
// the end the last state is served.
func TestKilledInAStorm(t *testing.T) {
	t.Parallel()
	for proxy, check := range map[string][]string{"nginx": {"/usr/sbin/nginx", "-t", "-c"}, "haproxy": {"/usr/sbin/haproxy", "-c", "-f"}} {
		t.Run(proxy, func(t *testing.T) {
			t.Parallel()
			endpoint := newEtcd(t)
			ends := [2]string{serveName(t, "b"), serveName(t, "c")}
			put(t, endpoint, "/services/web/a", serveName(t, "a"))
			put(t, endpoint, "/services/web/b", ends[0])
			output := filepath.Join(serverDir(t), "balancer.conf")
			b := startRender(t, proxy, endpoint, "--service", "web", "--output", output)
			args := b.cmd.Args[1:]

			stop := make(chan struct{})
			var busy sync.WaitGroup
			requests, failed := 0, ""
			busy.Go(func() {
				for failed == "" {
					select {
					case <-stop:
						return
					case <-time.After(time.Millisecond):
					}
					if code, _, body := get(b.url); code != 200 {
						failed = fmt.Sprintf("%d %s", code, body)
					}
					requests++
				}
			})
			client, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, DialTimeout: patience})
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			busy.Go(func() {
				for n := 0; ; n++ {
					select {
					case <-stop:
						return
					case <-time.After(5 * time.Millisecond):
					}
					if _, err := client.Put(t.Context(), "/services/web/b", ends[n%2]); err != nil {
						t.Error(err)
						return
					}
				}
			})
			const rounds = 20
			for range rounds {
				b.signal(syscall.SIGKILL)
				b.wait()
				if _, err := command(check[0], append(check[1:], output)...); err != nil {
					t.Error(err)
				}
				b.process = start(t, nil, testbed.render, args...)
				time.Sleep(100*time.Millisecond + rand.N(300*time.Millisecond)) // the moment of the next kill
			}
			close(stop)
			busy.Wait()
			put(t, endpoint, "/services/web/b", ends[1])
			eventually(t, "the last state is served", func() error { return evenly(b.url, "a", "c") })
			if failed != "" {
				t.Errorf("after %d requests a client sees %s", requests, failed)
			}
			t.Logf("%d requests while render was killed %d times", requests, rounds)
		})
	}
}
