package etcd

import (
	"slices"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"rollcall/internal/discovery"
)

// Who lost a lease may be back as long as others may follow, unless somebody orders it
// to go; who was deleted is not.
func TestSourceMournsWhoeverMayBeBack(t *testing.T) {
	t.Parallel()
	const prefix = "/services"
	c := open(t, newNode(t).Server)
	lease, other := grant(t, c), grant(t, c)
	put(t, c, prefix+"/web/a", "10.0.0.5:80", clientv3.WithLease(lease))
	put(t, c, prefix+"/web/b", "10.0.0.6:80", clientv3.WithLease(other))
	put(t, c, prefix+"/web/c", "10.0.0.7:80")
	put(t, c, prefix+"/web/d", "10.0.0.8:80")
	w := guarded(t, c, prefix)
	w.sees(t, "web/a=10.0.0.5:80 web/b=10.0.0.6:80 web/c=10.0.0.7:80 web/d=10.0.0.8:80")
	mourns := func(when string, want ...string) {
		t.Helper()
		eventually(t, when, func() bool { return slices.Equal(w.last().Mourned, want) })
	}
	began := time.Now()
	lose(t, c, lease)
	w.sees(t, "web/b=10.0.0.6:80 web/c=10.0.0.7:80 web/d=10.0.0.8:80")
	mourns("the loss", "web/a")
	del(t, c, prefix+"/web/b")
	w.sees(t, "web/c=10.0.0.7:80 web/d=10.0.0.8:80")
	mourns("the loss alone", "web/a")
	at := w.last().Revision
	put(t, c, discovery.DrainKey("web", "a"), "{}")
	mourns("nobody")
	if took := time.Since(began); took > 29*time.Second {
		t.Errorf("after %s, when nobody is mourned without an order either", took)
	}
	if got := w.last(); got.Revision != at || w.heldOnce() {
		t.Errorf("revision %d, was %d; held: %t", got.Revision, at, w.heldOnce())
	}
}
