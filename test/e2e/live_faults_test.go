package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"rollcall/internal/discovery"
	"rollcall/test/ports"
)

// Somebody else changes the members of the running server: one is taken out, and a stranger
// brought in. That is put right before long, without a reload.
func TestDriftIsPutRight(t *testing.T) {
	onEach(t, func(t *testing.T, proxy string) {
		endpoint := newEtcd(t)
		a, b, stranger := serveName(t, "a"), serveName(t, "b"), serveName(t, "stranger")
		put(t, endpoint, "/services/web/a", a)
		put(t, endpoint, "/services/web/b", b)
		l := startLive(t, proxy, endpoint)
		eventually(t, "both answer", func() error { return evenly(l.url, "a", "b") })
		start := l.counts(t)
		switch proxy {
		case "haproxy":
			l.runtime(t, "set server rollcall_web/b state maint")
			l.runtime(t, "add server rollcall_web/stranger "+stranger+" weight 100")
			l.runtime(t, "enable server rollcall_web/stranger")
		case "apache":
			l.manage(t, url.Values{"b": {l.apacheBalancer()}, "w": {"http://" + b}, "w_status_D": {"1"}})
			l.manage(t, url.Values{"b": {l.apacheBalancer()}, "b_nwrkr": {"http://" + stranger}, "b_wyes": {"1"}})
			l.manage(t, url.Values{"b": {l.apacheBalancer()}, "w": {"http://" + stranger}, "w_status_D": {"0"}})
		case "nginx":
			l.tell(t, "write web 1\npiece 1 "+a+" 100;"+stranger+" 100\n")
		}
		warned := func() bool {
			return strings.Contains(l.process.output(), "level=WARN msg=\"members of the running server were not as they should be; put right\"")
		}
		if shares := l.shares(t); !warned() && (shares[b] != "" || shares[stranger] == "") {
			t.Fatalf("the server has %v, want %s and %s", shares, a, stranger)
		}
		eventually(t, "it is put right", func() error {
			if !warned() {
				return errors.New("no warning yet")
			}
			return evenly(l.url, "a", "b")
		})
		if now := l.counts(t); now.Reloads != start.Reloads || now.Members <= start.Members {
			t.Errorf("reloads %d, were %d; members changed %d, were %d", now.Reloads, start.Reloads, now.Members, start.Members)
		}
		if shares := l.shares(t); len(shares) != 2 || shares[stranger] != "" {
			t.Errorf("the server has %v, want %s and %s", shares, a, b)
		}
	})
}

// beside gives a server that runs by itself, and takes members.
func beside(t *testing.T, proxy string) *server {
	t.Helper()
	s := newServer(t, proxy)
	if proxy == "nginx" {
		text, err := os.ReadFile(s.main())
		if err != nil {
			t.Fatal(err)
		}
		const modules = "load_module /usr/lib/nginx/modules/ndk_http_module.so;\nload_module /usr/lib/nginx/modules/ngx_http_lua_module.so;\n"
		s.signal(syscall.SIGTERM)
		s.wait()
		replace(t, s.main(), modules+string(text))
		s.run(t)
	}
	return s
}

