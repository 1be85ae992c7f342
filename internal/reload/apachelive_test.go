package reload

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"rollcall/internal/templates"
)

const liveSecret = "0123456789abcdef0123456789abcdef"

// A liveApache is Apache with the built-in configuration, and what its members should be.
type liveApache struct {
	*fixture
	tx     *Transaction
	driver *Apache
	master *Supervisor
	b      templates.Balancer
	last   Members
}

func newLiveApache(t testing.TB, change ...func(*templates.Balancer)) *liveApache {
	f := newFixture(t, "apache")
	a := &liveApache{fixture: f, b: templates.Balancer{
		Proxy: "apache", Standalone: true, Members: liveSecret, Settings: templates.DefaultSettings(), Modules: modules(f.program),
		Listen: []string{f.listen}, Control: f.control, PidFile: f.pidFile, ErrorLog: "stderr", RunDir: f.dir,
		Upstreams: []templates.Upstream{{Name: "api"}, {Name: "web"}},
		Hosts:     []templates.VirtualHost{{Name: "web.example", Routes: []templates.Route{{Path: "/api", Upstream: "api"}, {Upstream: "web"}}}},
		Default:   templates.VirtualHost{Routes: []templates.Route{{Path: "/web", Upstream: "web"}}},
	}}
	a.b.Side = filepath.Join(f.dir, "side")
	if os.Getuid() == 0 {
		a.b.User, a.b.Group = "www-data", "www-data"
	}
	for _, c := range change {
		c(&a.b)
	}
	a.master, _ = f.supervise()
	driver, err := NewApache(ApacheConfig{Main: f.main, Control: f.control, Program: f.program, Master: a.master, Members: liveSecret, Side: a.b.Side})
	if err != nil {
		t.Fatal(err)
	}
	a.driver = driver
	a.tx = New(Config{Proxy: driver, Logger: f.log, Timeouts: Timeouts{Confirm: 15 * time.Second}})
	t.Cleanup(func() { a.tx.Close() })
	a.reload()
	return a
}

// reload has Apache read a configuration with the members as they should be.
func (a *liveApache) reload() {
	a.t.Helper()
	tmpl, err := templates.Builtin("apache")
	if err != nil {
		a.t.Fatal(err)
	}
	out, err := tmpl.Render(a.b)
	if err != nil {
		a.t.Fatal(err)
	}
	a.last = Members{Structure: out.Structure}
	places := a.b.ApachePlaces()
	for _, u := range a.b.Upstreams {
		p := &Pool{Name: u.Name, Places: places[u.Name]}
		for _, s := range u.Servers {
			p.Members = append(p.Members, Member{s.Name, s.Address, s.Weight})
		}
		a.last.Pools = append(a.last.Pools, p)
	}
	_, err = a.tx.Apply(a.t.Context(), Candidate{Generation: out.Generation, Files: []File{{Path: a.main, Content: out.Content, Private: true}}})
	if err != nil {
		a.t.Fatalf("apply: %v\n%s", err, outputOf(err))
	}
}

// want says who the members of a pool should be: names, addresses and weights.
func (a *liveApache) want(pool string, members ...Member) {
	i := slices.IndexFunc(a.b.Upstreams, func(u templates.Upstream) bool { return u.Name == pool })
	p := *a.last.Pools[i]
	p.Members = members
	a.last.Pools = slices.Clone(a.last.Pools)
	a.last.Pools[i] = &p
	a.b.Upstreams = slices.Clone(a.b.Upstreams)
	a.b.Upstreams[i].Servers = nil
	for _, m := range members {
		a.b.Upstreams[i].Servers = append(a.b.Upstreams[i].Servers, templates.Server{Name: m.Name, Address: m.Address, Weight: m.Weight})
	}
}

// sync has Apache's members made so, and checks how many had to be changed.
func (a *liveApache) sync(readBack bool, want int) {
	a.t.Helper()
	got, err := a.driver.Sync(a.t.Context(), a.last, readBack)
	if err != nil || got != want {
		a.t.Fatalf("sync: got %d changed, %v; want %d", got, err, want)
	}
}

// answers lists who answers to n requests, sorted.
func (a *liveApache) answers(n int) string {
	a.t.Helper()
	seen := map[string]bool{}
	for range n {
		got, err := a.get(a.t.Context(), "/", nil)
		if err != nil {
			a.t.Fatal(err)
		}
		seen[got] = true
	}
	var names []string
	for name := range seen {
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

func (a *liveApache) get(ctx context.Context, path string, header http.Header) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+a.listen+path, nil)
	if err != nil {
		return "", err
	}
	req.Host, req.Header = "web.example", header
	return answer(&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}, req)
}

// A namedBackend answers with its name. /slow waits until it is released.
type namedBackend struct {
	Member
	entered, release chan struct{}
	server           *httptest.Server
	running          atomic.Int64
}

