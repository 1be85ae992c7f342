package etcd

import (
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

func TestSourceListsThenWatches(t *testing.T) {
	t.Parallel()
	prefix := unique(t)
	c := open(t, shared)
	listed := put(t, c, prefix+"/web/a", "10.0.0.5:80")
	w := watch(t, c, prefix)
	w.sees(t, "web/a=10.0.0.5:80")
	if got := w.last().Revision; got < listed {
		t.Errorf("revision of the listing is %d, want at least %d", got, listed)
	}
	steps := []struct {
		do   func() int64
		want string
	}{
		{func() int64 { return put(t, c, prefix+"/web/b", "10.0.0.6:80") }, "web/a=10.0.0.5:80 web/b=10.0.0.6:80"},
		{func() int64 { return put(t, c, prefix+"/web/a", "10.0.0.5:81") }, "web/a=10.0.0.5:81 web/b=10.0.0.6:80"},
		{func() int64 { return del(t, c, prefix+"/web/b") }, "web/a=10.0.0.5:81"},
		{func() int64 { return del(t, c, prefix+"/web/a") }, ""},
	}
	for _, step := range steps {
		revision := step.do()
		put(t, c, unique(t), "x") // etcd's revision is ahead of the records'
		w.sees(t, step.want)
		if got := w.last().Revision; got != revision {
			t.Errorf("revision of %q is %d, want %d, that of its event", step.want, got, revision)
		}
	}
	if got := metric(t, w.events); got != float64(len(steps)) {
		t.Errorf("rollcall_catalog_events_total is %v, want %d", got, len(steps))
	}
	if got := metric(t, w.listings); got != 1 {
		t.Errorf("rollcall_catalog_listings_total is %v, want 1", got)
	}
	if got := metric(t, w.revision); got != float64(w.last().Revision) {
		t.Errorf("rollcall_catalog_revision is %v, want %d", got, w.last().Revision)
	}
	if err := w.Healthy(); err != nil {
		t.Errorf("Healthy() = %v", err)
	}
}

func TestSourceHandsOverATransactionAsOneCatalog(t *testing.T) {
	t.Parallel()
	prefix := unique(t)
	c := open(t, shared)
	w := watch(t, c, prefix)
	eventually(t, "first catalog", func() bool { return len(w.all()) == 1 })
	var ops []clientv3.Op
	for i := range 100 {
		ops = append(ops, clientv3.OpPut(fmt.Sprintf("%s/web/i%d", prefix, i), "10.0.0.5:80"))
	}
	if _, err := c.c.Txn(testContext(t)).Then(ops...).Commit(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "instances", func() bool { return w.last().Len() == 100 })
	if got := len(w.all()); got != 2 {
		t.Errorf("%d catalogs, want 2: nobody may see half a transaction", got)
	}
	if got := metric(t, w.instances); got != 100 {
		t.Errorf("rollcall_catalog_instances is %v, want 100", got)
	}
}

// While somebody writes without a break, a source that begins must miss nothing
// between its listing and its watch, and no catalog may claim a revision that it
// does not show.
func TestSourceMissesNothingOfABusyWriter(t *testing.T) {
	t.Parallel()
	prefix := unique(t)
	c := open(t, shared)
	var mu sync.Mutex
	written := []int64{0} // the i-th write had this revision
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for i := 1; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			res, err := c.c.Put(t.Context(), prefix+"/web/a", "10.0.0.5:"+strconv.Itoa(i))
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			written = append(written, res.Header.Revision)
			mu.Unlock()
			if i%5 == 0 { // the store moves on between the records' own revisions
				if _, err := c.c.Put(t.Context(), "/elsewhere/TestSourceBusy", "x"); err != nil {
					t.Error(err)
					return
				}
			}
		}
	}()
	eventually(t, "writer", func() bool { mu.Lock(); defer mu.Unlock(); return len(written) > 10 })
	var ws []*watcher
	for range 5 {
		w := watchChecking(t, c, prefix, time.Millisecond)
		eventually(t, "catalogs", func() bool { return len(w.all()) > 20 })
		ws = append(ws, w)
	}
	close(stop)
	<-stopped
	last := len(written) - 1
	for _, w := range ws {
		w.sees(t, fmt.Sprintf("web/a=10.0.0.5:%d", last))
		before := int64(0)
		for n, cat := range w.all() {
			s, _ := cat.Service("web")
			i := int(s.Instances[0].Port)
			// The catalog is to show the newest write that is not newer than its revision.
			if cat.Revision < written[i] || i < last && cat.Revision >= written[i+1] {
				t.Errorf("catalog %d claims revision %d and shows write %d, of revision %d", n, cat.Revision, i, written[i])
			}
			if cat.Revision <= before {
				t.Errorf("catalog %d has revision %d after %d", n, cat.Revision, before)
			}
			before = cat.Revision
		}
		if got := metric(t, w.listings); got != 1 {
			t.Errorf("%v listings, want 1: an answer that is older than an event is no reason to doubt", got)
		}
	}
}

