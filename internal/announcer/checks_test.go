package announcer

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"rollcall/internal/check"
	"rollcall/internal/discovery"
	"rollcall/internal/discovery/docker"
)

func TestDecideCheck(t *testing.T) {
	two := ports(published(53, "udp", "0.0.0.0:3"), published(80, "tcp", "0.0.0.0:1"), published(8080, "tcp", "0.0.0.0:2"), published(9090, "tcp"))
	for name, tc := range map[string]struct {
		rules     flags
		container says
		want      string
	}{
		"none":                {nil, nil, ""},
		"by label":            {nil, says{label("rollcall.check", "http:///up")}, "http:///up at 10.0.0.5:32768 every 2s in 1s, 2 up 3 down"},
		"by flag":             {flags{flag("check", "tcp://"), flag("check.rise", "5")}, says{label("rollcall.check", "http:///up")}, "tcp:// at 10.0.0.5:32768 every 2s in 1s, 5 up 3 down"},
		"its own port":        {nil, says{label("rollcall.check", "tcp://:80")}, "tcp://:80 at 10.0.0.5:32768 every 2s in 1s, 2 up 3 down"},
		"another port":        {nil, says{two, label("rollcall.port", "80", "rollcall.check", "http://:8080/healthz")}, "http://:8080/healthz at 10.0.0.5:2 every 2s in 1s, 2 up 3 down"},
		"of udp, by tcp":      {nil, says{two, label("rollcall.port", "53/udp", "rollcall.check", "tcp://:8080")}, "tcp://:8080 at 10.0.0.5:2 every 2s in 1s, 2 up 3 down"},
		"of udp":              {nil, says{two, label("rollcall.port", "53/udp", "rollcall.check", "tcp://")}, "label rollcall.check, tcp://: port 53/udp cannot be asked that way: name a tcp port in it"},
		"unpublished":         {nil, says{two, label("rollcall.port", "80", "rollcall.check", "tcp://:9090")}, "label rollcall.check, tcp://:9090: port 9090 is not published: publish it (docker run -p), or use --internal"},
		"internal":            {nil, says{two, label("rollcall.port", "80", "rollcall.check", "tcp://:9090", "rollcall.internal", "true")}, "tcp://:9090 at 172.17.0.2:9090 every 2s in 1s, 2 up 3 down"},
		"timing by label":     {nil, says{label("rollcall.check", "tcp://", "rollcall.check.interval", "10s", "rollcall.check.timeout", "5s", "rollcall.80.check.fall", "1")}, "tcp:// at 10.0.0.5:32768 every 10s in 5s, 2 up 1 down"},
		"by variables":        {nil, says{env("ROLLCALL_CHECK", "tcp://", "ROLLCALL_80_CHECK_INTERVAL", "3s")}, "tcp:// at 10.0.0.5:32768 every 3s in 1s, 2 up 3 down"},
		"of registrator":      {nil, says{env("SERVICE_CHECK_HTTP", "/up", "SERVICE_CHECK_INTERVAL", "15s")}, "http:///up at 10.0.0.5:32768 every 15s in 1s, 2 up 3 down"},
		"of registrator, udp": {nil, says{two, label("rollcall.port", "53/udp"), env("SERVICE_CHECK_TCP", "true")}, ""},
		"taken back":          {nil, says{label("rollcall.check", " ")}, ""},
		"no check at all":     {nil, says{label("rollcall.check", "8080")}, `label rollcall.check: `},
		"no duration":         {nil, says{label("rollcall.check", "tcp://", "rollcall.check.interval", "often")}, `label rollcall.check.interval "often" is not a duration such as 2s`},
		"no number":           {nil, says{label("rollcall.check", "tcp://", "rollcall.check.rise", "soon")}, `label rollcall.check.rise "soon" is not a number`},
		"not a good number":   {nil, says{label("rollcall.check", "tcp://", "rollcall.check.rise", "0")}, `label rollcall.check: `},
	} {
		t.Run(name, func(t *testing.T) {
			r, c := rules(tc.rules...), container(tc.container...)
			d := r.Decide(&c)
			if len(d) != 1 {
				t.Fatalf("decisions %v", shown(d))
			}
			got := ""
			switch k := d[0].Check; {
			case d[0].Err != nil:
				got = d[0].Err.Error()
			case k != nil:
				got = fmt.Sprintf("%s at %s every %s in %s, %d up %d down", k.Spec, k.Addr, k.Spec.Interval, k.Spec.Timeout, k.Spec.Rise, k.Spec.Fall)
			}
			if got != tc.want && (tc.want != "label rollcall.check: " || len(got) < 30 || got[:len(tc.want)] != tc.want) {
				t.Errorf("got %s, want %s", got, tc.want)
			}
		})
	}
}

