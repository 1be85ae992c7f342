package renderer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rollcall/internal/discovery"
	"rollcall/internal/reload"
)

func revised(revision int64) func(*discovery.Instance) {
	return func(i *discovery.Instance) { i.Revision = revision }
}

func TestOffenderIsFoundAndOthersAreServed(t *testing.T) {
	running(t, func(t *testing.T, g *rig) {
		g.set(func(g *rig) { g.refuse = refusing("10.66") })
		g.offer(catalog(1, member("a/1", "10.0.0.1", 80), member("b/1", "10.0.0.2", 80), member("b/2", "10.0.0.3", 80)))
		after(time.Second)
		g.offer(catalog(5,
			member("a/1", "10.0.1.1", 80, revised(3)),
			member("b/1", "10.66.0.2", 80, revised(4)), member("b/3", "10.0.0.9", 80, revised(5)), // and b/2 is gone
			member("c/1", "10.0.0.4", 80, revised(2))))
		after(time.Second)
		if got := g.content(); !strings.Contains(got, "a: 10.0.1.1:80\nb: 10.0.0.2:80 10.0.0.3:80\nc: 10.0.0.4:80\n") {
			t.Errorf("got %q, want b as it was and the others as they are", got)
		} else if first, _, _ := strings.Cut(got, "\n"); !strings.HasSuffix(first, " 5") {
			t.Errorf("made from %q, want revision 5", first)
		}
		s, a := g.Status(), g.ack()
		want := []Quarantined{{Service: "b", Reason: "validate: exit status 1\n[emerg] exit status 1", Since: s.Quarantined[0].Since, Next: s.Quarantined[0].Since.Add(trialMin)}}
		if d := cmp.Diff(want, s.Quarantined); d != "" || s.Quarantined[0].Since.IsZero() {
			t.Errorf("(-want +got):\n%s", d)
		}
		if a.Applied != 5 || !a.Healthy || g.Ready() != nil {
			t.Errorf("acknowledged %+v, want revision 5", a)
		}
		const reason = "its service is in quarantine"
		if d := cmp.Diff(map[string]string{"b/1": reason, "b/3": reason}, s.SkippedReasons); d != "" {
			t.Errorf("reasons (-want +got):\n%s", d)
		}
		if d := cmp.Diff([]string{"b/1", "b/3"}, a.Skipped); d != "" {
			t.Errorf("skipped (-want +got):\n%s", d)
		}
		if d := cmp.Diff([]string{"b/1", "b/2"}, a.Held); d != "" {
			t.Errorf("held (-want +got):\n%s", d)
		}

		// Nothing changes: it is tried again, but less and less often.
		checks := g.checks()
		after(time.Hour)
		if got := g.checks() - checks; got > 60 || got < 5 {
			t.Errorf("%d checks in an hour, want a few", got)
		}
		if got := g.logged("service is in quarantine"); got != 1 {
			t.Errorf("logged %d times, want once", got)
		}

		// The service changes: it is tried at once.
		g.offer(catalog(9, member("a/1", "10.0.1.1", 80, revised(3)), member("b/1", "10.0.0.5", 80, revised(9)), member("c/1", "10.0.0.4", 80, revised(2))))
		after(0)
		s, a = g.Status(), g.ack()
		if !strings.Contains(g.content(), "b: 10.0.0.5:80\n") || len(s.Quarantined)+len(a.Skipped)+len(a.Held) > 0 || g.logged("out of quarantine") != 1 {
			t.Errorf("got %q and %+v, want the new b", g.content(), a)
		}
	})
}

func TestOffenderAtTheStart(t *testing.T) {
	running(t, func(t *testing.T, g *rig) {
		g.set(func(g *rig) { g.refuse = refusing("10.66") })
		var members []*discovery.Instance
		for n := range 1000 {
			host := "10.0.0.1"
			if n == 700 || n == 3 {
				host = "10.66.0.1"
			}
			members = append(members, member(fmt.Sprintf("s%04d/1", n), host, 80))
		}
		g.offer(catalog(7, members...))
		after(checkInterval * 2)
		if got := strings.Count(g.content(), " 10.0.0.1:80"); got != 998 || strings.Contains(g.content(), "s0700") {
			t.Errorf("%d services are served, want 998", got)
		}
		if d := cmp.Diff([]string{"s0003/1", "s0700/1"}, g.ack().Skipped); d != "" {
			t.Errorf("skipped (-want +got):\n%s", d)
		}
	})
}

