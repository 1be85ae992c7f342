package renderer

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rollcall/internal/discovery"
	"rollcall/internal/inputs"
	"rollcall/internal/reload"
	"rollcall/internal/templates"
)

func loads(set *inputs.Set, err error) func() (*inputs.Set, error) {
	return func() (*inputs.Set, error) { return set, err }
}

func TestGoodEditIsServedAtOnce(t *testing.T) {
	running(t, func(t *testing.T, g *rig) {
		g.offer(catalog(1, member("web/1", "10.0.0.1", 80)))
		after(time.Minute)
		g.edit(loads(template("edited {{len .Upstreams}}")))
		if got := g.content(); got != "edited 1\n" {
			t.Errorf("got %q, want the new template's", got)
		}
		s := g.Status()
		if d := cmp.Diff([]Change{{Kind: Edited}}, s.Changes); d != "" || s.History[0].Cause.Kind != Edited {
			t.Errorf("the reload was for (-want +got):\n%s", d)
		}
		if !strings.Contains(s.Diff, "--- "+g.output+" (before)\n+++ "+g.output+" (now)\n") || !strings.Contains(s.Diff, "\n-web: 10.0.0.1:80\n") || !strings.Contains(s.Diff, "\n+edited 1\n") {
			t.Errorf("got diff:\n%s", s.Diff)
		}
	})
}

// What we write ourselves is also heard of as a change of files.
func TestTouchThatChangesNothing(t *testing.T) {
	running(t, func(t *testing.T, g *rig) {
		g.offer(catalog(1, member("web/1", "10.0.0.1", 80)))
		after(0)
		g.edit(g.load)
		g.offer(catalog(2, member("web/1", "10.0.0.1", 81)))
		after(0) // it is not delayed by the touch, but by the change just before
		after(20 * ms)
		if got := g.Status(); got.Running.Revision != 2 || got.Reloads != 2 {
			t.Errorf("revision %d after %d reloads, want 2 and 2", got.Running.Revision, got.Reloads)
		}
		after(time.Second)
		before := g.applies()
		g.edit(g.load)
		g.offer(catalog(3, member("web/1", "10.0.0.1", 82)))
		after(0)
		if got := g.applies(); got != before+2 || g.ack().Applied != 3 {
			t.Errorf("%d looks and revision %d, want a look at the file and the lone change at once", got-before, g.ack().Applied)
		}
	})
}

func TestBadInputsStopNothing(t *testing.T) {
	for _, test := range []struct {
		name   string
		load   func() (*inputs.Set, error)
		reason string
		step   string
	}{
		{"cannot be parsed", loads(template("one\n{{.Upstreams")), "test.tmpl:2: unclosed action", ""},
		{"cannot be read", loads(nil, errors.New("template x: permission denied")), "template x: permission denied", ""},
		{"cannot be rendered", loads(template("\n{{.Nonsense}}")), "render: test.tmpl:2:2: executing", "render"},
		{"is refused by the server", loads(template("BAD")), "validate: exit status 1\n[emerg] exit status 1", "validate"},
		{"two templates for one output", func() (*inputs.Set, error) {
			set, err := template(text)
			return &inputs.Set{Templates: []*templates.Template{set.Templates[0], set.Templates[0]}, ID: "2"}, err
		}, "templates: there are 2 for 1 outputs", "render"},
	} {
		t.Run(test.name, func(t *testing.T) {
			running(t, func(t *testing.T, g *rig) {
				g.set(func(g *rig) { g.refuse = refusing("BAD") })
				good := g.load
				g.offer(catalog(1, member("web/1", "10.0.0.1", 80)))
				after(time.Second)
				g.edit(test.load)
				g.offer(catalog(2, member("web/1", "10.0.0.1", 81)))
				after(time.Second)
				if a := g.ack(); a.Applied != 2 || !a.Healthy || !strings.Contains(g.content(), "web: 10.0.0.1:81\n") {
					t.Errorf("acknowledged %+v with %q, want the newest catalog with the earlier template", a, g.content())
				}
				if err := g.Ready(); err != nil {
					t.Errorf("Ready gives %v, want nil", err)
				}
				s := g.Status()
				if len(s.RefusedInputs) != 1 || !strings.HasPrefix(s.RefusedInputs[0].Reason, test.reason) || s.RefusedInputs[0].Since.IsZero() {
					t.Errorf("status tells %+v, want %q", s.RefusedInputs, test.reason)
				}
				before := g.applies()
				after(time.Hour)
				if got := g.logged("are refused; the last good ones stay in use"); got != 1 {
					t.Errorf("logged %d times, want once", got)
				}
				if got := g.applies() - before; got > 380 {
					t.Errorf("%d attempts in an hour, want the periodic checks and a few more", got)
				}
				g.edit(good)
				if s := g.Status(); len(s.RefusedInputs) > 0 {
					t.Errorf("status still tells %+v", s.RefusedInputs)
				}
			})
		})
	}
}

