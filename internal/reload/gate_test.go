package reload

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// A gatedFake is a fakeProxy with a gate, which says at each call whether that is open.
type gatedFake struct {
	fakeProxy
	gate string
	kept func() (int, error)
}

var _ Gated = (*gatedFake)(nil)

func (p *gatedFake) Gate() string { return p.gate }

func (p *gatedFake) Kept(context.Context) (int, error) {
	p.calls = append(p.calls, "kept"+p.state())
	return p.kept()
}

func (p *gatedFake) state() string {
	if _, err := os.Lstat(p.gate); err != nil {
		return " shut"
	}
	return " open"
}

func (p *gatedFake) Validate(ctx context.Context, s Staged) error {
	err := p.fakeProxy.Validate(ctx, s)
	p.calls[len(p.calls)-1] = "validate" + p.state()
	return err
}

func (p *gatedFake) Reload(ctx context.Context) error {
	err := p.fakeProxy.Reload(ctx)
	p.calls[len(p.calls)-1] += p.state()
	return err
}

func (p *gatedFake) Confirm(ctx context.Context, generation string) (Workers, error) {
	w, err := p.fakeProxy.Confirm(ctx, generation)
	p.calls[len(p.calls)-1] = "confirm" + p.state()
	return w, err
}

// newGated gives a server that runs and has a gate, and a candidate that asks for it.
func newGated(t *testing.T) (*gatedFake, Candidate) {
	t.Helper()
	dir := t.TempDir()
	p := &gatedFake{gate: filepath.Join(dir, "gate"), kept: func() (int, error) { return 0, nil }}
	p.running = func() (string, error) { return "g0", nil }
	write(t, filepath.Join(dir, "conf"), "g0")
	return p, Candidate{Generation: "g1", Gentle: true, Files: []File{{Path: filepath.Join(dir, "conf"), Content: []byte("g1")}}}
}

func (p *gatedFake) transaction(t *testing.T) *Transaction {
	tx := New(Config{Proxy: p, Logger: discard(t), Timeouts: Timeouts{Gate: 300 * time.Millisecond}})
	t.Cleanup(func() { tx.Close() })
	return tx
}

func (p *gatedFake) did(t *testing.T, want ...string) {
	t.Helper()
	if !slices.Equal(p.calls, want) {
		t.Errorf("calls: got %q, want %q", p.calls, want)
	}
	if p.state() != " shut" {
		t.Error("the gate stays open")
	}
}

func TestGateIsOpenUntilTheServerHasChangedOver(t *testing.T) {
	p, c := newGated(t)
	if _, err := p.transaction(t).Apply(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	p.did(t, "validate open", "kept open", "kept open", "reload open", "confirm open")
}

func TestGateIsOnlyForWhoAsks(t *testing.T) {
	p, c := newGated(t)
	c.Gentle = false
	if _, err := p.transaction(t).Apply(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	p.did(t, "validate shut", "reload shut", "confirm shut")
}

func TestGateIsShutWhateverHappens(t *testing.T) {
	for _, tt := range []struct {
		name string
		fail func(p *gatedFake, cancel func())
		want []string
	}{
		{"validate", func(p *gatedFake, _ func()) { p.validate = func(Staged) error { return errFake } }, []string{"validate open"}},
		{"cancelled", func(p *gatedFake, cancel func()) {
			p.kept = func() (int, error) { cancel(); return 1, nil }
		}, []string{"validate open", "kept open"}},
		{
			"reload", func(p *gatedFake, _ func()) { p.reload = func() error { return errFake } },
			[]string{"validate open", "kept open", "kept open", "reload open", "reload open"},
		},
		{"confirm", func(p *gatedFake, _ func()) {
			p.confirm = func(g string) (Workers, error) {
				if g == "g1" {
					return nil, errFake
				}
				return finishing{}, nil
			}
		}, []string{"validate open", "kept open", "kept open", "reload open", "confirm open", "reload open", "confirm open"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, c := newGated(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			tt.fail(p, cancel)
			if _, err := p.transaction(t).Apply(ctx, c); err == nil {
				t.Error("no error")
			}
			p.did(t, tt.want...)
		})
	}
}

// TestGateWaitsForTwoLooks has a connection that comes back between two looks.
func TestGateWaitsForTwoLooks(t *testing.T) {
	p, c := newGated(t)
	answers := []int{3, 0, 1, 0, 0}
	p.kept = func() (int, error) {
		n := answers[0]
		answers = answers[1:]
		return n, nil
	}
	if _, err := p.transaction(t).Apply(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	p.did(t, "validate open", "kept open", "kept open", "kept open", "kept open", "kept open", "reload open", "confirm open")
}

// TestGateWaitsNoLonger has connections that never end, or that nobody can count.
func TestGateWaitsNoLonger(t *testing.T) {
	for name, kept := range map[string]func() (int, error){
		"kept": func() (int, error) { return 1, nil }, "unknown": func() (int, error) { return 0, errFake },
	} {
		t.Run(name, func(t *testing.T) {
			p, c := newGated(t)
			p.kept = kept
			tx := p.transaction(t)
			began := time.Now()
			if _, err := tx.Apply(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(began); took < 300*time.Millisecond {
				t.Errorf("it took %v, want the whole time", took)
			}
			hurry := false
			c.Generation, c.Files[0].Content = "g2", []byte("g2")
			c.Hurry = func() bool { return hurry }
			p.kept = func() (int, error) { hurry = true; return 1, nil }
			p.calls = nil
			if _, err := tx.Apply(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			p.did(t, "validate open", "kept open", "reload open", "confirm open")
		})
	}
}

// TestGateTakesItsTime looks at the clock: it has nothing else to wait for.
func TestGateTakesItsTime(t *testing.T) {
	p, c := newGated(t)
	synctest.Test(t, func(t *testing.T) {
		w := &work{Transaction: &Transaction{timeouts: Timeouts{Gate: time.Second}}, candidate: c, before: func() Serving { return Serving{Generation: "g0"} }}
		wait := func(opened time.Duration) time.Duration {
			began := time.Now()
			(&gate{w: w, proxy: p, opened: began.Add(-opened)}).wait(t.Context())
			return time.Since(began)
		}
		if got, want := wait(0), 2*time.Millisecond; got != want {
			t.Errorf("nothing kept: waited %v, want %v", got, want)
		}
		p.kept = func() (int, error) { return 1, nil }
		if got, want := wait(0), time.Second; got != want {
			t.Errorf("something kept: waited %v, want %v", got, want)
		}
		if got, want := wait(700*time.Millisecond), 300*time.Millisecond; got != want {
			t.Errorf("after a long check: waited %v, want %v", got, want)
		}
		w.before = func() Serving { return Serving{} }
		if got := wait(0); got != 0 {
			t.Errorf("no server: waited %v", got)
		}
	})
}

func TestGateThatAKilledRunLeftIsShut(t *testing.T) {
	p, c := newGated(t)
	c.Gentle = false
	write(t, p.gate, "")
	if _, err := p.transaction(t).Apply(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	p.did(t, "validate shut", "reload shut", "confirm shut")
}

func TestGateFollowsNoLink(t *testing.T) {
	p, _ := newGated(t)
	target := filepath.Join(t.TempDir(), "target")
	if err := os.Symlink(target, p.gate); err != nil {
		t.Fatal(err)
	}
	if err := mark(p.gate); !errors.Is(err, os.ErrExist) {
		t.Errorf("got %v, want %v", err, os.ErrExist)
	}
	if _, err := os.Lstat(target); err == nil {
		t.Error("what the link names was made")
	}
}
