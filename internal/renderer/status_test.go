package renderer

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rollcall/internal/discovery"
)

func TestStatusRoundTrip(t *testing.T) {
	for _, want := range []Status{
		{},
		{
			ID: "me", Proxy: "nginx", Output: "/x", Desired: Configuration{"b", 2}, Running: Configuration{"a", 1}, Drained: 1,
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
			ID: "me", Proxy: "nginx", Output: g.output, Desired: s.Running, Running: Configuration{g.ack().Generation, 3}, Drained: 3,
			LastReload: time.Now(), Reloads: 1, Services: 2, Instances: 2, Refused: c.Refused,
		}
		if d := cmp.Diff(want, s); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
	})
}