func TestRefusedInputsAreTriedAgain(t *testing.T) {
	running(t, func(t *testing.T, g *rig) {
		g.set(func(g *rig) { g.refuse = refusing("LATER") })
		g.offer(catalog(1, member("web/1", "10.0.0.1", 80)))
		after(time.Second)
		g.edit(loads(template("LATER")))
		after(time.Minute)
		g.set(func(g *rig) { g.refuse = nil }) // a module was installed, say
		after(2 * time.Minute)
		if got := g.content(); got != "LATER\n" {
			t.Errorf("got %q, want what was refused before", got)
		}
		if s := g.Status(); len(s.RefusedInputs) > 0 || g.logged("that were refused before") != 1 {
			t.Errorf("status tells %+v", s.RefusedInputs)
		}
	})
}

func TestBadDropInKeepsNoCertificateBack(t *testing.T) {
	set := func(dropIn, pem string) func() (*inputs.Set, error) {
		return func() (*inputs.Set, error) {
			set, err := template("{{range .DropIns}}{{.Content}} {{end}}{{range .Certificates}}{{.File}}{{end}}")
			set.ID += dropIn + pem
			set.DropIns = []templates.Fragment{{Path: "/own.conf", Content: dropIn}}
			set.Pairs = []inputs.Pair{{Name: "www", PEM: []byte(pem)}}
			return set, err
		}
	}
	certificate := func(pem string) string { return asset("/assets", "www", ".pem", []byte(pem)).Path }
	running(t, func(t *testing.T, g *rig) {
		g.set(func(g *rig) { g.load, g.refuse = set("good", "first"), refusing("BAD") })
		g.offer(catalog(1, member("web/1", "10.0.0.1", 80)))
		after(time.Second)
		for _, pem := range []string{"first", "second", "third"} {
			g.edit(set("BAD", pem))
			after(time.Second)
			if got, want := g.content(), "good "+certificate(pem)+"\n"; got != want || len(g.Status().RefusedInputs) != 1 {
				t.Errorf("got %q, want %q and the drop-in refused", got, want)
			}
		}
		// A certificate that the server does not take either.
		g.set(func(g *rig) {
			g.refuse = func(content string) error {
				return errors.Join(refusing("BAD")(content), refusing(certificate("odd"))(content))
			}
		})
		g.edit(set("BAD", "odd"))
		after(time.Minute)
		if got, want := g.content(), "good "+certificate("third")+"\n"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		g.edit(set("better", "fourth"))
		after(time.Second)
		if got, want := g.content(), "better "+certificate("fourth")+"\n"; got != want || len(g.Status().RefusedInputs) != 0 {
			t.Errorf("got %q, want %q and nothing refused", got, want)
		}
	}, tls("nginx"))
}

func TestTemplateThatIsMendedUnheard(t *testing.T) {
	running(t, func(t *testing.T, g *rig) {
		g.offer(catalog(1, member("web/1", "10.0.0.1", 80)))
		after(time.Second)
		g.edit(loads(nil, errors.New("template x: permission denied")))
		after(time.Minute)
		g.set(func(g *rig) { g.load = loads(template("mended")) })
		after(2 * time.Minute)
		if got := g.content(); got != "mended\n" {
			t.Errorf("got %q, want what can be read again", got)
		}
	})
}

func TestRefusalIsToldAlsoWhileTheServerIsAway(t *testing.T) {
	running(t, func(t *testing.T, g *rig) {
		g.set(func(g *rig) { g.refuse = refusing("BAD") })
		g.offer(catalog(1, member("web/1", "10.0.0.1", 80)))
		after(time.Second)
		g.set(func(g *rig) { g.fail = &reload.StepError{Step: reload.StepReload, Err: reload.ErrNotRunning} })
		g.edit(loads(template("BAD")))
		after(time.Second)
		if s := g.Status(); len(s.RefusedInputs) != 1 || s.Error != "reload: server is not running" || len(s.Quarantined) > 0 {
			t.Errorf("status tells %+v and %q, want both troubles", s.RefusedInputs, s.Error)
		}
	})
}

