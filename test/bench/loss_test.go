package bench

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"rollcall/test/loadgen"
	"rollcall/test/loss"
)

// wholeLoss is what the benchmark does to each balancer.
var wholeLoss = loss.Plan{
	Rate: 1000, Rest: 8 * time.Second, Members: 50, Structure: 10, Withdrawals: 20, Lanes: 4,
	MemberPace: 200 * time.Millisecond, StructurePace: time.Second,
}

// losses are shown one table for each balancer.
var losses []*table

// BenchmarkLoss counts the requests that clients lose while everything changes, beside
// those that they lose to plain reloads with the same changes.
func BenchmarkLoss(b *testing.B) {
	programs := loss.Programs{
		Announce: built.program(b, "announce"), Render: built.program(b, "render"), Hello: built.program(b, "hello"), Image: newRealFleet(b).name,
	}
	plain := map[string]*loss.Report{} // by proxy: nginx is nginx, with and without Lua
	for _, w := range []struct {
		name string
		way  loss.Way
	}{
		{"nginx-without-Lua", loss.Way{Proxy: "nginx", Flags: []string{"--set", "dynamic=off"}}},
		{"nginx-with-Lua", loss.Way{Proxy: "nginx", Flags: []string{"--set", "dynamic=lua"}}},
		{"apache", loss.Way{Proxy: "apache"}},
		{"haproxy", loss.Way{Proxy: "haproxy"}},
	} {
		proxy := w.way.Proxy
		b.Run(w.name, func(b *testing.B) {
			if plain[proxy] == nil {
				b.Run("plain", func(b *testing.B) { plain[proxy] = runLoss(b, programs, loss.Way{Proxy: proxy, Plain: true}) })
			}
			b.Run("rollcall", func(b *testing.B) {
				r := runLoss(b, programs, w.way)
				if r.All.Lost() > 0 {
					b.Errorf("lost %d requests:\n%s", r.All.Lost(), printed(&r.All))
				}
				if plain[proxy] != nil {
					addLoss(w.name, r, plain[proxy])
				}
			})
		})
	}
}

func runLoss(b *testing.B, programs loss.Programs, w loss.Way) *loss.Report {
	b.Helper()
	r := loss.Run(b, programs, w, wholeLoss)
	b.Log(r)
	b.ReportMetric(0, "ns/op") // of no meaning: the most is rest
	b.ReportMetric(float64(r.All.Sent()), "requests")
	b.ReportMetric(float64(r.All.Lost()), "lost")
	return r
}

// addLoss makes the tables of one balancer.
func addLoss(name string, r, plain *loss.Report) {
	phases := &table{title: name + ": requests and latency in ms, and the same through plain reloads; failed 0, p99 during changes at most twice that at rest", head: []string{
		"", "sent", "failed", "p50", "p99", "p99.9", "reloads", "plain: sent", "failed", "p50", "p99", "p99.9", "reloads",
	}}
	for i := range r.Phases {
		p, q := &r.Phases[i], &plain.Phases[i]
		l, m := &p.Clients.Latency, &q.Clients.Latency
		phases.add(p.Name, p.Clients.Sent(), p.Clients.Lost(), l.Quantile(.5), l.Quantile(.99), l.Quantile(.999), p.Reloads,
			q.Clients.Sent(), q.Clients.Lost(), m.Quantile(.5), m.Quantile(.99), m.Quantile(.999), q.Reloads)
	}
	took, tookPlain := sample(r.Withdrawals), sample(plain.Withdrawals)
	kinds := &table{
		title: fmt.Sprintf("%s: failed of sent; a withdrawal takes %.0f ms, at most %.0f, while requests of 2 s are running; plain: %.0f, at most %.0f", name,
			milliseconds(took.p50()), milliseconds(took.quantile(1)), milliseconds(tookPlain.p50()), milliseconds(tookPlain.quantile(1))),
		head: []string{"", "GET", "POST", "plain: GET", "POST"},
	}
	for class := range r.All.Classes {
		c, d := &r.All.Classes[class], &plain.All.Classes[class]
		kinds.add(loadgen.Class(class).String(), gets(c), posts(c), gets(d), posts(d))
	}
	for kind := range r.All.Counts {
		if k := loadgen.Kind(kind); k != loadgen.OK && r.All.Counts[k]+plain.All.Counts[k] > 0 {
			kinds.add(k.String(), r.All.Counts[k]-r.All.Posts[k], r.All.Posts[k], plain.All.Counts[k]-plain.All.Posts[k], plain.All.Posts[k])
		}
	}
	losses = append(losses, phases, kinds)
}

func gets(t *loadgen.Tally) string {
	return fmt.Sprintf("%d of %d", t.LostGets(), t.Sent()-t.SentPosts())
}
func posts(t *loadgen.Tally) string { return fmt.Sprintf("%d of %d", t.LostPosts(), t.SentPosts()) }

func printed(r *loadgen.Result) string {
	var out strings.Builder
	r.Print(&out)
	return out.String()
}
