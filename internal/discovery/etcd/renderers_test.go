package etcd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"

	"rollcall/internal/discovery"
)

// acknowledge runs an acknowledger until stop is called, or the test ends.
func acknowledge(t *testing.T, c *Client) (a *Acknowledger, log *logbook, stop func()) {
	t.Helper()
	log = &logbook{}
	a = NewAcknowledger(c, log.logger())
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run ended with %v", err)
		}
	})
	t.Cleanup(stop)
	return a, log, stop
}

func ack(id string, applied, drained int64) discovery.Acknowledgement {
	return discovery.Acknowledgement{ID: id, Prefix: "/services", Proxy: "nginx", Node: "core-01", Applied: applied, Drained: drained, Healthy: true}
}

// acknowledged reads what a renderer has acknowledged; nil if it is not on the list.
func acknowledged(t *testing.T, c *Client, id string) *discovery.Acknowledgement {
	t.Helper()
	list, err := ListRenderers(testContext(t), c, (&logbook{}).logger())
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range list {
		if a.ID == id {
			return a
		}
	}
	return nil
}

func TestAcknowledgementIsKeptWhileTheRendererLives(t *testing.T) {
	t.Parallel()
	c := open(t, shared)
	a, _, stop := acknowledge(t, c)
	const id = "keeps"
	lasting(t, "nothing is written before Set", 100*time.Millisecond, func() bool { return acknowledged(t, c, id) == nil })
	want := ack(id, 7, 5)
	a.Set(want)
	eventually(t, "acknowledgement", func() bool { return acknowledged(t, c, id) != nil })
	if diff := cmp.Diff(&want, acknowledged(t, c, id)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	res, err := c.c.Get(testContext(t), discovery.RenderersPrefix+"/"+id)
	if err != nil || len(res.Kvs) != 1 || res.Kvs[0].Lease == 0 {
		t.Fatalf("key is %v, %v; want one under a lease", res, err)
	}
	a.Set(want)
	lasting(t, "the same again is not written", 100*time.Millisecond, func() bool {
		again, err := c.c.Get(testContext(t), discovery.RenderersPrefix+"/"+id)
		return err == nil && len(again.Kvs) == 1 && again.Kvs[0].Version == 1
	})
	stop()
	if got := acknowledged(t, c, id); got != nil {
		t.Errorf("after its end it is still on the list: %v", got)
	}
}

// What is overtaken is not written, and the rest at a bounded rate; but who has been
// quiet may say two or three things at once.
func TestAcknowledgementsAreFewAndFast(t *testing.T) {
	t.Parallel()
	c := open(t, shared)
	a, _, _ := acknowledge(t, c)
	const id = "limited"
	key := discovery.RenderersPrefix + "/" + id
	version := func() int64 {
		res, err := c.c.Get(testContext(t), key)
		if err != nil || len(res.Kvs) != 1 {
			return 0
		}
		return res.Kvs[0].Version
	}
	began := time.Now()
	n := int64(0)
	for time.Since(began) < time.Second {
		n++
		a.Set(ack(id, n, n))
		eventually(t, "next", func() bool { return true }) // gives way
	}
	a.Set(ack(id, n, n)) // the same again is no change
	eventually(t, "the latest wins", func() bool { got := acknowledged(t, c, id); return got != nil && got.Applied == n })
	took := time.Since(began)
	if got, most := version(), int64(took/acknowledgeInterval)+acknowledgeBurst+1; got > most || got < 2 {
		t.Errorf("%d writes in %s, want a few and at most %d", got, took, most)
	}
}

func TestAcknowledgementsAfterAQuietTimeDoNotWait(t *testing.T) {
	t.Parallel()
	a := NewAcknowledger(open(t, shared), (&logbook{}).logger())
	for i, want := range []bool{true, true, true, false} {
		if got := a.limit.Reserve().Delay() == 0; got != want {
			t.Errorf("write %d goes at once: %t, want %t", i+1, got, want)
		}
	}
	later := a.limit.ReserveN(time.Now().Add(time.Second), 1)
	if d := later.DelayFrom(time.Now().Add(time.Second)); d != 0 {
		t.Errorf("after a second of quiet a write waits %s", d)
	}
}

func TestAcknowledgementComesBackAfterItsLeaseIsLost(t *testing.T) {
	t.Parallel()
	c := open(t, shared)
	a, _, _ := acknowledge(t, c)
	const id = "lost"
	a.Set(ack(id, 1, 1))
	key := discovery.RenderersPrefix + "/" + id
	var lease int64
	eventually(t, "acknowledgement", func() bool {
		res, err := c.c.Get(testContext(t), key)
		if err != nil || len(res.Kvs) == 0 {
			return false
		}
		lease = res.Kvs[0].Lease
		return true
	})
	if _, err := c.c.Revoke(testContext(t), clientv3.LeaseID(lease)); err != nil {
		t.Fatal(err)
	}
	a.Set(ack(id, 2, 1)) // finds out; a renewal would, some seconds later
	eventually(t, "it comes back", func() bool { got := acknowledged(t, c, id); return got != nil && got.Applied == 2 })
}

// To be off the list for a moment means that nobody need wait any longer: a request
// that fails must not have that effect.
func TestAcknowledgementStaysWhenAWriteFails(t *testing.T) {
	t.Parallel()
	direct, wire := open(t, shared), newLink(t, shared)
	a, _, _ := acknowledge(t, openURL(t, wire.url))
	const id = "stays"
	a.Set(ack(id, 1, 1))
	eventually(t, "acknowledgement", func() bool { return acknowledged(t, direct, id) != nil })
	began := revision(t, direct)
	wire.setMute(true)
	a.Set(ack(id, 2, 1))
	eventually(t, "it is written, unanswered", func() bool { return acknowledged(t, direct, id).Applied == 2 })
	wire.cut()
	wire.setMute(false)
	a.Set(ack(id, 3, 3))
	eventually(t, "the next one", func() bool { got := acknowledged(t, direct, id); return got != nil && got.Applied == 3 })
	if got := deletions(t, direct, discovery.RenderersPrefix+"/"+id, began); len(got) != 0 {
		t.Errorf("it was off the list at revision %v", got)
	}
}

func TestAcknowledgerSurvivesAnOutage(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	a, log, _ := acknowledge(t, open(t, n.Server))
	a.Set(ack("r", 1, 1))
	eventually(t, "acknowledgement", func() bool { return acknowledged(t, open(t, n.Server), "r") != nil })
	n.stop()
	n.dir = t.TempDir() // it comes back without a memory
	a.Set(ack("r", 2, 2))
	n.start()
	c := open(t, n.Server)
	eventually(t, "it comes back", func() bool { got := acknowledged(t, c, "r"); return got != nil && got.Applied == 2 })
	if got := log.count("level=WARN"); got > 1 {
		t.Errorf("%d warnings, want one at most", got)
	}
}

func TestWatchRenderers(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	c := open(t, n.Server)
	a, _, _ := acknowledge(t, c)
	b, _, stopB := acknowledge(t, c)
	a.Set(ack("a", 1, 0))
	eventually(t, "first", func() bool { return acknowledged(t, c, "a") != nil })

	var log logbook
	var mu sync.Mutex
	latest := "nothing yet"
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- WatchRenderers(ctx, c, log.logger(), func(list []*discovery.Acknowledgement) {
			mu.Lock()
			defer mu.Unlock()
			latest = ""
			for _, a := range list {
				latest += fmt.Sprintf("%s:%d/%d ", a.ID, a.Applied, a.Drained)
			}
		})
	}()
	sees := func(want string) {
		t.Helper()
		eventually(t, "renderers "+want, func() bool { mu.Lock(); defer mu.Unlock(); return latest == want })
	}
	sees("a:1/0 ")
	b.Set(ack("b", 2, 2))
	sees("a:1/0 b:2/2 ")
	a.Set(ack("a", 3, 3))
	sees("a:3/3 b:2/2 ")
	put(t, c, discovery.RenderersPrefix+"/bad", "nonsense")
	eventually(t, "refusal is logged", func() bool { return log.count("acknowledgement refused", "/bad") == 1 })
	sees("a:3/3 b:2/2 ")
	stopB()
	sees("a:3/3 ")
	list, err := ListRenderers(testContext(t), c, log.logger())
	if err != nil || len(list) != 1 || list[0].ID != "a" {
		t.Errorf("ListRenderers() = %v, %v; want a alone", list, err)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("WatchRenderers ended with %v", err)
	}
}