// Render is killed in the midst of changes, while a request runs to a member that is being
// removed. Its successor finds what is there: it changes the members without a reload, and
// nobody is told that the removed one is gone before its request is over.
func TestRenderKilledBetweenMembers(t *testing.T) {
	onEach(t, func(t *testing.T, proxy string) {
		endpoint := newEtcd(t)
		put(t, endpoint, "/services/web/a", serveName(t, "a"))
		s := beside(t, proxy)
		b := &balancer{url: s.url, status: "http://" + local(ports.Free(t))}
		args := s.args(endpoint, "--service", "web", "--status-listen", strings.TrimPrefix(b.status, "http://"))
		b.process = start(t, nil, testbed.render, args...)
		eventually(t, "it answers", func() error { return errors.Join(ready(b.status), evenly(b.url, "a")) })
		j := keepJournal(t, endpoint)
		for round, quiet := range []bool{true, false, false} {
			id := fmt.Sprintf("web/b%d", round)
			slow := serveSlow(t, id)
			put(t, endpoint, "/services/"+id, slow.address)
			finished := longRequest(t, b.url, slow)
			stop, placed := func() {}, func(there bool) {
				t.Helper()
				eventually(t, "the file follows", func() error {
					if strings.Contains(s.fragment(t), slow.address) != there || b.state(t).OnDisk == "edited" {
						return errors.New(s.fragment(t))
					}
					return nil
				})
			}
			if quiet {
				placed(true)
			} else {
				stop = storm(t, j.client, "/services/web/c", serveName(t, "c"), serveName(t, "c"))
			}
			deleted, err := j.client.Delete(t.Context(), "/services/"+id)
			if err != nil {
				t.Fatal(err)
			}
			at := deleted.Header.Revision
			if quiet {
				j.says(t, id+" is busy", at, func(a *discovery.Acknowledgement) bool { return a.Finished >= at && a.NamesBusy(id) })
				placed(false)
			}
			for range 2 { // the successor, and its successor
				b.signal(syscall.SIGKILL)
				b.wait()
				killed := j.now(t)
				b.process = start(t, nil, testbed.render, args...)
				j.says(t, "a successor has applied it", killed, func(a *discovery.Acknowledgement) bool {
					return a.Applied >= at && (!quiet || a.Finished >= at && a.NamesBusy(id))
				})
				// A kill between the files and what is kept of them leaves files that may be anybody's.
				if now := b.counts(t); quiet && now.Reloads != 0 {
					t.Errorf("%d reloads by a successor", now.Reloads)
				}
			}
			gone := func(a *discovery.Acknowledgement) bool { return a.Gone(id, at) }
			if a := j.find(at, gone); a != nil {
				t.Errorf("while a request to %s is running, it is called gone: %+v", id, a)
			}
			slow.end()
			if got := finished(); got != "200 "+id+" <nil>" {
				t.Errorf("the long request to %s got %s", id, got)
			}
			j.says(t, id+" is gone", at, gone)
			stop()
		}
	})
}

// A journal holds all that renderers have said, with the revisions at which they did.
type journal struct {
	client *clientv3.Client

	mu   sync.Mutex
	said []said
}

type said struct {
	at int64
	*discovery.Acknowledgement
}

func keepJournal(t *testing.T, endpoint string) *journal {
	t.Helper()
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, DialTimeout: patience})
	if err != nil {
		t.Fatal(err)
	}
	j := &journal{client: client}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	t.Cleanup(func() {
		cancel()
		<-done
		_ = client.Close()
	})
	watch := client.Watch(ctx, discovery.RenderersPrefix, clientv3.WithPrefix())
	go func() {
		defer close(done)
		for response := range watch {
			for _, ev := range response.Events {
				a, err := discovery.DecodeAcknowledgement(string(ev.Kv.Key), ev.Kv.Value)
				if err != nil {
					continue // its lease is over
				}
				j.mu.Lock()
				j.said = append(j.said, said{ev.Kv.ModRevision, a})
				j.mu.Unlock()
			}
		}
	}()
	return j
}

// now gives etcd's revision.
func (j *journal) now(t *testing.T) int64 {
	t.Helper()
	res, err := j.client.Get(t.Context(), "now")
	if err != nil {
		t.Fatal(err)
	}
	return res.Header.Revision
}

// find gives the first acknowledgement since a revision that is as it is wanted; nil if none is.
func (j *journal) find(since int64, wanted func(*discovery.Acknowledgement) bool) *discovery.Acknowledgement {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, s := range j.said {
		if s.at > since && wanted(s.Acknowledgement) {
			return s.Acknowledgement
		}
	}
	return nil
}

func (j *journal) says(t *testing.T, what string, since int64, wanted func(*discovery.Acknowledgement) bool) {
	t.Helper()
	eventually(t, what, func() error {
		if j.find(since, wanted) == nil {
			last := j.find(since, func(*discovery.Acknowledgement) bool { return true })
			return fmt.Errorf("since revision %d that was never said, but %+v", since, last)
		}
		return nil
	})
}

// storm moves an instance to and fro until it is stopped.
func storm(t *testing.T, client *clientv3.Client, key string, addresses ...string) (stop func()) {
	t.Helper()
	ended, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for n := 0; ; n++ {
			select {
			case <-ended:
				return
			case <-tick.C:
			}
			if _, err := client.Put(context.Background(), key, addresses[n%len(addresses)]); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	stop = sync.OnceFunc(func() {
		close(ended)
		<-done
	})
	t.Cleanup(stop)
	return stop
}