// What is not answered can never be confirmed, and would stop all later changes too.
func TestTemplateWithoutGeneration(t *testing.T) {
	running(t, func(t *testing.T, g *rig) {
		before := g.applies()
		g.set(func(g *rig) { g.load = loads(template("# {{.Generation}}\n")) })
		g.offer(catalog(1, member("web/1", "10.0.0.1", 80)))
		after(0)
		const want = "template test.tmpl does not answer {{.Generation}} at /rollcall/generation (hint: see the built-in one: render nginx --print-template)"
		if got := g.Status().Error; got != want || g.applies() != before {
			t.Errorf("got %q after %d attempts, want %q and none", got, g.applies()-before, want)
		}
		g.edit(loads(template("{{.Generation}}{{range .Upstreams}}{{.Servers}}{{end}}")))
		after(time.Second)
		if a := g.ack(); !a.Healthy || a.Applied != 1 {
			t.Errorf("acknowledged %+v, want revision 1", a)
		}
		g.edit(loads(template("# {{.Generation}}\n  # {{.Generation}}")))
		g.offer(catalog(2, member("web/1", "10.0.0.1", 81)))
		after(time.Second)
		s := g.Status()
		if a := g.ack(); !a.Healthy || a.Applied != 2 || len(s.RefusedInputs) != 1 || s.RefusedInputs[0].Reason != want {
			t.Errorf("acknowledged %+v, refused %+v, want revision 2 with the earlier template", a, s.RefusedInputs)
		}
	}, func(cfg *Config) { cfg.Balancer.Control = "/control.sock" })
}

// confirming is a server that never gets to serve what holds a text.
func confirming(never string, attempts *int) func(*Config) {
	return func(cfg *Config) {
		real := cfg.Applier.(applier)
		cfg.Applier = applier{func(ctx context.Context, c reload.Candidate) (reload.Outcome, error) {
			if strings.Contains(string(c.Files[0].Content), never) {
				*attempts++
				<-time.After(15 * time.Second)
				return reload.Outcome{}, &reload.StepError{Step: reload.StepConfirm, Err: context.DeadlineExceeded}
			}
			return real.Apply(ctx, c)
		}, real.check}
	}
}

func TestUnconfirmedInputsAreRefused(t *testing.T) {
	attempts := 0
	running(t, func(t *testing.T, g *rig) {
		g.offer(catalog(1, member("web/1", "10.0.0.1", 80)))
		after(time.Second)
		g.edit(loads(template("NEVER")))
		g.offer(catalog(2, member("web/1", "10.0.0.1", 81)))
		after(16 * time.Second)
		s := g.Status()
		if a := g.ack(); !a.Healthy || a.Applied != 2 || s.Error != "" || len(s.RefusedInputs) != 1 {
			t.Errorf("acknowledged %+v, status %+v, want revision 2 with the earlier template, and the newer refused", a, s)
		}
		g.offer(catalog(3, member("web/1", "10.0.0.1", 82)))
		after(time.Second)
		if a := g.ack(); a.Applied != 3 {
			t.Errorf("applied %d, want 3 at once: it is not time to try the template again", a.Applied)
		}
		after(time.Hour)
		if attempts < 5 || attempts > 14 {
			t.Errorf("%d attempts with what is never confirmed, want a few in an hour", attempts)
		}
	}, confirming("NEVER", &attempts))
}

// A server that confirms nothing is no fault of the files that are new.
func TestServerThatConfirmsNothingBlamesNoInputs(t *testing.T) {
	running(t, func(t *testing.T, g *rig) {
		g.offer(catalog(1, member("web/1", "10.0.0.1", 80)))
		after(time.Second)
		g.set(func(g *rig) { g.fail = &reload.StepError{Step: reload.StepConfirm, Err: context.DeadlineExceeded} })
		g.edit(loads(template("new")))
		after(time.Minute)
		if s := g.Status(); len(s.RefusedInputs) != 0 || s.Error != "confirm: context deadline exceeded" {
			t.Errorf("status tells %+v and %q, want the server's trouble alone", s.RefusedInputs, s.Error)
		}
		g.set(func(g *rig) { g.fail = nil })
		after(time.Minute)
		if got := g.content(); got != "new\n" {
			t.Errorf("got %q, want the new template's", got)
		}
	})
}