// A renderer that serves but is not on the list would be waited for by nobody.
func TestAcknowledgementIsPutBack(t *testing.T) {
	t.Parallel()
	c := open(t, shared)
	a, _, _ := acknowledge(t, c)
	const id = "puts-back"
	want := ack(id, 7, 5)
	a.Set(want)
	there := func() bool { got := acknowledged(t, c, id); return got != nil && got.Applied == want.Applied }
	eventually(t, "it is on the list", there)
	del(t, c, want.Key())
	eventually(t, "it is again", there)
	// Another process of this node took the id and left: its lease took the key along.
	other, _, stop := acknowledge(t, c)
	other.Set(ack(id, 1, 1))
	eventually(t, "the other one has it", func() bool { got := acknowledged(t, c, id); return got != nil && got.Applied == 1 })
	stop()
	eventually(t, "it is once more", there)
}

func TestAcknowledgementOfAnotherRendererIsRespected(t *testing.T) {
	for name, tt := range map[string]struct {
		other func(*discovery.Acknowledgement)
		words string
	}{
		"node": {func(a *discovery.Acknowledgement) { a.Node = "core-02" }, "is the id of a renderer on core-01"},
		"file": {func(a *discovery.Acknowledgement) { a.Output = "/etc/b.conf" }, "is the id of the renderer of /etc/a.conf"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := open(t, shared)
			first, _, stop := acknowledge(t, c)
			id := "copied-" + name
			own := ack(id, 7, 7)
			own.Output = "/etc/a.conf"
			first.Set(own)
			eventually(t, "the first is on the list", func() bool { return acknowledged(t, c, id) != nil })
			second, _, _ := acknowledge(t, c)
			copied := own
			copied.Applied = 9
			tt.other(&copied)
			second.Set(copied)
			eventually(t, "the second says whose id it is", func() bool {
				err := second.Healthy()
				return err != nil && strings.Contains(err.Error(), tt.words)
			})
			if got := acknowledged(t, c, id); got == nil || got.Node != "core-01" || got.Output != "/etc/a.conf" || got.Applied != 7 {
				t.Errorf("the first's became %+v", got)
			}
			stop()
			eventually(t, "the second takes the id when it is free", func() bool {
				got := acknowledged(t, c, id)
				return got != nil && got.Applied == 9 && second.Healthy() == nil
			})
		})
	}
}
