package etcd

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"rollcall/internal/discovery"
)

// grant gives a lease that is not renewed.
func grant(t *testing.T, c *Client) clientv3.LeaseID {
	t.Helper()
	l, err := c.c.Grant(testContext(t), 3600)
	if err != nil {
		t.Fatal(err)
	}
	return l.ID
}

func lose(t *testing.T, c *Client, leases ...clientv3.LeaseID) {
	t.Helper()
	for _, id := range leases {
		if _, err := c.c.Revoke(testContext(t), id); err != nil {
			t.Fatal(err)
		}
	}
}

// heldOnce says whether anything was ever held.
func (w *watcher) heldOnce() bool {
	for _, c := range w.all() {
		if strings.Contains(show(c), "*") {
			return true
		}
	}
	return false
}

func TestSourceHoldsWhatLosesItsLease(t *testing.T) {
	t.Parallel()
	const prefix = "/services"
	c := open(t, newNode(t).Server)
	one, two := grant(t, c), grant(t, c)
	put(t, c, prefix+"/web/a", "10.0.0.5:80", clientv3.WithLease(one))
	put(t, c, prefix+"/web/b", "10.0.0.6:80", clientv3.WithLease(one))
	put(t, c, prefix+"/web/c", "10.0.0.7:80", clientv3.WithLease(two))
	put(t, c, prefix+"/api/x", "10.0.0.8:80", clientv3.WithLease(two))
	put(t, c, prefix+"/api/y", "10.0.0.9:80")
	w := guarded(t, c, prefix)
	all := "api/x=10.0.0.8:80 api/y=10.0.0.9:80 web/a=10.0.0.5:80 web/b=10.0.0.6:80 web/c=10.0.0.7:80"
	w.sees(t, all)
	lose(t, c, one, two)
	w.sees(t, "api/y=10.0.0.9:80 web/a=10.0.0.5:80* web/b=10.0.0.6:80* web/c=10.0.0.7:80*")
	if got := metric(t, w.held); got != 3 {
		t.Errorf("rollcall_catalog_held is %v, want 3", got)
	}
	if got := metric(t, w.questions); got != 2 {
		t.Errorf("%v questions, want one for each lease", got)
	}

	// One returns, is deleted, and that is that; others change, and are served.
	three := grant(t, c)
	put(t, c, prefix+"/web/b", "10.0.0.6:81", clientv3.WithLease(three))
	w.sees(t, "api/y=10.0.0.9:80 web/a=10.0.0.5:80* web/b=10.0.0.6:81 web/c=10.0.0.7:80*")
	del(t, c, prefix+"/web/b")
	last := put(t, c, prefix+"/api/y", "10.0.0.9:81")
	w.sees(t, "api/y=10.0.0.9:81 web/a=10.0.0.5:80* web/c=10.0.0.7:80*")
	if got := w.last().Revision; got != last {
		t.Errorf("the revision is %d, want %d", got, last)
	}

	// So are an operator's order, and an announcer's.
	if err := Drain(testContext(t), c, "web", "a", &discovery.Drain{}); err != nil {
		t.Fatal(err)
	}
	w.sees(t, "api/y=10.0.0.9:81 web/c=10.0.0.7:80*")
	put(t, c, discovery.DrainKey("web", "c"), "", clientv3.WithLease(three))
	w.sees(t, "api/y=10.0.0.9:81")
	if began, ended := w.log.count("holding them", "service=web"), w.log.count("held no longer", "service=web"); began != 1 || ended != 1 {
		t.Errorf("that something was held was said %d times, that it is no more %d times, want once each", began, ended)
	}
	if got := metric(t, w.holds); got != 1 {
		t.Errorf("rollcall_catalog_holds_total is %v, want 1", got)
	}
	if got := metric(t, w.held); got != 0 {
		t.Errorf("rollcall_catalog_held is %v, want 0", got)
	}
}

