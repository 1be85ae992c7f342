package etcd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"rollcall/internal/discovery"
)

func TestListReadsEveryLayoutOnce(t *testing.T) {
	t.Parallel()
	prefix := unique(t)
	c := open(t, shared)
	put(t, c, prefix+"/web/a", `{"host":"10.0.0.5","port":80}`)
	put(t, c, prefix+"/web/b", "10.0.0.6:80")
	put(t, c, prefix+"/web/c/host", "10.0.0.7")
	put(t, c, prefix+"/web/c/port", "80")
	put(t, c, prefix+"/web/d", "nonsense")
	last := put(t, c, prefix+"2/web/e", "10.0.0.8:80")
	got, err := List(testContext(t), c, prefix, (&logbook{}).logger())
	if err != nil {
		t.Fatal(err)
	}
	if want := "web/a=10.0.0.5:80 web/b=10.0.0.6:80 web/c=10.0.0.7:80"; show(got) != want || got.Revision < last || len(got.Refused) != 1 {
		t.Errorf("got %q at revision %d, refused %v; want %q at %d at least, and one refused", show(got), got.Revision, got.Refused, want, last)
	}
}

// A long listing comes in pages, all of one revision.
func TestListReadsPages(t *testing.T) {
	t.Parallel()
	prefix := unique(t)
	c := open(t, shared)
	const many = 2*pageSize + 1
	for at := 0; at < many; at += maxOps {
		var ops []clientv3.Op
		for i := at; i < min(at+maxOps, many); i++ {
			ops = append(ops, clientv3.OpPut(fmt.Sprintf("%s/web/i%05d", prefix, i), "10.0.0.5:80"))
		}
		if _, err := c.c.Txn(testContext(t)).Then(ops...).Commit(); err != nil {
			t.Fatal(err)
		}
	}
	got, err := List(testContext(t), c, prefix, (&logbook{}).logger())
	if err != nil || got.Len() != many {
		t.Fatalf("%d instances, %v, want %d", got.Len(), err, many)
	}
	w := watch(t, c, prefix)
	eventually(t, "catalog", func() bool { return len(w.all()) > 0 })
	if first := w.all()[0]; first.Len() != many || first.Revision < got.Revision {
		t.Errorf("first catalog: %d instances at revision %d, want %d at %d or later", first.Len(), first.Revision, many, got.Revision)
	}

	f := newFollower(c, prefix+"/", "test", (&logbook{}).logger())
	f.paged = true
	var sizes []int
	revisions := map[int64]bool{}
	if _, err := f.list(testContext(t), func(u update) {
		if len(sizes) == 0 { // what is deleted meanwhile is there, as it was at the beginning
			del(t, c, prefix+"/web/i08000")
		}
		if u.listed != (len(sizes) == 0) || u.partial != (len(sizes) < 2) {
			t.Errorf("page %d: listed: %t, partial: %t", len(sizes), u.listed, u.partial)
		}
		sizes = append(sizes, len(u.kvs))
		revisions[u.revision] = true
	}); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(sizes, []int{pageSize, pageSize, 1}) || len(revisions) != 1 {
		t.Errorf("pages of %v keys at revisions %v", sizes, revisions)
	}
}

func TestTTLs(t *testing.T) {
	t.Parallel()
	prefix := unique(t)
	c := open(t, shared)
	grant := func(ttl int64) clientv3.OpOption {
		l, err := c.c.Grant(testContext(t), ttl)
		if err != nil {
			t.Fatal(err)
		}
		return clientv3.WithLease(l.ID)
	}
	long, short := grant(1000), grant(100)
	put(t, c, prefix+"/web/a", "10.0.0.5:80", long)
	put(t, c, prefix+"/web/b/host", "10.0.0.6", long)
	put(t, c, prefix+"/web/b/port", "80", long)
	put(t, c, prefix+"/web/c", "10.0.0.7:80", short)
	put(t, c, prefix+"/web/for-ever", "10.0.0.8:80")
	put(t, c, prefix+"2/web/d", "10.0.0.9:80", long)
	got, err := TTLs(testContext(t), c, prefix)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 3 {
		t.Errorf("got %v, want a, b and c", got)
	}
	for id, most := range map[string]time.Duration{"web/a": 1000 * time.Second, "web/b": 1000 * time.Second, "web/c": 100 * time.Second} {
		if ttl := got[id]; ttl > most || ttl < most-patience {
			t.Errorf("%s has %s left, want about %s", id, ttl, most)
		}
	}
}

func TestWatchService(t *testing.T) {
	t.Parallel()
	prefix := unique(t)
	c := open(t, shared)
	put(t, c, prefix+"/web/a", "10.0.0.5:80")
	put(t, c, prefix+"/web2/x", "10.0.0.9:80")
	var mu sync.Mutex
	latest, at, calls := "nothing yet", int64(0), 0
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- WatchService(ctx, c, prefix, "web", (&logbook{}).logger(), func(instances []*discovery.Instance, revision int64) {
			mu.Lock()
			defer mu.Unlock()
			latest, at, calls = "", revision, calls+1
			for _, i := range instances {
				latest += i.ID() + " "
			}
		})
	}()
	sees := func(want string, revision int64) {
		t.Helper()
		eventually(t, fmt.Sprintf("instances %q at %d", want, revision), func() bool {
			mu.Lock()
			defer mu.Unlock()
			return latest == want && (at == revision || revision == 0)
		})
	}
	sees("web/a ", 0)
	put(t, c, prefix+"/web2/y", "10.0.0.9:80")
	put(t, c, prefix+"/web/bad", "nonsense")
	sees("web/a ", 0)
	sees("web/a web/b ", put(t, c, prefix+"/web/b", "10.0.0.6:80"))
	del(t, c, prefix+"/web/a")
	sees("", del(t, c, prefix+"/web/b"))
	mu.Lock()
	if calls != 5 {
		t.Errorf("%d calls, want 5: another service is no change", calls)
	}
	mu.Unlock()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
}
