package bench

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestRenderMeasuring sees that what is measured is what the tables say it is.
func TestRenderMeasuring(t *testing.T) {
	b := newRenderBed(t, 10)
	r := b.measure(2, 5*time.Millisecond)
	for what, s := range map[string]sample{"file": r.file, "file floor": r.fileFloor, "serving": r.serving, "serving floor": r.servingFloor} {
		if len(s) != 2 || s.quantile(0) <= 0 {
			t.Errorf("%s: %v, want two measurements", what, s)
		}
	}
	for i := range r.file {
		if r.file[i] >= r.serving[i] || r.fileFloor[i] >= r.servingFloor[i] {
			t.Errorf("served before it was in the file: %+v", r)
		}
	}
	// The record itself is as long.
	if least := int64(len(b.catalog.record(0, firstPort))); r.bytes < least || r.all < r.bytes {
		t.Errorf("%d bytes until the file was there, %d altogether, want at least %d", r.bytes, r.all, least)
	}
	a := b.endure(storm{changes: 20, during: 100 * time.Millisecond, sockets: true})
	if a.reloads < 1 || a.reloads > 20 || a.settled <= 0 || a.sockets < 1 || a.cut > 0 {
		t.Errorf("after a storm of 20 changes: %+v", a)
	}
	file, serving := b.suffer(outage{begin: (*store).kill, finish: (*store).start}, 1, firstPort+100)
	if file <= 0 || serving <= file {
		t.Errorf("after an outage, in the file after %s, served after %s", file, serving)
	}
	if r.rss < 1 || r.peak < 1 || b.render.cpu() == 0 || b.render.children() == 0 {
		t.Errorf("%.1f MB, at most %.1f, %s of CPU and %s of its children's", r.rss, r.peak, b.render.cpu(), b.render.children())
	}
}

// TestRenderFloor sees that the floor renders what render does.
func TestRenderFloor(t *testing.T) {
	b := newRenderBed(t, members+10)
	h := newRenderHand(t, b.store, b.catalog)
	_, revision := b.put(0, firstPort+1)
	b.acknowledged(revision)
	h.change(0, firstPort+1)
	// What differs is where the two are, and which revision they have seen.
	plain := func(n nginx) []string {
		content, err := os.ReadFile(n.config())
		if err != nil {
			t.Fatal(err)
		}
		text := strings.NewReplacer(n.dir, "DIR", n.listen, "LISTEN").Replace(string(content))
		lines := strings.SplitAfter(text, "\n")
		for i, l := range lines {
			if strings.Contains(l, "# Generation ") || strings.Contains(l, "return 200") {
				lines[i] = ""
			}
		}
		return lines
	}
	if diff := cmp.Diff(plain(h.nginx), plain(b.nginx)); diff != "" {
		t.Errorf("the floor (-) and render (+) differ:\n%s", diff)
	}
}