func TestSourceHoldsNoLongerThanItShould(t *testing.T) {
	t.Parallel()
	const prefix = "/services"
	c := open(t, newNode(t).Server)
	lease := grant(t, c)
	put(t, c, prefix+"/web/a", "10.0.0.5:80", clientv3.WithLease(lease))
	w := watchAs(t, c, SourceConfig{Prefix: prefix, MaxLoss: 0.5, Hold: 2 * time.Second}, time.Hour)
	w.sees(t, "web/a=10.0.0.5:80")
	lose(t, c, lease)
	w.sees(t, "web/a=10.0.0.5:80*")
	w.sees(t, "")
}

// What is deleted is never held, be it all there is; nor what never had a lease.
func TestSourceLetsGoWhatIsDeleted(t *testing.T) {
	t.Parallel()
	prefix := unique(t)
	c := open(t, shared)
	lease := grant(t, c)
	w := guarded(t, c, prefix)
	for _, options := range [][]clientv3.OpOption{{clientv3.WithLease(lease)}, nil} {
		for range 20 {
			put(t, c, prefix+"/web/a", "10.0.0.5:80", options...)
			w.sees(t, "web/a=10.0.0.5:80")
			del(t, c, prefix+"/web/a")
			w.sees(t, "")
		}
	}
	if w.heldOnce() || w.log.count("holding them") > 0 {
		t.Error("something was held")
	}
	if got := metric(t, w.questions); got != 20 {
		t.Errorf("%v questions, want 20", got)
	}
}

// deaf is a client that gets no answer about leases until it is let.
type deaf struct {
	clientv3.Lease
	let chan struct{}
}

func (d deaf) TimeToLive(ctx context.Context, id clientv3.LeaseID, opts ...clientv3.LeaseOption) (*clientv3.LeaseTimeToLiveResponse, error) {
	select {
	case <-d.let:
		return d.Lease.TimeToLive(ctx, id, opts...)
	case <-ctx.Done():
		return nil, errors.New("nothing is heard")
	}
}

// Without an answer whatever may have been lost stays, and nothing else waits for it.
func TestSourceHoldsWhileNobodyAnswers(t *testing.T) {
	t.Parallel()
	const prefix = "/services"
	n := newNode(t)
	direct, c := open(t, n.Server), open(t, n.Server)
	let := make(chan struct{})
	c.c.Lease = deaf{c.c.Lease, let}
	lease := grant(t, direct)
	put(t, direct, prefix+"/web/a", "10.0.0.5:80", clientv3.WithLease(lease))
	put(t, direct, prefix+"/api/a", "10.0.0.5:80", clientv3.WithLease(lease))
	put(t, direct, prefix+"/api/b", "10.0.0.6:80", clientv3.WithLease(lease))
	w := watchAs(t, c, SourceConfig{Prefix: prefix, MaxLoss: 0.5, Hold: time.Hour}, time.Hour, func(s *Source) { s.patience = time.Millisecond })
	w.sees(t, "api/a=10.0.0.5:80 api/b=10.0.0.6:80 web/a=10.0.0.5:80")
	del(t, direct, prefix+"/api/b")
	w.sees(t, "api/a=10.0.0.5:80 web/a=10.0.0.5:80") // half may go: no answer is needed
	del(t, direct, prefix+"/web/a")
	put(t, direct, prefix+"/api/c", "10.0.0.7:80")
	w.sees(t, "api/a=10.0.0.5:80 api/c=10.0.0.7:80 web/a=10.0.0.5:80*")
	lasting(t, "it is held", 2*questionTimeout, func() bool { return strings.Contains(show(w.last()), "web/a=10.0.0.5:80*") })
	if got := w.log.count("holding them"); got != 1 {
		t.Errorf("that it is held was said %d times, want once", got)
	}
	close(let)
	w.sees(t, "api/a=10.0.0.5:80 api/c=10.0.0.7:80")
}