func TestNoGoodInputsYet(t *testing.T) {
	running(t, func(t *testing.T, g *rig) {
		g.set(func(g *rig) { g.load = loads(template("{{if")) })
		g.offer(catalog(1, member("web/1", "10.0.0.1", 80)))
		after(time.Minute)
		s := g.Status()
		if g.applies() > 0 || !strings.HasPrefix(s.Error, "test.tmpl:1:") || s.Retry == nil || s.Retry.Attempt < 5 || s.OnDisk != "missing" {
			t.Errorf("status %+v, want the error and a retry", s)
		}
		g.set(func(g *rig) { g.load = loads(template(text)) }) // and nobody tells
		after(20 * time.Second)
		if a := g.ack(); !a.Healthy || a.Applied != 1 {
			t.Errorf("acknowledged %+v, want revision 1", a)
		}
	})
}

func TestSeveralTemplatesAreOneConfiguration(t *testing.T) {
	var other string
	running(t, func(t *testing.T, g *rig) {
		g.offer(catalog(1, member("web/1", "10.0.0.1", 80)))
		after(0)
		files := g.applied[0].Files
		if len(g.applied) != 1 || len(files) != 2 || files[1].Path != other || string(files[1].Content) != "second "+g.ack().Generation+"\n" {
			t.Errorf("applied %d times, files %v, want both at once", len(g.applied), files)
		}
	}, func(cfg *Config) {
		other = cfg.Outputs[0] + ".2"
		cfg.Outputs = append(cfg.Outputs, other)
		cfg.Inputs = files{load: func() (*inputs.Set, error) {
			one, err := template(text)
			if err != nil {
				return nil, err
			}
			two, err := template("second {{.Generation}}")
			return &inputs.Set{Templates: append(one.Templates, two.Templates...), ID: "both"}, err
		}}
	})
}

func TestWarningsAboutSingleFilesAreSaidOnce(t *testing.T) {
	running(t, func(t *testing.T, g *rig) {
		load := func() (*inputs.Set, error) {
			set, err := template(text)
			set.Refused = []inputs.Refusal{{File: "/certs/x.crt", Reason: "no key"}}
			set.Warnings = []inputs.Warning{{File: "/certs/y.crt", Reason: "expired"}}
			return set, err
		}
		g.set(func(g *rig) { g.load = load })
		g.offer(catalog(1, member("web/1", "10.0.0.1", 80)))
		after(time.Second)
		g.edit(load)
		g.edit(load)
		s := g.Status()
		if d := cmp.Diff([]RefusedInput{{File: "/certs/x.crt", Reason: "no key"}}, s.RefusedInputs); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
		if d := cmp.Diff([]RefusedInput{{File: "/certs/y.crt", Reason: "expired"}}, s.InputWarnings); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
		for _, file := range []string{"file=/certs/x.crt", "file=/certs/y.crt"} {
			if got := g.logged(file); got != 1 {
				t.Errorf("%s is logged %d times, want once", file, got)
			}
		}
	})
}

func TestBothKindsOfBadnessAtOnce(t *testing.T) {
	running(t, func(t *testing.T, g *rig) {
		g.set(func(g *rig) { g.refuse = refusing("BAD") })
		g.offer(catalog(1, member("api/1", "10.0.0.1", 80), member("web/1", "10.0.0.2", 80)))
		after(time.Second)
		g.set(func(g *rig) { g.load = loads(template("BAD")) })
		bad := member("api/1", "10.0.0.1", 80, func(i *discovery.Instance) { i.Revision = 2 })
		bad.Host = "10.66.66.66"
		g.set(func(g *rig) {
			g.refuse = func(content string) error { return errors.Join(refusing("BAD")(content), refusing("10.66")(content)) }
		})
		g.offer(catalog(2, bad, member("web/1", "10.0.0.3", 80)))
		g.touched <- struct{}{}
		after(time.Minute)
		if got := g.content(); !strings.Contains(got, "api: 10.0.0.1:80\nweb: 10.0.0.3:80\n") {
			t.Errorf("got %q, want api as it was and the newest web", got)
		}
		if s := g.Status(); len(s.RefusedInputs) != 1 || len(s.Quarantined) != 1 || s.Quarantined[0].Service != "api" {
			t.Errorf("status tells %+v and %+v", s.RefusedInputs, s.Quarantined)
		}
	})
}
