package bench

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rollcall/test/fakedocker"
)

// TestMeasuring sees that what is measured is what the table says it is.
func TestMeasuring(t *testing.T) {
	const inspection = 100 * time.Millisecond
	f := newFakeFleet(t, 3, fakedocker.Latency{Inspect: inspection})
	b := newBed(t, f)
	r := b.measure(2, 5*time.Millisecond, 100*time.Millisecond)
	for what, s := range map[string]sample{"start": r.start, "start floor": r.startFloor, "die": r.die, "die floor": r.dieFloor} {
		if len(s) != 2 || s.quantile(0) <= 0 {
			t.Errorf("%s: %v, want two measurements", what, s)
		}
	}
	// Nobody can tell of a start without an inspection.
	if r.start.quantile(0) < inspection || r.startFloor.quantile(0) < inspection {
		t.Errorf("an inspection takes %s; starts took %v, their floor %v", inspection, r.start, r.startFloor)
	}
	if r.rss < 1 || r.writes != 0 {
		t.Errorf("at rest %.1f MB and %d writes, want some memory and no write", r.rss, r.writes)
	}
	if b.announce.cpu() == 0 {
		t.Error("announce has used no time at all")
	}
	if got := b.suffer(allOutages[0], 1); got.away <= 0 || got.took < 0 || got.written != 1 {
		t.Errorf("outage: %+v, want one record written again", got)
	}
}

func TestQuantile(t *testing.T) {
	var s sample
	for i := range 200 {
		s = append(s, time.Duration(200-i))
	}
	got := []time.Duration{s.quantile(0), s.p50(), s.p99(), s.quantile(1)}
	if diff := cmp.Diff([]time.Duration{1, 100, 198, 200}, got); diff != "" {
		t.Errorf("quantiles, -want +got:\n%s", diff)
	}
}

func TestTable(t *testing.T) {
	var out bytes.Buffer
	tab := table{title: "A title", head: []string{"what", "ms", "ratio"}}
	tab.print(&out)
	if out.Len() > 0 {
		t.Errorf("a table without rows prints %q", &out)
	}
	tab.add("first", 1234567*time.Nanosecond, 1.5)
	tab.print(&out)
	want := "\nA title\n   what    ms  ratio\n  first  1.23   1.50\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("table, -want +got:\n%s", diff)
	}
}
