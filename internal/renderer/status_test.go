package renderer

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rollcall/internal/discovery"
)

func TestStatusRoundTrip(t *testing.T) {
	for _, want := range []Status{
		{},
		{
			ID: "me", Proxy: "nginx", Outputs: []string{"/x"}, Desired: Configuration{Generation: "b", Revision: 2}, Running: Configuration{"a", 1, time.Unix(1e9, 0).UTC()}, OnDisk: "edited", Drained: 1,
			LastReload: time.Unix(1e9, 0).UTC(), Reloads: 3, Error: "no\n\x1b[2J", ErrorSince: time.Unix(1e9, 0).UTC(), Services: 4, Instances: 5,
			Refused: []discovery.Refusal{{Key: "/services/\x1b", Reason: "why", Revision: 9}}, Unresolved: map[string]string{"h": "no"}, Skipped: []string{"web/1"},
		},
	} {
		b, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var got Status
		if err := json.Unmarshal(b, &got); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
	}
}

func TestStatusOfACatalog(t *testing.T) {
	running(t, func(t *testing.T, g *rig) {
		if err := g.Ready(); err == nil {
			t.Error("ready without a catalog")
		}
		c := catalog(3, member("api/1", "10.0.0.1", 80), member("web/1", "10.0.0.2", 80))
		c.Refused = []discovery.Refusal{{Key: "/services/web/x", Reason: "value is empty", Revision: 2}}
		g.offer(c)
		after(0)
		s := g.Status()
		want := Status{
			ID: "me", Proxy: "nginx", Outputs: []string{g.output},
			Desired: Configuration{Generation: g.ack().Generation, Revision: 3}, Running: Configuration{g.ack().Generation, 3, time.Now()},
			OnDisk: g.ack().Generation, Drained: 3, LastReload: time.Now(), Reloads: 1,
			History: []Reload{{At: time.Now(), Generation: g.ack().Generation, Revision: 3, Cause: s.Changes[0], Changes: 2}},
			Changes: []Change{
				{Added, "api", "1", 0, "/services/api/1", ""},
				{Added, "web", "1", 0, "/services/web/1", ""},
			}, Services: 2, Instances: 2, Refused: c.Refused, SkippedReasons: map[string]string{},
		}
		if d := cmp.Diff(want, s); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
	})
}

func TestOnDiskAndTheLastReload(t *testing.T) {
	running(t, func(t *testing.T, g *rig) {
		g.offer(catalog(3, member("api/1", "10.0.0.1", 80, revised(3)), member("web/1", "10.0.0.2", 80, revised(2))))
		after(time.Second)
		generation := g.ack().Generation
		if s := g.Status(); s.OnDisk != generation || s.Diff != "" {
			t.Errorf("on disk %s, diff %q, want %s and none yet", s.OnDisk, s.Diff, generation)
		}
		g.offer(catalog(9, member("api/2", "10.0.0.9", 80, revised(5)), member("web/1", "10.0.0.3", 80, revised(6)), member("web/2", "10.0.0.4", 80, revised(4))))
		after(time.Second)
		s := g.Status()
		want := []Change{
			{Removed, "api", "1", 9, "/services/api/1", ""},
			{Changed, "web", "1", 6, "/services/web/1", ""},
			{Added, "api", "2", 5, "/services/api/2", ""},
			{Added, "web", "2", 4, "/services/web/2", ""},
		}
		if d := cmp.Diff(want, s.Changes); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
		if h := s.History; len(h) != 2 || h[0].Cause != want[0] || h[0].Changes != 4 || h[0].Revision != 9 || h[1].Changes != 2 {
			t.Errorf("history %+v, want two reloads", h)
		}
		if !strings.Contains(s.Diff, "\n-api: 10.0.0.1:80\n") || !strings.Contains(s.Diff, "\n+web: 10.0.0.3:80 10.0.0.4:80\n") {
			t.Errorf("got diff:\n%s", s.Diff)
		}

		if err := os.WriteFile(g.output, []byte("by hand\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := g.Status().OnDisk; got != "edited" {
			t.Errorf("on disk %q, want edited", got)
		}
		if err := os.Remove(g.output); err != nil {
			t.Fatal(err)
		}
		if got := g.Status().OnDisk; got != "missing" {
			t.Errorf("on disk %q, want missing", got)
		}
		after(checkInterval)
		if s := g.Status(); s.OnDisk != s.Running.Generation || s.Changes[0].Kind != Server {
			t.Errorf("on disk %s for %+v, want it mended", s.OnDisk, s.Changes)
		}
		for n := range 20 {
			g.offer(catalog(int64(n+10), member("web/1", "10.0.0.1", uint16(n+1))))
			after(time.Second)
		}
		if got := len(g.Status().History); got != maxHistory {
			t.Errorf("%d reloads are remembered, want %d", got, maxHistory)
		}
	})
}

func TestChangesAndDiffAreBounded(t *testing.T) {
	running(t, func(t *testing.T, g *rig) {
		many := func(revision int64, host string) *discovery.Catalog {
			var list []*discovery.Instance
			for n := range 5000 {
				list = append(list, member(fmt.Sprintf("s%04d/1", n), host, 80, revised(int64(n+1))))
			}
			return catalog(revision, list...)
		}
		g.offer(many(5000, "10.0.0.1"))
		after(time.Second)
		g.offer(many(6000, "10.0.0.2"))
		after(time.Second)
		s := g.Status()
		if len(s.Changes) != maxChanges || s.History[0].Changes != 5000 || s.History[0].Cause.Key != "/services/s4999/1" {
			t.Errorf("%d changes, of %d, %+v first; want the newest first", len(s.Changes), s.History[0].Changes, s.History[0].Cause)
		}
		if len(s.Diff) > maxDiff+100 || !strings.HasSuffix(s.Diff, "\n… and more\n") {
			t.Errorf("a diff of %d bytes", len(s.Diff))
		}
	})
}