func TestSourceKeepsToItsPrefix(t *testing.T) {
	t.Parallel()
	prefix := unique(t) + "/services"
	c := open(t, shared)
	put(t, c, prefix+"/web/a", "10.0.0.5:80")
	put(t, c, prefix+"2/web/b", "10.0.0.6:80")
	w := watch(t, c, prefix)
	w.sees(t, "web/a=10.0.0.5:80")
	put(t, c, prefix+"2/web/c", "10.0.0.7:80")
	put(t, c, prefix, "10.0.0.8:80")
	put(t, c, prefix+"/web/d", "10.0.0.9:80")
	w.sees(t, "web/a=10.0.0.5:80 web/d=10.0.0.9:80")
	if got := len(w.all()); got != 2 {
		t.Errorf("%d catalogs, want 2: other prefixes are no change", got)
	}
	if got := w.last().Refused; len(got) != 0 {
		t.Errorf("refused %v", got)
	}
}

func TestSourceNamesWhatItRefusesOnce(t *testing.T) {
	t.Parallel()
	prefix := unique(t)
	n := newNode(t)
	c := open(t, n.Server)
	put(t, c, prefix+"/web/bad", "nonsense")
	put(t, c, prefix+"/web/good", "10.0.0.5:80")
	put(t, c, prefix+"/web/half/host", "10.0.0.6")
	w := watch(t, c, prefix)
	w.sees(t, "web/good=10.0.0.5:80")
	for port := 81; port < 84; port++ {
		put(t, c, prefix+"/web/good", fmt.Sprintf("10.0.0.5:%d", port))
	}
	w.sees(t, "web/good=10.0.0.5:83")
	n.stop() // and a listing, which brings all of them again
	n.start()
	eventually(t, "second listing", func() bool { return metric(t, w.listings) >= 2 })
	put(t, c, prefix+"/web/good", "10.0.0.5:84")
	w.sees(t, "web/good=10.0.0.5:84")
	if got := w.log.count("record refused", prefix+"/web/bad"); got != 1 {
		t.Errorf("the bad record was named %d times, want once", got)
	}
	if got := w.log.count("level=WARN", prefix+"/web/half"); got != 0 {
		t.Errorf("the half-written record was warned of %d times, want never", got)
	}
	if got := metric(t, w.refused); got != 2 {
		t.Errorf("rollcall_catalog_refused is %v, want 2", got)
	}

	put(t, c, prefix+"/web/bad", "10.0.0.7:http")
	eventually(t, "another reason is named", func() bool { return w.log.count("record refused", prefix+"/web/bad") == 2 })
	put(t, c, prefix+"/web/bad", "10.0.0.7:80")
	put(t, c, prefix+"/web/half/port", "80")
	w.sees(t, "web/bad=10.0.0.7:80 web/good=10.0.0.5:84 web/half=10.0.0.6:80")
	if got := metric(t, w.refused); got != 0 {
		t.Errorf("rollcall_catalog_refused is %v, want 0", got)
	}
}
