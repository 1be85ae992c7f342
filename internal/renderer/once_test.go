package renderer

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rollcall/internal/reload"
)

func TestOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t)
		g.lookup = answers("10.9.9.1")
		c := catalog(1, member("web/1", "some.host", 80))
		o, err := g.Once(t.Context(), c)
		if err != nil || !o.Changed || !strings.Contains(g.content(), "10.9.9.1:80") {
			t.Errorf("got %+v, %v, %q; want the resolved server in the file", o, err, g.content())
		}
		before := g.content()
		c.Revision = 2
		if o, err = g.Once(t.Context(), c); err != nil || o.Changed || g.content() != before {
			t.Errorf("got %+v, %v, %q; want nothing done for a later revision", o, err, g.content())
		}
		g.fail = &reload.StepError{Step: reload.StepReload, Err: reload.ErrNotRunning}
		if _, err = g.Once(t.Context(), c); err != nil || g.logged("the server is not running") != 1 {
			t.Errorf("got %v, want no error and a word in the log", err)
		}
		g.fail = errors.New("refused")
		if _, err = g.Once(t.Context(), c); !errors.Is(err, g.fail) {
			t.Errorf("got %v, want %v", err, g.fail)
		}
	})
}

func TestOnceDoesNotWaitForEverForAName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t)
		g.lookup = fails
		began := time.Now()
		if _, err := g.Once(t.Context(), catalog(1, member("web/1", "some.host", 80))); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > onceTimeout {
			t.Errorf("took %s, want %s at most", took, onceTimeout)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := g.Once(ctx, catalog(1, member("web/1", "other.host", 80))); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want context.Canceled", err)
		}
	})
}

func TestDiff(t *testing.T) {
	g := newRig(t)
	c := catalog(1, member("web/1", "10.0.0.1", 80))
	got, err := g.Diff(t.Context(), c)
	if err != nil || !strings.Contains(got, "+++ "+g.output+" (new)\n") || !strings.Contains(got, "\n+web: 10.0.0.1:80\n") {
		t.Errorf("got %v:\n%s", err, got)
	}
	if entries, err := os.ReadDir(filepath.Dir(g.output)); err != nil || len(entries) != 0 || g.applies() != 0 {
		t.Errorf("Diff left %v, %v behind", entries, err)
	}
	if _, err := g.Once(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	before := g.content()
	c.Revision = 9
	if got, err = g.Diff(t.Context(), c); err != nil || got != "" {
		t.Errorf("a later revision of the same gives %v:\n%s", err, got)
	}
	got, err = g.Diff(t.Context(), catalog(9, member("web/1", "10.0.0.2", 80)))
	if err != nil || !strings.Contains(got, "\n-web: 10.0.0.1:80\n") || !strings.Contains(got, "\n+web: 10.0.0.2:80\n") || g.content() != before {
		t.Errorf("got %v:\n%s", err, got)
	}
}