// A listing is judged like events: what is missing from the backup that etcd was
// restored from, or from another cluster, was deleted by nobody.
func TestSourceHoldsWhatAListingLacks(t *testing.T) {
	t.Parallel()
	const prefix = "/services"
	n := newNode(t)
	c := open(t, n.Server)
	early := grant(t, c)
	put(t, c, prefix+"/api/a", "10.0.0.5:80", clientv3.WithLease(early))
	backup := n.backUp()
	c = open(t, n.Server)
	late := grant(t, c)
	put(t, c, prefix+"/api/b", "10.0.0.6:80", clientv3.WithLease(early))
	put(t, c, prefix+"/api/c", "10.0.0.7:80", clientv3.WithLease(early))
	put(t, c, prefix+"/web/a", "10.0.0.5:80", clientv3.WithLease(late))
	w := guarded(t, c, prefix)
	w.sees(t, "api/a=10.0.0.5:80 api/b=10.0.0.6:80 api/c=10.0.0.7:80 web/a=10.0.0.5:80")

	// The backup knows the early lease, but not what was put under it since: to it, that
	// was deleted. Its owner puts it back.
	n.stop()
	n.dir = backup
	n.start()
	w.sees(t, "api/a=10.0.0.5:80 web/a=10.0.0.5:80*")
	n.stop()
	n.Server = stranger(t, n.url)
	w.sees(t, "api/a=10.0.0.5:80* web/a=10.0.0.5:80*")
	other := open(t, n.Server)
	put(t, other, prefix+"/web/b", "10.0.0.6:80")
	w.sees(t, "api/a=10.0.0.5:80* web/a=10.0.0.5:80* web/b=10.0.0.6:80")
	put(t, other, prefix+"/api/a", "10.0.0.5:81")
	w.sees(t, "api/a=10.0.0.5:81 web/a=10.0.0.5:80* web/b=10.0.0.6:80")
}

// A machine that was cut off for longer than its TTL comes back without one of its
// containers: what is still there returns, and what is not is let go at once.
func TestAnnouncerLetsGoWhatIsHeld(t *testing.T) {
	t.Parallel()
	const prefix = "/services"
	n := newNode(t)
	direct, wire := open(t, n.Server), newLink(t, n.Server)
	k := keep(t, openURL(t, wire.url), RegistryConfig{Prefix: prefix, TTL: 2 * time.Second})
	a, b := record(t, prefix, discovery.LayoutHostPort, "a", 80, ""), record(t, prefix, discovery.LayoutDirectory, "b", 81, "1")
	k.settle(t, a, b)
	w := guarded(t, direct, prefix)
	w.sees(t, "web/a=10.0.0.5:80 web/b=10.0.0.5:81")
	wire.setDown(true)
	w.sees(t, "web/a=10.0.0.5:80* web/b=10.0.0.5:81*")
	k.Change(nil, []string{"web/b"})
	wire.setDown(false)
	w.sees(t, "web/a=10.0.0.5:80")

	// It is no operator's order, and does not outlast the lease.
	if drains, err := ListDrains(testContext(t), direct); err != nil || len(drains) != 0 {
		t.Errorf("ListDrains() = %v, %v", drains, err)
	}
	k.change(t, records(b))
	w.sees(t, "web/a=10.0.0.5:80 web/b=10.0.0.5:81")
	wire.setDown(true)
	w.sees(t, "web/a=10.0.0.5:80* web/b=10.0.0.5:81*")
	wire.setDown(false)
	w.sees(t, "web/a=10.0.0.5:80 web/b=10.0.0.5:81")

	// Withdrawn while it was cut off: all of it goes.
	wire.setDown(true)
	w.sees(t, "web/a=10.0.0.5:80* web/b=10.0.0.5:81*")
	withdrawn := make(chan error, 1)
	go func() {
		_, err := k.Withdraw(testContext(t))
		withdrawn <- err
	}()
	wire.setDown(false)
	if err := <-withdrawn; err != nil {
		t.Fatal(err)
	}
	w.sees(t, "")
}

