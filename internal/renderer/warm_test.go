package renderer

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"rollcall/internal/discovery"
	"rollcall/internal/inputs"
	"rollcall/internal/templates"
)

// TestRenderingIsNotStale takes a renderer through random catalogs, which share what is
// the same as real ones do. What it has kept of the earlier ones shows nowhere: one that
// has seen none of them gives the same.
func TestRenderingIsNotStale(t *testing.T) {
	for _, proxy := range []string{"nginx", "apache", "haproxy"} {
		t.Run(proxy, func(t *testing.T) {
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			random := rand.New(rand.NewPCG(seed, 0))
			fresh := func() (*Renderer, *input) {
				builtin, err := templates.Builtin(proxy)
				if err != nil {
					t.Fatal(err)
				}
				return New(Config{
					Balancer: templates.Balancer{Proxy: proxy, Listen: []string{":80"}, Settings: templates.DefaultSettings()},
					Routing:  Routing{Routes: []Route{{Path: "/shop", Service: "service-1"}}, TCP: []TCPRoute{{Listen: ":5432", Service: "service-2"}}},
					Outputs:  []string{"/none"}, Logger: quiet(), Registerer: prometheus.NewRegistry(),
				}), &input{Set: &inputs.Set{Templates: []*templates.Template{builtin}}}
			}
			warm, warmIn := fresh()
			services := map[string]*discovery.Service{}
			for revision := range int64(150) {
				name := fmt.Sprintf("service-%d", random.IntN(6))
				delete(services, name)
				var members []*discovery.Instance
				for i := range random.IntN(4) {
					m := member(fmt.Sprintf("%s/core-%d", name, i), fmt.Sprintf("10.0.0.%d", 1+random.IntN(3)), 80, revised(revision+1))
					m.Weight, m.Version = 100*random.IntN(2), fmt.Sprint(random.IntN(3))
					if random.IntN(3) == 0 {
						m.Hosts = []string{fmt.Sprintf("host-%d.example", random.IntN(3))}
					}
					members = append(members, m)
				}
				if len(members) > 0 {
					services[name] = catalog(1, members...).Services[0]
				}
				c := &discovery.Catalog{Revision: revision + 1}
				for _, s := range services {
					c.Services = append(c.Services, s)
				}
				slices.SortFunc(c.Services, func(x, y *discovery.Service) int { return strings.Compare(x.Name, y.Name) })

				cold, coldIn := fresh()
				cold.good, cold.last = warm.good, warm.last // the past belongs to the answer
				want, err := cold.compose(c, coldIn)
				if err != nil {
					t.Fatal(err)
				}
				got, err := warm.render(c, c, warmIn)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(string(want.candidate.Files[0].Content), string(got.candidate.Files[0].Content)); diff != "" {
					t.Fatalf("revision %d (-cold +warm):\n%s", c.Revision, diff)
				}
				if diff := cmp.Diff(want.candidate.Assets, got.candidate.Assets); diff != "" || want.candidate.Generation != got.candidate.Generation {
					t.Fatalf("revision %d: generations %s and %s, assets (-cold +warm):\n%s", c.Revision, want.candidate.Generation, got.candidate.Generation, diff)
				}
				warm.good, warm.last = got, got
			}
		})
	}
}