// checkOf is the check of port 80 of a container that started so many seconds after noon.
func checkOf(id string, started int) string {
	return fmt.Sprintf("%s 80/tcp %d", id, noon.Add(time.Duration(started)*time.Second).UnixNano())
}

// checked is a container that is announced while something answers.
func checked(id, name, port string, started int) docker.Container {
	c := web(id, name, port, started)
	c.Labels = map[string]string{"rollcall.check": "tcp://", "rollcall.instance": "i"}
	return c
}

func TestChecksDecide(t *testing.T) {
	f := newFixture(t, rules())
	f.know(nil)
	nothing, first := map[string]string{}, map[string]string{"nginx/i": "10.0.0.5:1"}
	f.observe(listed(checked("a", "web1", "1", 0)))
	f.want(t, "not asked", nothing)
	if got := f.checks.targets[checkOf("a", 0)].Addr.String(); got != "10.0.0.5:1" {
		t.Errorf("checked at %s", got)
	}
	f.checks.come(checkOf("a", 0), check.Up)
	f.want(t, "up", first)
	f.checks.come(checkOf("a", 0), check.Down)
	f.want(t, "down", nothing)
	f.checks.come(checkOf("a", 0), check.Up)
	f.want(t, "up again", first)
	f.observe(changed(checked("a", "web1", "1", 0)))
	if f.checks.changes != 1 {
		t.Errorf("checks were changed %d times", f.checks.changes)
	}
	f.observe(gone("a"))
	f.want(t, "gone", nothing)
	if len(f.checks.targets) > 0 {
		t.Errorf("still checked: %v", f.checks.targets)
	}
}

// A successor does not take its predecessor's place before it answers.
func TestSuccessorAnswersFirst(t *testing.T) {
	f := newFixture(t, rules())
	f.know(nil)
	old, fresh := map[string]string{"nginx/i": "10.0.0.5:1"}, map[string]string{"nginx/i": "10.0.0.5:2"}
	f.observe(listed(checked("a", "web1", "1", 0)))
	f.checks.come(checkOf("a", 0), check.Up)
	f.observe(changed(checked("b", "web2", "2", 1)))
	f.want(t, "the successor is silent", old)
	f.checks.come(checkOf("b", 1), check.Down)
	f.want(t, "the successor fails", old)
	f.checks.come(checkOf("b", 1), check.Up)
	f.want(t, "the successor answers", fresh)
	f.checks.come(checkOf("b", 1), check.Down)
	f.want(t, "the successor fails later", old)
}

// A run of announce that has just begun has asked nobody yet. What is in etcd stays until
// it has, if it is what would be written.
func TestWhatAnEarlierRunLeft(t *testing.T) {
	f := newFixture(t, rules())
	f.know(nil)
	f.observe(listed(checked("a", "web1", "1", 0)))
	d := f.Decisions()[0]
	same, other, another := d.Record, d.Record, d.Record
	other.Values = map[string]string{"/services/nginx/i": "10.0.0.5:9"}
	another.Instance = "j"
	left := func(what string, want ...bool) {
		t.Helper()
		got := []bool{f.registry.leave(same), f.registry.leave(other), f.registry.leave(another)}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: same, other value, unknown (-want +got):\n%s", what, diff)
		}
	}
	left("undecided", true, false, false)
	unknown := listed(checked("a", "web1", "1", 0))
	unknown.Unknown = []string{"c"}
	f.observe(unknown)
	left("somebody is unknown, but not whose this is", true, false, false)
	f.observe(listed(checked("a", "web1", "1", 0)))
	left("nobody is unknown", true, false, false)
	f.checks.come(checkOf("a", 0), check.Down)
	left("down", false, false, false)
	f.checks.come(checkOf("a", 0), check.Unknown)
	f.know(map[string]bool{"nginx/i": true})
	left("drained", false, false, false)
}