// An order of the operator's is not touched, and where none may be written the records
// are kept all the same.
func TestAnnouncerOrdersWhatItMay(t *testing.T) {
	t.Parallel()
	const prefix = "/services"
	n := newLockedNode(t)
	root := openAs(t, n.url, "root", "root")
	if _, err := root.c.RoleRevokePermission(testContext(t), announcer, "/rollcall/", clientv3.GetPrefixRangeEnd("/rollcall/")); err != nil {
		t.Fatal(err)
	}
	k := keepVerifying(t, openAs(t, n.url, announcer, secret), RegistryConfig{Prefix: prefix, TTL: time.Hour}, 100*time.Millisecond)
	a, b := record(t, prefix, discovery.LayoutHostPort, "a", 80, ""), record(t, prefix, discovery.LayoutHostPort, "b", 81, "")
	for _, name := range []string{"forbidden", "allowed"} {
		k.settle(t, a, b)
		order := discovery.Drain{By: name}
		if err := Drain(testContext(t), root, "web", "b", &order); err != nil {
			t.Fatal(err)
		}
		if name == "allowed" {
			key := discovery.DrainsPrefix + "/"
			if _, err := root.c.RoleGrantPermission(testContext(t), announcer, key, clientv3.GetPrefixRangeEnd(key), clientv3.PermissionType(clientv3.PermReadWrite)); err != nil {
				t.Fatal(err)
			}
		}
		lose(t, root, k.leaseID())
		k.Change(nil, []string{"web/b"})
		k.holds(t, root, a)
		if err := k.Settled(testContext(t)); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if drains, err := ListDrains(testContext(t), root); err != nil || drains["web/b"] != order {
			t.Errorf("%s: the operator's order is %v, %v", name, drains, err)
		}
	}
}

// What returns and is deleted may come in one piece, at the end of which it is as it
// was: gone.
func TestSourceSeesAReturnThatIsOverAtOnce(t *testing.T) {
	t.Parallel()
	c := open(t, shared)
	lease := grant(t, c)
	s := NewSource(c, SourceConfig{Prefix: "/services", MaxLoss: 0.5, Hold: time.Hour, Logger: (&logbook{}).logger(), Registerer: prometheus.NewRegistry()})
	r := &serving{Source: s, guard: discovery.NewGuard("/services", 0.5, time.Hour), answers: make(chan answer)}
	kv := func(revision, lease int64) *mvccpb.KeyValue {
		return &mvccpb.KeyValue{Key: []byte("/services/web/a"), Value: []byte("10.0.0.5:80"), ModRevision: revision, Lease: lease}
	}
	gone := func(revision int64) *clientv3.Event {
		return &clientv3.Event{Type: clientv3.EventTypeDelete, Kv: kv(revision, 0)}
	}
	hear := func() {
		t.Helper()
		select {
		case a := <-r.answers:
			r.hear(a)
		case <-testContext(t).Done():
			t.Fatal("nobody asked about the lease")
		}
	}
	r.learn(t.Context(), update{listed: true, kvs: []*mvccpb.KeyValue{kv(1, 7)}, revision: 1})
	r.learn(t.Context(), update{events: []*clientv3.Event{gone(2)}, revision: 2})
	hear()
	if got := r.guard.Judge(time.Now()).Held["web"]; got != 1 {
		t.Fatalf("%d held, want 1: nobody knows that lease", got)
	}
	r.learn(t.Context(), update{events: []*clientv3.Event{{Type: clientv3.EventTypePut, Kv: kv(3, int64(lease))}, gone(4)}, revision: 4})
	hear()
	if got := r.guard.Judge(time.Now()); len(got.Held) != 0 || got.Catalog.Len() != 0 || got.Catalog.Revision != 4 {
		t.Errorf("%v held, %d instances at revision %d, want none at 4", got.Held, got.Catalog.Len(), got.Catalog.Revision)
	}
	r.tasks.Wait()
}

// Where a thousand machines are cut off, what is known of them is judged together.
func TestSourceHearsAllAnswersThatAreThere(t *testing.T) {
	t.Parallel()
	r := &serving{guard: discovery.NewGuard("/services", 0.5, time.Hour), answers: make(chan answer, 3)}
	lost := &discovery.Instance{Service: "web", Name: "a", Lease: 1}
	now := time.Now()
	r.guard.Observe(&discovery.Catalog{Services: []*discovery.Service{{Name: "web", Instances: []*discovery.Instance{lost}}}}, now)
	r.guard.Observe(&discovery.Catalog{}, now)
	for range 2 {
		r.answers <- answer{}
	}
	r.answers <- answer{instances: []*discovery.Instance{lost}}
	r.hearOthers()
	if v := r.guard.Judge(now); len(r.answers) > 0 || v.Open || v.Held["web"] != 1 {
		t.Errorf("%d answers are left, and the verdict is %+v", len(r.answers), v)
	}
}
