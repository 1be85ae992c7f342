package etcd

import (
	"log/slog"
	"os"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func TestPositionDoubts(t *testing.T) {
	t.Parallel()
	p := position{cluster: 1, revision: 10}
	for _, tt := range []struct {
		cluster  uint64
		revision int64
		doubt    bool
	}{{1, 10, false}, {1, 11, false}, {1, 9, true}, {2, 10, true}, {2, 20, true}} {
		err := p.compare(&etcdserverpb.ResponseHeader{ClusterId: tt.cluster, Revision: tt.revision})
		if (err != nil) != tt.doubt {
			t.Errorf("cluster %d at revision %d: %v, want doubt: %t", tt.cluster, tt.revision, err, tt.doubt)
		}
	}
}

func TestSourceSeesTheNextChangeSoonAfterAnOutage(t *testing.T) {
	t.Parallel()
	const prefix = "/services"
	n := newNode(t)
	c := open(t, n.Server)
	put(t, c, prefix+"/web/a", "10.0.0.5:80")
	w := watch(t, c, prefix)
	w.sees(t, "web/a=10.0.0.5:80")
	back := time.After(3 * time.Second)
	n.stop()
	eventually(t, "the outage is noticed", func() bool { return w.Healthy() != nil })
	if got := show(w.last()); got != "web/a=10.0.0.5:80" {
		t.Errorf("during the outage the catalog is %q, want the last one", got)
	}
	<-back
	n.start()
	put(t, open(t, n.Server), prefix+"/web/b", "10.0.0.6:80")
	began := time.Now()
	w.sees(t, "web/a=10.0.0.5:80 web/b=10.0.0.6:80")
	// It is about a second; with gRPC's own backoff it would be ever longer ones.
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("the change was seen after %s", took)
	}
	eventually(t, "healthy again", func() bool { return w.Healthy() == nil })
	if down, up := w.log.count("etcd does not answer"), w.log.count("etcd answers again"); down != 1 || up != 1 {
		t.Errorf("the outage was logged %d times and its end %d times, want once each", down, up)
	}
}

func TestSourceListsAgainAfterACompaction(t *testing.T) {
	t.Parallel()
	const prefix = "/TestCompaction"
	direct, wire := open(t, shared), newLink(t, shared)
	put(t, direct, prefix+"/web/a", "10.0.0.5:80")
	put(t, direct, prefix+"/web/b", "10.0.0.6:80")
	w := watch(t, openURL(t, wire.url), prefix)
	w.sees(t, "web/a=10.0.0.5:80 web/b=10.0.0.6:80")
	wire.setMute(true)
	wire.cut()
	del(t, direct, prefix+"/web/a")
	last := put(t, direct, prefix+"/web/c", "10.0.0.7:80")
	if _, err := direct.c.Compact(testContext(t), last); err != nil {
		t.Fatal(err)
	}
	wire.setMute(false)
	w.sees(t, "web/b=10.0.0.6:80 web/c=10.0.0.7:80")
}

// The watch itself may be told that its revision is compacted away.
func TestFollowerDoubtsACompactedWatch(t *testing.T) {
	t.Parallel()
	c := open(t, shared)
	first := put(t, c, "/TestCompacted/x", "1")
	last := put(t, c, "/TestCompacted/x", "2")
	if _, err := c.c.Compact(testContext(t), last); err != nil {
		t.Fatal(err)
	}
	for w := range c.c.Watch(testContext(t), "/TestCompacted/", clientv3.WithPrefix(), clientv3.WithRev(first)) {
		if w.Err() == nil {
			t.Errorf("the watch goes on: %v", w)
		}
		break
	}
}

// restored gives a node whose data is a copy from before the changes, and the
// client and watcher that have seen them.
func restored(t *testing.T, prefix string) (*node, *watcher) {
	t.Helper()
	n := newNode(t)
	put(t, open(t, n.Server), prefix+"/web/old", "10.0.0.5:80")
	n.stop()
	backup := t.TempDir()
	if err := os.CopyFS(backup, os.DirFS(n.dir)); err != nil {
		t.Fatal(err)
	}
	n.start()
	c := open(t, n.Server)
	for _, name := range []string{"a", "b", "c"} {
		put(t, c, prefix+"/web/"+name, "10.0.0.6:80")
	}
	w := watch(t, c, prefix)
	w.sees(t, "web/a=10.0.0.6:80 web/b=10.0.0.6:80 web/c=10.0.0.6:80 web/old=10.0.0.5:80")
	n.stop()
	n.dir = backup
	return n, w
}

func TestSourceListsAgainWhenEtcdIsRestoredFromABackup(t *testing.T) {
	t.Parallel()
	const prefix = "/services"
	n, w := restored(t, prefix)
	n.start()
	w.sees(t, "web/old=10.0.0.5:80")
	put(t, open(t, n.Server), prefix+"/web/new", "10.0.0.7:80")
	w.sees(t, "web/new=10.0.0.7:80 web/old=10.0.0.5:80")
}

// What was restored may have grown past the revision that was known before anybody
// compares: it looks as if time had merely gone on.
func TestSourceListsAgainWhenARestoredEtcdHasGrown(t *testing.T) {
	t.Parallel()
	const prefix = "/services"
	n, w := restored(t, prefix)
	url := n.url
	n.url = "http://127.0.0.1:0"
	n.start()
	c := open(t, n.Server)
	for range 10 {
		put(t, c, prefix+"/web/new", "10.0.0.7:80")
	}
	n.stop()
	n.url = url
	n.start()
	w.sees(t, "web/new=10.0.0.7:80 web/old=10.0.0.5:80")
}

func TestSourceListsAgainWhenAnotherClusterAnswers(t *testing.T) {
	t.Parallel()
	const prefix = "/services"
	n := newNode(t)
	c := open(t, n.Server)
	put(t, c, prefix+"/web/a", "10.0.0.5:80")
	w := watch(t, c, prefix)
	w.sees(t, "web/a=10.0.0.5:80")
	n.stop()
	cfg, err := serverConfig(t.TempDir(), []string{n.url})
	if err != nil {
		t.Fatal(err)
	}
	cfg.InitialClusterToken = "another"
	if n.Server, err = startServer(testContext(t), cfg); err != nil {
		t.Fatal(err)
	}
	other := open(t, n.Server)
	for range 5 { // past the revision that is known
		put(t, other, prefix+"/web/b", "10.0.0.6:80")
	}
	w.sees(t, "web/b=10.0.0.6:80")
}

// Without any break in the connection only asking tells: here two servers that
// have nothing in common answer in turn.
func TestSourceAsksWhereEtcdIs(t *testing.T) {
	t.Parallel()
	const prefix = "/services"
	one, two := newNode(t), newNode(t)
	put(t, open(t, one.Server), prefix+"/web/a", "10.0.0.5:80")
	put(t, open(t, one.Server), prefix+"/web/a", "10.0.0.5:80")
	c, err := Open(testContext(t), Config{Endpoints: []string{one.url, two.url}}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	w := watchChecking(t, c, prefix, 10*time.Millisecond)
	eventually(t, "doubt", func() bool { return w.log.count("listing again", "revision went back") > 0 })
}
