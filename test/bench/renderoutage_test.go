package bench

import (
	"testing"
	"time"
)

// renderOutages are as long as to make a client with an unbounded backoff sleep.
var renderOutages = []outage{
	{"killed-for-20-s", 20 * time.Second, (*store).kill, (*store).start},
	{"stopped-for-20-s", 20 * time.Second, func(s *store) { s.process.hold() }, func(s *store) { s.process.release() }},
}

// suffer lets etcd be away, and changes a record as soon as etcd answers again. It gives
// how long after that answer the change is in the file, and served.
func (b *renderBed) suffer(o outage, i int, port uint16) (file, serving time.Duration) {
	b.tb.Helper()
	began := time.Now()
	o.begin(b.store)
	time.Sleep(time.Until(began.Add(o.away)))
	o.finish(b.store)
	b.store.answers()
	back := time.Now()
	_, revision := b.put(i, port)
	file = (<-b.swaps).Sub(back)
	serving = b.acknowledged(revision).Sub(back)
	b.rest(revision)
	return file, serving
}

// BenchmarkRenderOutage measures how soon a change is served when etcd is back.
func BenchmarkRenderOutage(b *testing.B) {
	const instances = 1000
	for _, o := range renderOutages {
		b.Run(o.name, func(b *testing.B) {
			file, serving := newRenderBed(b, instances).suffer(o, 1, firstPort+1)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(milliseconds(file), "file-ms/op")
			b.ReportMetric(milliseconds(serving), "serving-ms/op")
			renderOuts.add(o.name, instances, file, serving)
		})
	}
}