func TestTooManyOffendersAreFoundInTheEnd(t *testing.T) {
	running(t, func(t *testing.T, g *rig) {
		g.set(func(g *rig) { g.refuse = refusing("10.66") })
		var members []*discovery.Instance
		for n := range 200 {
			host := "10.0.0.1"
			if n%20 == 7 {
				host = "10.66.0.1"
			}
			members = append(members, member(fmt.Sprintf("s%04d/1", n), host, 80))
		}
		g.offer(catalog(7, members...))
		after(0)
		if got := g.checks(); got > maxChecks+1 {
			t.Errorf("%d checks in one search, want %d at most", got, maxChecks+1)
		}
		after(10 * checkInterval)
		if got := strings.Count(g.content(), " 10.0.0.1:80"); got != 190 || len(g.Status().Quarantined) != 10 {
			t.Errorf("%d services are served and %d in quarantine, want 190 and 10", got, len(g.Status().Quarantined))
		}
	})
}

// A template may not like a record that the server would never see.
func TestRecordThatATemplateCannotRender(t *testing.T) {
	running(t, func(t *testing.T, g *rig) {
		g.set(func(g *rig) {
			g.load = loads(template(`{{range .Services}}{{range .Instances}}{{.ID}} {{.Meta.zone}}{{"\n"}}{{end}}{{end}}`))
		})
		zone := func(i *discovery.Instance) { i.Meta = map[string]string{"zone": "z"} }
		g.offer(catalog(1, member("a/1", "10.0.0.1", 80, zone), member("b/1", "10.0.0.2", 80)))
		after(time.Second)
		s := g.Status()
		if g.content() != "a/1 z\n" || len(s.Quarantined) != 1 || !strings.Contains(s.Quarantined[0].Reason, `test.tmpl:1:`) {
			t.Errorf("got %q and %+v, want a alone", g.content(), s.Quarantined)
		}
	})
}

func TestTroubleIsNobodysFault(t *testing.T) {
	said := &reload.ServerError{Err: errors.New("exit status 1")}
	for _, test := range []struct {
		name   string
		err    error
		checks int
	}{
		{"a full disk", &reload.StepError{Step: reload.StepStage, Err: errors.New("no space left on device")}, 0},
		{"no server", &reload.StepError{Step: reload.StepValidate, Err: errors.New("nginx: file not found")}, 0},
		{"a check that hangs", &reload.StepError{Step: reload.StepValidate, Err: &reload.ServerError{Err: errors.Join(errors.New("killed"), context.DeadlineExceeded)}}, 0},
		{"a reload", &reload.StepError{Step: reload.StepReload, Err: said}, 0},
		{"the operator's own configuration", &reload.StepError{Step: reload.StepValidate, Err: said}, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			running(t, func(t *testing.T, g *rig) {
				g.offer(catalog(1, member("a/1", "10.0.0.1", 80), member("b/1", "10.0.0.2", 80)))
				after(time.Second)
				g.set(func(g *rig) {
					g.fail = test.err
					g.refuse = func(string) error {
						if test.checks > 0 {
							return said
						}
						return nil
					}
				})
				g.offer(catalog(2, member("a/1", "10.0.0.3", 80), member("b/1", "10.0.0.4", 80)))
				after(0)
				if got := g.checks(); got != test.checks {
					t.Errorf("%d checks, want %d", got, test.checks)
				}
				s, a := g.Status(), g.ack()
				if len(s.Quarantined) > 0 || a.Applied != 1 || a.Healthy || s.Retry == nil || s.Error == "" {
					t.Errorf("status %+v, want the error and nobody blamed", s)
				}
				g.set(func(g *rig) { g.fail, g.refuse = nil, nil })
				after(time.Second)
				if a := g.ack(); a.Applied != 2 || !a.Healthy {
					t.Errorf("acknowledged %+v, want revision 2", a)
				}
			})
		})
	}
}

