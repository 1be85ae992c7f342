package main

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"rollcall/internal/announcer"
	"rollcall/internal/cli"
	"rollcall/internal/discovery"
	"rollcall/internal/discovery/etcd"
)

// A room is an etcd with an announcer's records and renderers' acknowledgements in it.
type room struct {
	t        *testing.T
	ctx      context.Context
	client   *etcd.Client
	endpoint string
	logger   *slog.Logger
	registry *etcd.Registry
}

func newRoom(t *testing.T) *room {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	t.Cleanup(cancel)
	r := &room{t: t, ctx: ctx, logger: slog.New(slog.DiscardHandler)}
	server, err := etcd.StartServer(ctx, t.TempDir(), []string{"http://127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	r.endpoint = server.Endpoints()[0]
	if r.client, err = etcd.Open(ctx, etcd.Config{Endpoints: server.Endpoints()}, r.logger); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.client.Close() })
	r.registry, err = etcd.NewRegistry(r.client, etcd.RegistryConfig{Prefix: "/services", TTL: time.Minute, Logger: r.logger, Registerer: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	r.run(r.registry.Run)
	return r
}

// run runs a loop until the test is over.
func (r *room) run(loop func(context.Context) error) {
	ctx, stop := context.WithCancel(r.ctx)
	var running sync.WaitGroup
	running.Go(func() { _ = loop(ctx) })
	r.t.Cleanup(func() { stop(); running.Wait() })
}

// announce has these instances, and no others, in etcd.
func (r *room) announce(instances ...*discovery.Instance) {
	r.t.Helper()
	records := map[string]discovery.Record{}
	for _, i := range instances {
		i.Host, i.Port, i.Proto = "10.0.0.5", 80, "tcp"
		record, err := discovery.Encode("/services", discovery.LayoutJSON, i)
		if err != nil {
			r.t.Fatal(err)
		}
		records[i.ID()] = record
	}
	r.registry.Set(records, nil)
	if err := r.registry.Settled(r.ctx); err != nil {
		r.t.Fatal(err)
	}
}

// renderer gives one whose acknowledgement is changed with what it gives.
func (r *room) renderer(id string) func(change func(*discovery.Acknowledgement)) {
	acks := etcd.NewAcknowledger(r.client, r.logger)
	r.run(acks.Run)
	a := discovery.Acknowledgement{ID: id, Node: "lb", Prefix: "/services", Healthy: true}
	return func(change func(*discovery.Acknowledgement)) {
		r.t.Helper()
		change(&a)
		acks.Set(a)
		for { // until it is there
			list, err := etcd.ListRenderers(r.ctx, r.client, r.logger)
			if err != nil {
				r.t.Fatal(err)
			}
			for _, other := range list {
				if other.ID == id && cmp.Equal(*other, a) {
					return
				}
			}
		}
	}
}

func (r *room) called(args ...string) call {
	return called(nil, append(args, "--endpoints", r.endpoint)...)
}

func instance(service, name string, weight int) *discovery.Instance {
	return &discovery.Instance{Service: service, Name: name, Weight: weight}
}

// far is a revision that no test's etcd comes to.
const far = 1 << 40

// A request that runs on to one instance is no business of another's withdrawal.
func TestGoneIsOfOneInstance(t *testing.T) {
	r := newRoom(t)
	r.announce(instance("web", "a", 100), instance("web", "b", 100))
	r.renderer("r1")(func(a *discovery.Acknowledgement) {
		a.Applied, a.Finished, a.Drained, a.Busy = far, far, 1, []string{"web/b"}
	})
	rest := map[string]*discovery.Instance{"web/a": instance("web", "a", 100), "web/b": instance("web", "b", 100)}
	for _, tc := range []struct {
		id   string
		want call
	}{
		{"web/a", call{0, "web/a is drained (confirmed by 1 renderer)\n", ""}},
		{"web/b", call{1, "", "announce drain: not confirmed by r1 on lb, which still has requests running to web/b: not within 2s\n" +
			"   hint: --timeout gives it longer; `announce list` shows who routes to what\n"}},
	} {
		done := make(chan call, 1)
		go func() { done <- r.called("drain", tc.id, "--timeout", "2s") }()
		for ordered := false; !ordered; {
			drains, err := etcd.ListDrains(r.ctx, r.client)
			if err != nil {
				t.Fatal(err)
			}
			_, ordered = drains[tc.id]
		}
		delete(rest, tc.id) // as an announcer obeys
		r.announce(slices.Collect(maps.Values(rest))...)
		if diff := cmp.Diff(tc.want, <-done, cmp.AllowUnexported(call{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.id, diff)
		}
	}
	if got, want := r.called("wait", "--gone", "web/a").stdout, "web/a is gone (confirmed by 1 renderer)\n"; got != want {
		t.Errorf("wait --gone says %q, want %q", got, want)
	}
}

// The sequence of an announcer's end, with the parts of etcd as they are: requests of others,
// of this one's, and at last none.
func TestWithdrawalWaitsForItsOwn(t *testing.T) {
	r := newRoom(t)
	acknowledge := r.renderer("r1")
	r.announce(instance("web", "ill", 100), instance("web", "dead", 100), instance("web", "a", 100), instance("api", "dead", 100))
	r.announce(instance("web", "a", 100))
	deleted, err := r.registry.Withdraw(r.ctx)
	if err != nil {
		t.Fatal(err)
	}
	removed, dead := removals(deleted, r.registry.Ended(), map[string]announcer.Standing{"web/a": {}, "web/ill": {}, "db/never": {}})
	newest := deleted["web/a"]
	if diff := cmp.Diff(map[string]int64{"web/a": newest, "web/ill": newest}, removed); diff != "" || dead["web"] != newest || dead["api"] == 0 || len(dead) != 2 {
		t.Fatalf("dead: %v, removed (-want +got):\n%s", dead, diff)
	}
	o := &options{connection: &connection{prefix: "/services", logger: r.logger}}
	for _, step := range []struct {
		change func(*discovery.Acknowledgement)
		want   string // who is behind; "" when nobody is
	}{
		{func(a *discovery.Acknowledgement) { a.Applied = newest - 1 }, "has applied revision"},
		{func(a *discovery.Acknowledgement) { a.Applied, a.Finished = newest, newest-1 }, "has drained revision"},
		{func(a *discovery.Acknowledgement) { a.Finished, a.Busy = newest, []string{"web/ill"} }, "still has requests running to web/ill"},
		{func(a *discovery.Acknowledgement) {
			a.Busy, a.Held = []string{"web/dead", "api/dead"}, []string{"web/a"}
		}, "still holds web/a"},
		{func(a *discovery.Acknowledgement) { a.Held = nil }, ""},
	} {
		acknowledge(step.change)
		ctx, cancel := context.WithTimeout(r.ctx, 300*time.Millisecond)
		if step.want == "" {
			cancel()
			ctx, cancel = context.WithCancel(r.ctx)
		}
		n, err := o.waiter(r.client).Drained(ctx, removed, dead)
		cancel()
		if step.want == "" && (err != nil || n != 1) || step.want != "" && (err == nil || !strings.Contains(err.Error(), step.want)) {
			t.Errorf("got %d, %v, want %q", n, err, step.want)
		}
	}
}

func TestWeightless(t *testing.T) {
	r := newRoom(t)
	r.announce(instance("web", "a", 0), instance("web", "b", 100), instance("none", "a", 0))
	r.renderer("r1")(func(a *discovery.Acknowledgement) { a.Applied, a.Finished, a.Drained = far, far, far })
	const hint = "\n   hint: its rollcall.weight says so; 0 means no new requests\n"
	for id, want := range map[string]call{
		"web/a": {1, "", "announce wait: web/a has weight 0: no balancer sends it anything" + hint},
		"web/b": {0, "web/b is routed (confirmed by 1 renderer)\n", ""},
		"web":   {0, "web is routed (confirmed by 1 renderer)\n", ""},
		"none":  {1, "", "announce wait: all of none has weight 0: no balancer sends it anything" + hint},
	} {
		if diff := cmp.Diff(want, r.called("wait", "--routed", id), cmp.AllowUnexported(call{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", id, diff)
		}
	}
	if got := r.called("resume", "web/a"); got.code != cli.ExitOK || got.stdout != "the order is lifted; web/a is announced, and has weight 0: no balancer sends it anything\n" {
		t.Errorf("resume: %+v", got)
	}
}

// Nobody is waited for, and that is said.
func TestWithoutRenderers(t *testing.T) {
	r := newRoom(t)
	r.announce(instance("web", "a", 100))
	r.renderer("r1")(func(a *discovery.Acknowledgement) { a.Services = []string{"api"} })
	want := call{0, "web/a is routed (no renderer covers it, so there was nobody to wait for)\n", ""}
	if diff := cmp.Diff(want, r.called("wait", "web/a"), cmp.AllowUnexported(call{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestCompletion(t *testing.T) {
	r := newRoom(t)
	r.announce(instance("web", "a", 100), instance("web", "b", 100), instance("api", "a", 100))
	if err := etcd.Drain(r.ctx, r.client, "web", "kept-out", &discovery.Drain{By: "test"}); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"ETCDCTL_ENDPOINTS": r.endpoint}
	for _, tc := range []struct {
		args string
		env  map[string]string
		want string
	}{
		{"drain w", env, "web/a web/b"},
		{"drain web/b", env, "web/b"},
		{"drain web/a x", env, ""},
		{"resume ", env, "web/kept-out"},
		{"wait web", env, "web web/a web/b"},
		{"list ", env, "api web"},
		{"list --endpoints " + r.endpoint + " a", nil, "api"},
		{"drain web/", map[string]string{"ETCDCTL_ENDPOINTS": "http://127.0.0.1:1"}, ""},
		{"drain web/", map[string]string{"ETCDCTL_ENDPOINTS": "ftp://127.0.0.1:1"}, ""},
		{"drain --prefix /nothing/here w", env, ""},
	} {
		began := time.Now()
		got := called(tc.env, append([]string{"__complete"}, strings.Split(tc.args, " ")...)...)
		words, _, _ := strings.Cut(got.stdout, ":") // ":4", what the shell is to do beside
		if words = strings.Join(strings.Fields(words), " "); words != tc.want || got.code != cli.ExitOK || !strings.HasSuffix(got.stdout, ":4\n") {
			t.Errorf("%s: %q, code %d, want %q\n%s", tc.args, got.stdout, got.code, tc.want, got.stderr)
		}
		if strings.Contains(got.stderr, "level=") || time.Since(began) > 20*time.Second {
			t.Errorf("%s: took %s and says\n%s", tc.args, time.Since(began), got.stderr)
		}
	}
}
