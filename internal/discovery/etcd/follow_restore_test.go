package etcd

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
)

// restored gives a node whose data is a copy from before the changes, and the
// client and watcher that have seen them.
func restored(t *testing.T, prefix string) (*node, *watcher) {
	t.Helper()
	n := newNode(t)
	put(t, open(t, n.Server), prefix+"/web/old", "10.0.0.5:80")
	backup := n.backUp()
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

// warned checks that another history was spoken of once, with these words.
func (w *watcher) warned(t *testing.T, words ...string) {
	t.Helper()
	const message = "etcd's history is another one"
	if got, all := w.log.count(append(words, message)...), w.log.count(message); got != 1 || all != 1 {
		t.Errorf("said %d times, %d of them with %q; want once", all, got, words)
	}
}

func TestSourceListsAgainWhenEtcdIsRestoredFromABackup(t *testing.T) {
	t.Parallel()
	const prefix = "/services"
	n, w := restored(t, prefix)
	was := w.last().Revision
	n.start()
	w.sees(t, "web/old=10.0.0.5:80")
	now := w.last().Revision
	w.warned(t, fmt.Sprintf("revision=%d was=%d gone=3", now, was))
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

// stranger starts a server of another cluster.
func stranger(t *testing.T, url string) *Server {
	t.Helper()
	n := &node{t: t, dir: t.TempDir(), url: url, tune: func(cfg *embed.Config) { cfg.InitialClusterToken = "another" }}
	n.start()
	return n.Server
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
	n.Server = stranger(t, n.url)
	other := open(t, n.Server)
	for range 5 { // past the revision that is known
		put(t, other, prefix+"/web/b", "10.0.0.6:80")
	}
	w.sees(t, "web/b=10.0.0.6:80")
	w.warned(t, "was=", "gone=1")
}

// Without any break in the connection only asking tells: here two servers that
// have nothing in common answer in turn.
func TestSourceAsksWhereEtcdIs(t *testing.T) {
	t.Parallel()
	other := stranger(t, "http://127.0.0.1:0")
	t.Cleanup(other.Close)
	cfg := Config{Endpoints: append(newNode(t).Endpoints(), other.Endpoints()...)}
	c, err := Open(testContext(t), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	w := watchChecking(t, c, "/services", 10*time.Millisecond)
	eventually(t, "doubt", func() bool { return w.log.count("listing again", "another cluster answers") > 0 })
}
