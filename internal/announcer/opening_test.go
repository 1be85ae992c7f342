package announcer

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"rollcall/internal/check"
	"rollcall/internal/discovery"
	"rollcall/internal/discovery/docker"
)

func TestAlive(t *testing.T) {
	checked := label("rollcall.check", "http://:80/healthz")
	for name, tc := range map[string]struct {
		rules   Rules
		there   []docker.Container
		drained string
		down    bool
		want    map[string]string // id → why it is not announced
	}{
		"well":             {there: []docker.Container{container()}, want: map[string]string{web1: ""}},
		"stopped":          {there: []docker.Container{container(func(c *docker.Container) { c.State = "exited" })}, want: map[string]string{}},
		"ignored":          {there: []docker.Container{container(label("rollcall.ignore", "true"))}, want: map[string]string{}},
		"no port":          {there: []docker.Container{container(ports())}, want: map[string]string{}},
		"unhealthy":        {there: []docker.Container{container(func(c *docker.Container) { c.Health = "unhealthy" })}, want: map[string]string{web1: "health is unhealthy"}},
		"paused":           {there: []docker.Container{container(func(c *docker.Container) { c.State = "paused" })}, want: map[string]string{web1: "container is paused"}},
		"unanswered":       {there: []docker.Container{container(checked)}, want: map[string]string{web1: "check http://:80/healthz at 10.0.0.5:32768: has not answered yet"}},
		"failing":          {there: []docker.Container{container(checked)}, down: true, want: map[string]string{web1: "check http://:80/healthz at 10.0.0.5:32768: answered 503 Service Unavailable"}},
		"drained":          {there: []docker.Container{container()}, drained: web1, want: map[string]string{web1: errDrained.Error()}},
		"drained and ill":  {there: []docker.Container{container(func(c *docker.Container) { c.Health = "starting" })}, drained: web1, want: map[string]string{web1: errDrained.Error()}},
		"rivals, one is":   {there: []docker.Container{web("1", "web1", "32768", 0), web("2", "web1", "32769", 1)}, want: map[string]string{web1: ""}},
		"another is drain": {there: []docker.Container{container()}, drained: web2, want: map[string]string{web1: ""}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, rules())
			f.know(map[string]bool{tc.drained: true})
			f.observe(listed(tc.there...))
			if tc.down {
				for id := range f.checks.targets {
					f.checks.come(id, check.Down)
				}
			}
			got := map[string]string{}
			for id, s := range f.Alive() {
				got[id] = ""
				if s.Absent != nil {
					got[id] = Why(s.Absent)
				}
				if s.Weight != discovery.DefaultWeight {
					t.Errorf("%s has weight %d", id, s.Weight)
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// An openingCase is a start, in which things happen a second apart.
type openingCase struct {
	rules     func(*Rules)
	events    []func(*fixture)
	looks     []look
	renderers []acks
	unwritten bool

	took time.Duration // until it is over
	said string        // in the log
	wait string        // what it waits for after half a second, if it is not over
}

// nginx gives looks at the service of the tests' containers.
func nginx(instances ...*discovery.Instance) look {
	for _, i := range instances {
		i.Service = "nginx"
	}
	return look{9, instances}
}

func TestOpening(t *testing.T) {
	list := func(c ...docker.Container) func(*fixture) { return func(f *fixture) { f.observe(listed(c...)) } }
	one, two := running("core-01-web1", 5), running("core-01-web2", 9)
	sidekick := func(r *Rules) { r.Single = true }
	for name, tc := range map[string]openingCase{
		"routed already": {
			events: []func(*fixture){list(web("1", "web1", "80", 0))}, looks: []look{nginx(one)}, renderers: []acks{{ack("r1", 9, 9)}},
			said: "level=INFO msg=\"routed by every renderer\" instances=[nginx/core-01-web1] took=0s",
		},
		"routed later": {
			events: []func(*fixture){list(web("1", "web1", "80", 0))}, looks: []look{nginx(one)}, renderers: []acks{{ack("r1", 4, 4)}, {ack("r1", 5, 4)}},
			took: time.Second, said: "routed by every renderer", wait: "not every balancer is known to route to nginx/core-01-web1 yet",
		},
		"no renderer": {
			events: []func(*fixture){list(web("1", "web1", "80", 0))}, looks: []look{nginx(one)}, renderers: []acks{{ack("r1", 0, 0, covering("api"))}},
			said: "there is nobody to wait for\" instances=[nginx/core-01-web1] uncovered=[nginx]",
		},
		"too late": {
			events: []func(*fixture){list(web("1", "web1", "80", 0))}, looks: []look{nginx(one)}, renderers: []acks{{ack("r1", 9, 9), ack("r2", 4, 4)}},
			took: 30 * time.Second, wait: "not every balancer is known to route to nginx/core-01-web1 yet",
			said: "level=WARN msg=\"ready, although not every balancer is known to route to what is here\" reasons=\"not confirmed by r2 on lb, which has applied revision 4 of 5\" waited=30s",
		},
		"not announced": {
			events: []func(*fixture){list(web("1", "web1", "80", 0), container(called("web2"), func(c *docker.Container) { c.ID, c.Health = "2", "unhealthy" }))},
			looks:  []look{nginx(one)}, renderers: []acks{{ack("r1", 9, 9)}},
			took: 30 * time.Second, said: `reasons="nginx/core-01-web2 is not announced: health is unhealthy" waited=30s`,
			wait: "not every balancer is known to route to nginx/core-01-web1, nginx/core-01-web2 yet",
		},
		"nothing is there":     {events: []func(*fixture){list()}, said: "ready without waiting: nothing is here"},
		"a drained one":        {events: []func(*fixture){func(f *fixture) { f.know(map[string]bool{web1: true}) }, list(web("1", "web1", "80", 0))}, took: time.Second, said: "nothing is here", wait: "it is not known yet what balancers are to route to"},
		"one of weight 0":      {events: []func(*fixture){list(container(label("rollcall.weight", "0")))}, said: "nothing is here"},
		"docker never answers": {took: 30 * time.Second, said: `reasons="docker has not listed its containers yet"`, wait: "it is not known yet what balancers are to route to"},
		"its container comes later": {
			rules: sidekick, events: []func(*fixture){list(), func(f *fixture) { f.observe(changed(container(called("core-01-web1")))) }},
			looks: []look{nginx(one)}, renderers: []acks{{ack("r1", 5, 5)}},
			took: time.Second, said: "routed by every renderer", wait: "it is not known yet what balancers are to route to",
		},
		"its container never comes": {
			rules: sidekick, events: []func(*fixture){list()},
			took: 30 * time.Second, said: `reasons="the container is not there"`, wait: "it is not known yet what balancers are to route to",
		},
		"its container has no port": {
			rules: sidekick, events: []func(*fixture){list(container(ports()))},
			took: 30 * time.Second, said: `reasons="nothing of web1 is announced: `, wait: "it is not known yet what balancers are to route to",
		},
		"one goes meanwhile": {
			events: []func(*fixture){list(web("1", "web1", "80", 0), web("2", "web2", "81", 0)), func(f *fixture) { f.observe(gone("2")) }},
			looks:  []look{nginx(one)}, renderers: []acks{{ack("r1", 5, 5)}},
			took: time.Second, said: "instances=[nginx/core-01-web1]", wait: "nginx/core-01-web1, nginx/core-01-web2",
		},
		"one is drained meanwhile": {
			events: []func(*fixture){list(web("1", "web1", "80", 0)), func(f *fixture) { f.know(map[string]bool{web1: true}) }},
			looks:  []look{nginx()}, took: time.Second, said: "nothing is here", wait: "nginx/core-01-web1",
		},
		"one more comes meanwhile": {
			events: []func(*fixture){list(web("1", "web1", "80", 0)), func(f *fixture) { f.observe(changed(web("2", "web2", "81", 0))) }},
			looks:  []look{nginx(one)}, renderers: []acks{{ack("r1", 4, 4)}, {ack("r1", 4, 4)}, {ack("r1", 5, 5)}},
			took: 2 * time.Second, said: "instances=[nginx/core-01-web1]", wait: "nginx/core-01-web1 yet",
		},
		"not written": {
			events: []func(*fixture){list(web("1", "web1", "80", 0))}, looks: []look{nginx(one, two)}, renderers: []acks{{ack("r1", 9, 9)}}, unwritten: true,
			took: 30 * time.Second, said: `reasons="etcd is away"`, wait: "nginx/core-01-web1",
		},
	} {
		t.Run(name, func(t *testing.T) { synctest.Test(t, tc.run) })
	}
}

func (tc openingCase) run(t *testing.T) {
	r := rules()
	if tc.rules != nil {
		tc.rules(&r)
	}
	f := newFixture(t, r)
	f.know(nil)
	log := &bytes.Buffer{}
	o := &Opening{
		Announcer: f.Announcer, Waiter: waiter(tc.renderers, tc.looks), Limit: 30 * time.Second, Logger: slog.New(slog.NewTextHandler(log, nil)),
		Written: func() error {
			if tc.unwritten {
				return errors.New("etcd is away")
			}
			return nil
		},
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	began := time.Now()
	done := make(chan error, 1)
	go func() {
		for n, e := range tc.events {
			if n > 0 {
				<-time.After(time.Second)
			}
			e(f)
		}
	}()
	synctest.Wait()
	go func() { done <- o.Run(ctx) }()
	over := time.Duration(-1)
	for step := time.Duration(0); step <= 31*time.Second && over < 0; step += 100 * time.Millisecond {
		synctest.Wait()
		err := o.Check()
		if err == nil {
			over = time.Since(began)
		}
		if step == 500*time.Millisecond && (tc.wait == "" || err == nil || !strings.Contains(err.Error(), tc.wait)) {
			t.Errorf("after %s: %v, want %q", step, err, tc.wait)
		}
		<-time.After(100 * time.Millisecond)
	}
	if over < tc.took || over > tc.took+200*time.Millisecond {
		t.Errorf("over after %s, want %s", over, tc.took)
	}
	if !strings.Contains(log.String(), tc.said) || strings.Count(log.String(), "\n") != 1 {
		t.Errorf("log:\n%swant %s", log, tc.said)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Run: %v", err)
	}
}

// Whoever is told to stop says nothing of what it waited for.
func TestOpeningIsStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, rules())
		f.know(nil)
		f.observe(listed(container()))
		log := &bytes.Buffer{}
		o := &Opening{
			Announcer: f.Announcer, Waiter: waiter([]acks{{ack("r1", 0, 0)}}, []look{nginx(running("core-01-web1", 5))}),
			Written: func() error { return nil }, Limit: time.Hour, Logger: slog.New(slog.NewTextHandler(log, nil)),
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := o.Run(ctx); !errors.Is(err, context.DeadlineExceeded) || log.Len() > 0 {
			t.Errorf("Run: %v, log:\n%s", err, log)
		}
	})
}

func TestFew(t *testing.T) {
	names := strings.Split("abcdefghijkl", "")
	for n, want := range map[int]string{0: "", 1: "a", 10: "a b c d e f g h i j", 12: "a b c d e f g h i j and 2 more"} {
		if got := strings.Join(few(names[:n]), " "); got != want {
			t.Errorf("%d: got %q, want %q", n, got, want)
		}
	}
}
