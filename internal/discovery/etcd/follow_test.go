package etcd

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
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
	const prefix = "/services"
	n := newNode(t)
	direct, wire := open(t, n.Server), newLink(t, n.Server)
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

// between runs a follower and, once, does something after its first listing and
// before its watch begins. It gives what the follower handed over, in order.
func between(t *testing.T, c *Client, prefix string, something func()) <-chan update {
	t.Helper()
	f := newFollower(c, prefix+"/", "test", slog.New(slog.DiscardHandler))
	updates := make(chan update, 100)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	first := true
	go func() {
		done <- f.run(ctx, func(u update) {
			if first {
				first = false
				something()
			}
			updates <- u
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("run ended with %v", err)
		}
	})
	return updates
}

// next waits for one update.
func next(t *testing.T, updates <-chan update) update {
	t.Helper()
	select {
	case u := <-updates:
		return u
	case <-time.After(patience):
		t.Fatal("no update")
		return update{}
	}
}

func TestFollowerMissesNothingBetweenListingAndWatch(t *testing.T) {
	t.Parallel()
	c, prefix := open(t, shared), unique(t)
	var written int64
	updates := between(t, c, prefix, func() {
		written = put(t, c, prefix+"/x", "1")
		put(t, c, unique(t), "x") // etcd is ahead of what the watch will deliver
	})
	if u := next(t, updates); !u.listed || len(u.kvs) != 0 {
		t.Errorf("first %+v, want an empty listing", u)
	}
	if u := next(t, updates); u.listed || len(u.events) != 1 || u.revision != written {
		t.Errorf("then %+v, want the event of revision %d", u, written)
	}
}

func TestFollowerListsAgainWhenItsRevisionIsCompacted(t *testing.T) {
	t.Parallel()
	c := open(t, newNode(t).Server)
	updates := between(t, c, "/x", func() {
		put(t, c, "/x/y", "1")
		if _, err := c.c.Compact(testContext(t), put(t, c, "/x/y", "2")); err != nil {
			t.Error(err)
		}
	})
	next(t, updates)
	if u := next(t, updates); !u.listed || len(u.kvs) != 1 || string(u.kvs[0].Value) != "2" {
		t.Errorf("second update %+v, want a listing", u)
	}
}