// What is decided against is taken away at once, also if this run never put it there.
func TestWhatAnEarlierRunLeftIsTakenAway(t *testing.T) {
	for name, decide := range map[string]func(*fixture){
		"down":    func(f *fixture) { f.checks.come(checkOf("a", 0), check.Down) },
		"gone":    func(f *fixture) { f.observe(gone("a")) },
		"drained": func(f *fixture) { f.know(map[string]bool{"nginx/i": true}) },
	} {
		f := newFixture(t, rules())
		f.know(nil)
		f.observe(listed(checked("a", "web1", "1", 0)))
		if len(f.registry.gone) > 0 {
			t.Errorf("%s: undecided, %q are gone", name, f.registry.gone)
		}
		decide(f)
		if diff := cmp.Diff([]string{"nginx/i"}, f.registry.gone); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// Two whose checks are undecided want one record, and one of them fails: what is in etcd may
// be what that one wrote, and has to be looked at again.
func TestWhatAnEarlierRunLeftMayBeTheOthers(t *testing.T) {
	f := newFixture(t, rules())
	f.know(nil)
	f.observe(listed(checked("a", "web1", "1", 0), checked("b", "web2", "2", 1)))
	records := map[string]discovery.Record{}
	for _, d := range f.Decisions() {
		records[d.Container] = d.Record
	}
	left := func(what string, want ...bool) {
		t.Helper()
		got := []bool{f.registry.leave(records["web1"]), f.registry.leave(records["web2"])}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	left("undecided", true, true)
	sets := f.registry.sets
	f.checks.come(checkOf("b", 1), check.Down)
	left("one is down", true, false)
	if f.registry.sets != sets+1 {
		t.Errorf("the registry was told to compare everything %d times, want once", f.registry.sets-sets)
	}
}

// A container that nobody could describe has died, or is known by now: what it left is
// looked at again, and only that of its kind stayed.
func TestWhatTheUnknownLeft(t *testing.T) {
	of := func(container string) discovery.Record {
		c := web(container, container, "9", 0)
		r := rules()
		return r.Decide(&c)[0].Record
	}
	for name, learn := range map[string]docker.Change{"died": gone("c"), "known": changed(web("c", "c", "9", 0))} {
		f := newFixture(t, rules())
		f.know(map[string]bool{"nginx/core-01-d": true})
		unknown := listed()
		unknown.Unknown = []string{"c", "d"}
		f.observe(unknown)
		if !f.registry.leave(of("c")) || f.registry.leave(of("e")) || f.registry.leave(of("d")) {
			t.Errorf("%s: at first c may stay: %t, e, which is gone: %t, d, which is drained: %t", name,
				f.registry.leave(of("c")), f.registry.leave(of("e")), f.registry.leave(of("d")))
		}
		sets := f.registry.sets
		f.observe(learn)
		if f.registry.sets != sets+1 || f.registry.leave(of("c")) {
			t.Errorf("%s: everything was compared %d times, c may stay: %t", name, f.registry.sets-sets, f.registry.leave(of("c")))
		}
	}
}

// The clock was set back between two starts: the one that came later is the successor.
func TestSuccessorByTheOrderOfEvents(t *testing.T) {
	f := newFixture(t, rules())
	f.know(nil)
	plain := func(id, port string, started int) docker.Container {
		c := checked(id, "web-"+id, port, started)
		delete(c.Labels, "rollcall.check")
		return c
	}
	f.observe(listed(plain("a", "1", 0)))
	f.observe(changed(plain("b", "2", -3600)))
	f.want(t, "the successor", map[string]string{"nginx/i": "10.0.0.5:2"})
	f.observe(listed(plain("b", "2", -3600), plain("a", "1", 0)))
	f.want(t, "after a list", map[string]string{"nginx/i": "10.0.0.5:2"})
}

// Docker tells of the first success after a failure only. A first recovery counts at once;
// what goes to and fro has to stay for as long as another success takes.
func TestFlappingHealthcheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, rules())
		f.know(nil)
		is := func(health string, started int) docker.Change {
			c := web("a", "web1", "1", started)
			c.Health, c.HealthPeriod = health, time.Minute
			return changed(c)
		}
		nothing, there := map[string]string{}, map[string]string{web1: "10.0.0.5:1"}
		f.observe(listed())
		f.observe(is("starting", 0))
		f.want(t, "starting", nothing)
		f.observe(is("healthy", 0))
		f.want(t, "healthy for the first time", there)
		f.observe(is("unhealthy", 0))
		f.want(t, "unhealthy", nothing)
		f.observe(is("healthy", 0))
		f.want(t, "recovered", there)
		time.Sleep(9 * time.Minute)
		f.observe(is("unhealthy", 0))
		f.observe(is("healthy", 0))
		time.Sleep(59 * time.Second)
		f.observe(is("healthy", 0)) // a list
		f.want(t, "to and fro", nothing)
		f.observe(is("unhealthy", 0))
		f.observe(is("healthy", 0))
		time.Sleep(59 * time.Second)
		f.want(t, "unhealthy in between", nothing)
		time.Sleep(time.Second)
		synctest.Wait()
		f.want(t, "healthy for long enough", there)
		f.observe(is("unhealthy", 0))
		f.observe(is("healthy", 9))
		f.want(t, "restarted", there)
		time.Sleep(time.Hour)
		f.observe(is("unhealthy", 9))
		f.observe(is("healthy", 9))
		f.want(t, "once an hour is not to and fro", there)
		f.observe(is("unhealthy", 9))
		f.observe(is("healthy", 9))
		f.want(t, "twice in a minute is", nothing)
		f.observe(gone("a"))
		time.Sleep(time.Hour)
		f.want(t, "gone while it recovered", nothing)
	})
}
