package bench

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sync/errgroup"

	"rollcall/internal/discovery"
)

// members is how many instances a service of a catalog has.
const members = 50

const (
	renderPrefix = "/services/"
	// renderer is the id under which render acknowledges.
	renderer = "bench"
)

// A catalog is what etcd holds: so many instances, members of them each service.
type catalog int

// instance gives the names of one.
func (n catalog) instance(i int) (service, name string) {
	return fmt.Sprintf("service-%05d", i/members), fmt.Sprintf("core-%05d", i%members)
}

// record is what a hand-made sidekick writes, at one of the ports that it may have.
func (n catalog) record(i int, port uint16) string {
	return fmt.Sprintf(`{"host":"10.%d.%d.%d","port":%d,"version":"52c7248a14"}`, i>>16&255, i>>8&255, i&255, port)
}

// firstPort is that of every instance that nothing has changed yet.
const firstPort = 1024

// A renderBed is an etcd with a catalog, and a render that keeps a real nginx to it.
type renderBed struct {
	tb      testing.TB
	catalog catalog
	store   *store
	counter *counter // between render and etcd
	render  *process
	nginx   nginx
	swaps   <-chan time.Time // of the configuration
	acks    <-chan sighting

	ack discovery.Acknowledgement // the latest
	at  time.Time                 // when it was seen
}

// newRenderBed returns when nginx serves the whole catalog.
func newRenderBed(tb testing.TB, n catalog, flags ...string) *renderBed {
	tb.Helper()
	s := startEtcd(tb)
	s.fill(renderPrefix, n)
	b := &renderBed{tb: tb, catalog: n, store: s, counter: startCounter(tb, s.endpoint), nginx: newNginx(tb), acks: s.follow(discovery.RenderersPrefix + "/")}
	b.swaps = swaps(tb, b.nginx.config())
	args := append([]string{
		"nginx", "--supervise", "--set", "dynamic=off", "--set", "gate=0s", // it is reloads that are measured, and what the floor has
		"--endpoints", b.counter.endpoint, "--run-dir", b.nginx.dir, "--listen", b.nginx.listen,
		"--id", renderer, "--status-listen", "", "--prefix", "/services",
	}, flags...)
	if user, _ := workers(); user != "" {
		args = append(args, "--run-as", user)
	}
	b.render = launch(tb, nil, built.program(tb, "render"), args...)
	tb.Cleanup(b.render.stop)
	b.rest(s.revision())
	return b
}

// acknowledged waits for the proof that a revision is served, and gives its time.
func (b *renderBed) acknowledged(revision int64) time.Time {
	b.tb.Helper()
	return b.said(fmt.Sprintf("revision %d is served", revision), func(a discovery.Acknowledgement) bool { return a.Applied >= revision && a.Healthy })
}

// rest waits until nothing of what was before a revision is left.
func (b *renderBed) rest(revision int64) {
	b.tb.Helper()
	b.said(fmt.Sprintf("nothing older than revision %d is left", revision), func(a discovery.Acknowledgement) bool { return a.Drained >= revision })
	for len(b.swaps) > 0 {
		<-b.swaps
	}
}

// said waits until what render says of itself is as wanted, and gives when it said so.
func (b *renderBed) said(what string, ok func(discovery.Acknowledgement) bool) time.Time {
	b.tb.Helper()
	deadline := time.After(patience)
	for !ok(b.ack) {
		select {
		case s := <-b.acks:
			b.ack, b.at = discovery.Acknowledgement{}, s.at
			if err := json.Unmarshal(s.value, &b.ack); !s.deleted && err != nil {
				b.tb.Fatal(err)
			}
		case <-deadline:
			b.tb.Fatalf("%s: not within %s", what, patience)
		}
	}
	return b.at
}

// put changes one instance, and gives when that was begun and the revision it made.
func (b *renderBed) put(i int, port uint16) (time.Time, int64) {
	b.tb.Helper()
	service, name := b.catalog.instance(i)
	began := time.Now()
	return began, b.store.put(renderPrefix+service+"/"+name, b.catalog.record(i, port))
}

// A rendering is what BenchmarkRender finds out about one size of catalog.
type rendering struct {
	file, serving           sample // put → …
	fileFloor, servingFloor sample
	cpu, check              time.Duration // a change: render's own, and that of what it runs
	bytes                   int64         // from etcd until the file is there; the median: leases are kept alive now and then
	all                     int64         // from etcd, a change
	rss, peak               float64       // MB
}