func newNamedBackend(t testing.TB, name string) *namedBackend {
	b := &namedBackend{entered: make(chan struct{}, 16), release: make(chan struct{})}
	ended := make(chan struct{}) // a test that has failed releases nobody
	b.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.running.Add(1)
		defer b.running.Add(-1)
		if strings.HasSuffix(r.URL.Path, "/slow") {
			b.entered <- struct{}{}
			select {
			case <-b.release:
			case <-ended:
			}
		}
		fmt.Fprint(w, name)
	}))
	t.Cleanup(func() {
		close(ended)
		b.server.Close()
	})
	b.Member = Member{name, b.server.Listener.Addr().String(), 100}
	return b
}

func (m Member) weighing(weight int) Member {
	m.Weight = weight
	return m
}

func TestApacheMembersChangeLive(t *testing.T) {
	t.Parallel()
	a := newLiveApache(t)
	one, two, three := newNamedBackend(t, "one"), newNamedBackend(t, "two"), newNamedBackend(t, "three")
	a.sync(false, 0)
	if got := a.answers(1); !strings.HasPrefix(got, "503 ") {
		t.Errorf("without members: got %q, want 503", got)
	}
	for _, step := range []struct {
		what    string
		members []Member
		changed int
		answers string
	}{
		{"join", []Member{one.Member}, 1, "one"},
		{"another joins", []Member{one.Member, two.Member}, 1, "one two"},
		{"the weight changes", []Member{one.Member, two.weighing(30)}, 1, "one two"},
		{"weight 0", []Member{one.Member, two.weighing(0)}, 1, "one"},
		{"back", []Member{one.Member, two.Member}, 1, "one two"},
		{"one leaves", []Member{two.Member}, 1, "two"},
		{"the address changes", []Member{{"two", three.Address, 100}}, 2, "three"},
		{"both are back", []Member{one.Member, three.Member, two.Member}, 2, "one three two"},
		{"two large weights", []Member{one.weighing(256), two.weighing(128)}, 2, "one two"},
		{"all leave", nil, 2, "503 "},
	} {
		a.want("web", step.members...)
		a.sync(false, step.changed)
		if got := a.answers(12); got != step.answers && (step.answers != "503 " || !strings.HasPrefix(got, step.answers)) {
			t.Errorf("%s: got answers of %q, want %q", step.what, got, step.answers)
		}
		a.sync(true, 0)
	}
	generation, err := a.driver.Running(t.Context())
	if err != nil || generation.Structure != a.last.Structure {
		t.Errorf("got %+v, %v; want structure %s", generation, err, a.last.Structure)
	}
	// The file says the same, and with it there is room again.
	a.want("web", one.Member, two.weighing(50))
	a.reload()
	a.sync(true, 0)
	if got := a.answers(12); got != "one two" {
		t.Errorf("after a reload: got answers of %q", got)
	}
}

func TestApacheShares(t *testing.T) {
	t.Parallel()
	a := newLiveApache(t)
	one, two := newNamedBackend(t, "one"), newNamedBackend(t, "two")
	a.want("web", one.weighing(20), two.weighing(60))
	a.sync(false, 2)
	got := map[string]int{}
	for range 40 {
		name, err := a.get(t.Context(), "/", nil)
		if err != nil {
			t.Fatal(err)
		}
		got[name]++
	}
	if got["one"] < 8 || got["one"] > 12 || got["one"]+got["two"] != 40 {
		t.Errorf("got %v, want 10 and 30", got)
	}
}

// TestApacheLosesNoRequest changes members under clients that do not stop to ask.
func TestApacheLosesNoRequest(t *testing.T) {
	t.Parallel()
	a := newLiveApache(t)
	var backends []Member
	for i := range 4 {
		backends = append(backends, newNamedBackend(t, fmt.Sprint("b", i)).Member)
	}
	a.want("web", backends[0])
	a.sync(false, 1)
	ctx, cancel := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	var asked, failed atomic.Int64
	for i := range 4 {
		clients.Go(func() {
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: i%2 == 0}}
			defer client.CloseIdleConnections()
			for ctx.Err() == nil {
				req, err := http.NewRequest([]string{"GET", "POST"}[i/2], "http://"+a.listen+"/", strings.NewReader("body"))
				if err != nil {
					t.Error(err)
					return
				}
				req.Host = "web.example"
				asked.Add(1)
				if got, err := answer(client, req); err != nil || !strings.HasPrefix(got, "b") {
					failed.Add(1)
					t.Errorf("got %q, %v", got, err)
				}
			}
		})
	}
	for i := range 60 {
		members := []Member{backends[i%4].weighing(1 + i)}
		if i%3 > 0 {
			members = append(members, backends[(i+1)%4])
		}
		slices.SortFunc(members, func(x, y Member) int { return strings.Compare(x.Name, y.Name) })
		a.want("web", members...)
		if _, err := a.driver.Sync(t.Context(), a.last, i%10 == 0); err != nil {
			t.Fatal(err)
		}
		at := asked.Load()
		eventually(t, "clients ask", func() bool { return asked.Load() > at+20 || t.Failed() })
	}
	cancel()
	clients.Wait()
	t.Logf("%d requests, %d failed", asked.Load(), failed.Load())
}

