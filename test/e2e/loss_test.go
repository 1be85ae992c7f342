package e2e

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rollcall/test/loss"
)

// someLoss is a short version of what BenchmarkLoss does to each balancer.
var someLoss = loss.Plan{
	Rate: 300, Rest: time.Second, Members: 6, Structure: 2, Withdrawals: 3, Lanes: 3,
	MemberPace: 200 * time.Millisecond, StructurePace: 500 * time.Millisecond,
}

func lossOf(t *testing.T, w loss.Way, p loss.Plan) *loss.Report {
	t.Helper()
	return loss.Run(t, loss.Programs{
		Announce: testbed.announce, Render: testbed.render, Hello: filepath.Join(filepath.Dir(testbed.announce), "hello"), Image: testbed.image,
	}, w, p)
}

// Members, structure and containers change under load, and no client notices. It is not
// parallel: beside this package's other tests there would be little time left for clients.
func TestNoRequestIsLost(t *testing.T) {
	for _, tt := range []struct {
		name string
		way  loss.Way
	}{
		{"nginx without Lua", loss.Way{Proxy: "nginx", Flags: []string{"--set", "dynamic=off"}}},
		{"nginx with Lua", loss.Way{Proxy: "nginx", Flags: []string{"--set", "dynamic=lua"}}},
		{"apache", loss.Way{Proxy: "apache"}},
		{"haproxy", loss.Way{Proxy: "haproxy"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := lossOf(t, tt.way, someLoss)
			t.Log(r)
			if r.All.Lost() > 0 {
				var all strings.Builder
				r.All.Print(&all)
				t.Errorf("lost %d of %d requests:\n%s", r.All.Lost(), r.All.Sent(), &all)
			}
		})
	}
}

// The same load sees what plain reloads do to it, so that it would see a loss.
func TestPlainReloadsLoseRequests(t *testing.T) {
	r := lossOf(t, loss.Way{Proxy: "nginx", Plain: true}, someLoss)
	t.Log(r)
	if r.All.Lost() == 0 {
		t.Error("no request was lost")
	}
}