func TestTroubleInTheMiddleOfASearch(t *testing.T) {
	checks := 0
	running(t, func(t *testing.T, g *rig) {
		g.set(func(g *rig) { g.refuse = refusing("10.66") })
		g.offer(catalog(1, member("a/1", "10.0.0.1", 80), member("b/1", "10.66.0.2", 80), member("c/1", "10.0.0.1", 80), member("d/1", "10.0.0.1", 80)))
		after(0)
		if s := g.Status(); len(s.Quarantined) > 0 || s.Error == "" {
			t.Errorf("status %+v, want the trouble", s)
		}
		after(time.Second)
		if s := g.Status(); len(s.Quarantined) != 1 || s.Error != "" {
			t.Errorf("status %+v, want b in quarantine", s)
		}
	}, func(cfg *Config) {
		real := cfg.Applier.(applier)
		cfg.Applier = applier{real.apply, func(ctx context.Context, c reload.Candidate) error {
			if checks++; checks == 2 {
				return &reload.StepError{Step: reload.StepStage, Err: errors.New("no space left on device")}
			}
			return real.check(ctx, c)
		}}
	})
}

// A service in quarantine is served as it was. Whoever of it has lost its record
// meanwhile, or has another one, is routed to all the same: nobody may take it for gone.
func TestQuarantineServesWhatIsGone(t *testing.T) {
	bad := member("b/9", "10.66.0.1", 80)
	for name, newest := range map[string]*discovery.Instance{
		"its record went with its lease": member("b/1", "10.0.0.2", 80, kept),
		"it moved":                       member("b/1", "10.0.0.8", 80),
		"it has another port":            member("b/1", "10.0.0.2", 81),
	} {
		t.Run(name, func(t *testing.T) {
			running(t, func(t *testing.T, g *rig) {
				g.set(func(g *rig) { g.refuse = refusing("10.66") })
				g.offer(catalog(1, member("b/1", "10.0.0.2", 80)))
				after(time.Second)
				g.offer(catalog(5, newest, bad))
				after(time.Second)
				if got := g.content(); !strings.Contains(got, "b: 10.0.0.2:80\n") {
					t.Fatalf("got %q, want b as it was", got)
				}
				if a := g.ack(); a.Applied != 5 || !slices.Equal(a.Held, []string{"b/1"}) {
					t.Errorf("acknowledged %+v, want b/1 held", a)
				}
				release := make(chan struct{})
				g.set(func(g *rig) { g.refuse, g.old = nil, held(release) })
				g.offer(catalog(5, newest))
				after(time.Second)
				if a := g.ack(); !slices.Equal(a.Held, []string{"b/1"}) {
					t.Errorf("acknowledged %+v while an old worker may be busy with it", a)
				}
				close(release)
				after(0)
				if a := g.ack(); newest.Held != slices.Equal(a.Held, []string{"b/1"}) {
					t.Errorf("acknowledged %+v when it is gone", a)
				}
			})
		})
	}
}

// nginx puts its process id into each line.
func TestRefusalsAreSaidOnce(t *testing.T) {
	running(t, func(t *testing.T, g *rig) {
		tries := 0
		g.set(func(g *rig) {
			g.refuse = func(content string) error {
				if !strings.Contains(content, "10.66") && !strings.Contains(content, "worse") {
					return nil
				}
				tries++
				return &reload.ServerError{Err: fmt.Errorf("[emerg] %d#%d: bad", 1000+tries, tries)}
			}
		})
		g.offer(catalog(1, member("a/1", "10.0.0.1", 80), member("b/1", "10.0.0.1", 81)))
		after(time.Second)
		g.offer(catalog(2, member("a/1", "10.0.0.1", 80), member("b/1", "10.66.0.1", 81)))
		after(time.Hour)
		if got := g.logged("service is in quarantine"); got != 1 || tries < 10 {
			t.Errorf("quarantine said %d times at %d tries, want once", got, tries)
		}
		g.edit(loads(template("worse " + text)))
		after(time.Hour)
		if got := g.logged("are refused"); got != 2 { // one is quarantine's own
			t.Errorf("refused inputs said %d times, want once", got-1)
		}
	})
}