// measure changes one record so many times, each followed by another one that is dealt
// with by hand. The pace is the pause between two changes, in which everybody comes to rest.
func (b *renderBed) measure(n int, pace time.Duration) rendering {
	b.tb.Helper()
	var r rendering
	var bytes []int64
	h := newRenderHand(b.tb, b.store, b.catalog)
	time.Sleep(pace)
	cpu, children, received := b.render.cpu(), b.render.children(), b.counter.received.Load()
	for k := range n {
		// The instances are far apart: nothing is kept warm for the next one.
		i, port := k*7919%int(b.catalog), uint16(firstPort+1+k)
		time.Sleep(pace)
		before := b.counter.received.Load()
		began, revision := b.put(i, port)
		swapped := <-b.swaps
		bytes = append(bytes, b.counter.received.Load()-before)
		r.file = append(r.file, swapped.Sub(began))
		r.serving = append(r.serving, b.acknowledged(revision).Sub(began))
		b.rest(revision)

		time.Sleep(pace)
		file, serving := h.change(i, port)
		r.fileFloor, r.servingFloor = append(r.fileFloor, file), append(r.servingFloor, serving)
	}
	time.Sleep(pace)
	r.cpu, r.check = (b.render.cpu()-cpu)/time.Duration(n), (b.render.children()-children)/time.Duration(n)
	slices.Sort(bytes)
	r.bytes, r.all = bytes[n/2], (b.counter.received.Load()-received)/int64(n)
	r.rss, r.peak = b.render.memory("VmRSS"), b.render.memory("VmHWM")
	return r
}

// BenchmarkRender measures how soon one changed record is in the file and served, beside
// the same done by hand, and what it costs.
func BenchmarkRender(b *testing.B) {
	for _, size := range []struct {
		instances catalog
		samples   int
	}{{10, 30}, {1000, 30}, {10_000, 20}, {50_000, 10}} {
		b.Run(fmt.Sprint(size.instances), func(b *testing.B) {
			r := newRenderBed(b, size.instances).measure(size.samples, 100*time.Millisecond)
			b.ReportMetric(0, "ns/op") // of no meaning: the most is rest
			for _, m := range []struct {
				unit  string
				value float64
			}{
				{"file-ms/op", milliseconds(r.file.p50())},
				{"file-floor-ms/op", milliseconds(r.fileFloor.p50())},
				{"file-ratio", r.file.over(r.fileFloor)},
				{"serving-ms/op", milliseconds(r.serving.p50())},
				{"serving-floor-ms/op", milliseconds(r.servingFloor.p50())},
				{"serving-ratio", r.serving.over(r.servingFloor)},
				{"cpu-ms/op", milliseconds(r.cpu)},
				{"etcd-B/op", float64(r.bytes)},
				{"rss-MB", r.rss},
			} {
				b.ReportMetric(m.value, m.unit)
			}
			renderings.add(int(size.instances), r.file.p50(), r.file.p99(), r.fileFloor.p50(), r.fileFloor.p99(), r.file.over(r.fileFloor),
				r.serving.p50(), r.serving.p99(), r.servingFloor.p50(), r.servingFloor.p99(), r.serving.over(r.servingFloor),
				r.cpu, r.check, r.bytes, r.all, r.rss, r.peak)
		})
	}
}

// fill writes a whole catalog below a prefix.
func (s *store) fill(prefix string, n catalog) {
	s.tb.Helper()
	var group errgroup.Group
	group.SetLimit(32)
	for i := range int(n) {
		group.Go(func() error {
			service, name := n.instance(i)
			_, err := s.client.Put(s.tb.Context(), prefix+service+"/"+name, n.record(i, firstPort))
			return err
		})
	}
	if err := group.Wait(); err != nil {
		s.tb.Fatal(err)
	}
}

// swaps tells when a file is replaced.
func swaps(tb testing.TB, path string) <-chan time.Time {
	tb.Helper()
	w, err := fsnotify.NewWatcher()
	if err == nil {
		err = w.Add(filepath.Dir(path))
	}
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := w.Close(); err != nil {
			tb.Error(err)
		}
	})
	seen := make(chan time.Time, 1000)
	go func() {
		for e := range w.Events {
			if e.Name == path && e.Has(fsnotify.Create) {
				seen <- time.Now()
			}
		}
	}()
	return seen
}