func TestApacheSecondSyncAsksNothing(t *testing.T) {
	t.Parallel()
	a := newLiveApache(t)
	one := newNamedBackend(t, "one")
	a.want("web", one.Member)
	a.sync(false, 1)
	a.byHand("web", "w=ws://"+one.Address+"&w_status_D=1")
	a.sync(false, 0) // nobody has looked
	if got := a.answers(1); !strings.HasPrefix(got, "503 ") {
		t.Fatalf("got %q, want 503", got)
	}
	a.sync(true, 1)
	if got := a.answers(4); got != "one" {
		t.Errorf("after all was read back: got %q", got)
	}
	stranger := newNamedBackend(t, "stranger")
	a.byHand("web", "b_nwrkr=http://"+stranger.Address+"&b_wyes=1")
	a.byHand("web", "w=http://"+stranger.Address+"&w_status_D=0")
	a.byHand("web", "w=ws://"+one.Address+"&w_lf=7&w_status_S=1&w_status_H=1")
	a.byHand("web", "b_max=9")
	a.sync(true, 2)
	if got := a.answers(8); got != "one" {
		t.Errorf("after all was read back again: got %q", got)
	}
}

// byHand does what somebody may with the manager's page.
func (a *liveApache) byHand(pool, change string) {
	a.t.Helper()
	balancer := templates.Upstream{Name: pool}.BalancerName()
	if doubled, err := a.driver.live.side.doubled(); err != nil {
		a.t.Fatal(err)
	} else if doubled {
		balancer = templates.ApacheDouble + balancer
	}
	body := strings.NewReader("b=" + balancer + "&nonce=" + liveSecret[8:] + "&" + change)
	req, err := http.NewRequestWithContext(a.t.Context(), http.MethodPost, "http://"+a.listen+a.b.ApacheManager(), body)
	if err != nil {
		a.t.Fatal(err)
	}
	req.Host = "web.example"
	req.Header = http.Header{"X-Rollcall-Members": {liveSecret[8:]}, "Referer": {"http://web.example/"}, "Content-Type": {"application/x-www-form-urlencoded"}}
	if got, err := answer(http.DefaultClient, req); err != nil || !strings.Contains(got, "Load Balancer Manager") {
		a.t.Fatalf("by hand: got %q, %v", got, err)
	}
}

func TestApacheRunsOutOfRoom(t *testing.T) {
	t.Parallel()
	a := newLiveApache(t)
	var members []Member
	for i := range a.b.ApacheGrowth() + 1 {
		members = append(members, Member{fmt.Sprintf("m%02d", i), fmt.Sprintf("127.0.0.1:%d", 1+i), 100})
	}
	a.want("web", members[1:]...)
	a.sync(false, len(members)-1)
	a.want("web", members...)
	if _, err := a.driver.Sync(t.Context(), a.last, false); !errors.Is(err, ErrNeedsReload) {
		t.Fatalf("one more than there is room for: got %v, want ErrNeedsReload", err)
	}
	a.reload()
	a.sync(true, 0)
	a.want("web", append(members, Member{"n", "127.0.0.1:999", 1})...)
	a.sync(false, 1)
}

func TestApacheOfAnotherStructure(t *testing.T) {
	t.Parallel()
	a := newLiveApache(t)
	for _, structure := range []string{"", "0123456789ab"} {
		want := a.last
		want.Structure = structure
		if _, err := a.driver.Sync(t.Context(), want, false); !errors.Is(err, ErrNeedsReload) {
			t.Errorf("structure %q: got %v, want ErrNeedsReload", structure, err)
		}
	}
	a.want("web", Member{"one", "127.0.0.1:1", 1})
	a.last.Pools[1].Places = []string{"http://web.example@" + a.listen + "/rollcall-www"}
	if _, err := a.driver.Sync(t.Context(), a.last, false); !errors.Is(err, ErrNeedsReload) {
		t.Errorf("a balancer that is not there: got %v, want ErrNeedsReload", err)
	}
	a.last.Pools[1].Places = []string{"http://web.example@127.0.0.1:1/rollcall-web"}
	_, err := a.driver.Sync(t.Context(), a.last, false)
	if !errors.Is(err, ErrNeedsReload) || strings.Contains(err.Error(), liveSecret[8:]) {
		t.Errorf("nobody there: got %v, want ErrNeedsReload and no secret", err)
	}
}

// answer gives the body, with the status in front unless it is 200.
func answer(client *http.Client, req *http.Request) (string, error) {
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusOK {
		return resp.Status + " " + string(body), err
	}
	return string(body), err
}
