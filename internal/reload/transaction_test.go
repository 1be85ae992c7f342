package reload

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestEveryStepThatFails(t *testing.T) {
	failFor := func(bad string) func(string) (Workers, error) {
		return func(g string) (Workers, error) {
			if g == bad {
				return nil, &ServerError{Err: errFake, Output: "its words"}
			}
			return finishing{}, nil
		}
	}
	once := func() func() error {
		done := false
		return func() error {
			if done {
				return nil
			}
			done = true
			return errFake
		}
	}
	before := map[string]string{"a": "old a", "b": "old b", ".rollcall-a.good": "old a", ".rollcall-b.good": "old b"}
	tests := []struct {
		name   string
		spoil  func(p *fakeProxy, tx *Transaction)
		first  bool // nothing was there before
		step   Step
		calls  []string
		output string
		want   map[string]string // nil: as before
	}{
		{
			name: "stage", step: StepStage,
			spoil: func(_ *fakeProxy, _ *Transaction) {},
		},
		{
			name: "validate", step: StepValidate, calls: []string{"validate g2"}, output: "its words",
			spoil: func(p *fakeProxy, _ *Transaction) {
				p.validate = func(Staged) error { return &ServerError{Err: errFake, Output: "its words"} }
			},
		},
		{
			name: "swap of the second file", step: StepSwap, calls: []string{"validate g2"},
			spoil: func(_ *fakeProxy, tx *Transaction) {
				tx.disk.before = func(op, path string) error {
					if op == "rename" && filepath.Base(path) == "b" {
						tx.disk.before = nil
						return errFake
					}
					return nil
				}
			},
		},
		{
			name: "reload", step: StepReload, calls: []string{"validate g2", "reload", "reload", "confirm g1"},
			spoil: func(p *fakeProxy, _ *Transaction) { p.reload = once() },
		},
		{
			name: "confirm", step: StepConfirm, calls: []string{"validate g2", "reload", "confirm g2", "reload", "confirm g1"}, output: "its words",
			spoil: func(p *fakeProxy, _ *Transaction) { p.confirm = failFor("g2") },
		},
		{
			name: "first of all", first: true, step: StepConfirm, calls: []string{"validate g2", "reload", "confirm g2", "reload"}, output: "its words",
			spoil: func(p *fakeProxy, _ *Transaction) { p.confirm = failFor("g2"); p.running = nil },
			want:  map[string]string{},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			files := func(version string) []File {
				return []File{{Path: filepath.Join(dir, "a"), Content: []byte(version + " a")}, {Path: filepath.Join(dir, "b"), Content: []byte(version + " b")}}
			}
			p := &fakeProxy{}
			tx := newFake(t, p)
			if !tt.first {
				if _, err := tx.Apply(t.Context(), Candidate{Generation: "g1", Files: files("old")}); err != nil {
					t.Fatal(err)
				}
			}
			p.calls = nil
			p.running = func() (string, error) { return "g1", nil }
			tt.spoil(p, tx)
			c := Candidate{Generation: "g2", Files: files("new")}
			if tt.step == StepStage {
				// A directory that cannot be removed is in the staged file's place.
				if err := os.MkdirAll(filepath.Join(dir, ".rollcall-b.staged", "x"), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			out, err := tx.Apply(t.Context(), c)
			e, ok := errors.AsType[*StepError](err)
			if !ok || e.Step != tt.step || e.Output != tt.output || e.Rollback != nil || e.Restored == (tt.step == StepStage || tt.step == StepValidate) {
				t.Errorf("got %#v (%v), want a failed %s with output %q", e, err, tt.step, tt.output)
			}
			if tt.step != StepStage && !errors.Is(err, errFake) {
				t.Errorf("got %v, which does not wrap the cause", err)
			}
			if diff := cmp.Diff(Outcome{}, out); diff != "" {
				t.Errorf("outcome of a failure: %s", diff)
			}
			if diff := cmp.Diff(tt.calls, p.calls); diff != "" {
				t.Errorf("calls (-want +got):\n%s", diff)
			}
			if tt.step == StepStage {
				if err := os.RemoveAll(filepath.Join(dir, ".rollcall-b.staged")); err != nil {
					t.Fatal(err)
				}
			}
			want := tt.want
			if want == nil {
				want = before
			}
			if diff := cmp.Diff(want, tree(t, dir)); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}

			// Nothing stands in the way of the next one.
			p.validate, p.reload, p.confirm, tx.disk.before = nil, nil, nil, nil
			if _, err := tx.Apply(t.Context(), c); err != nil {
				t.Errorf("the next one: %v", err)
			}
		})
	}
}

func TestRollbackThatFailsIsReportedToo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	write(t, path, "old")
	errBack := errors.New("neither")
	p := &fakeProxy{running: func() (string, error) { return "g1", nil }}
	p.confirm = func(g string) (Workers, error) {
		if g == "g1" {
			return nil, errBack
		}
		return nil, errFake
	}
	_, err := newFake(t, p).Apply(t.Context(), Candidate{Generation: "g2", Files: []File{{Path: path, Content: []byte("new")}}})
	if !errors.Is(err, errFake) || !errors.Is(err, errBack) || !strings.Contains(err.Error(), "could not be restored: neither") {
		t.Errorf("got %v, want both errors", err)
	}
}

func TestServerThatDoesNotRunGetsItsFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	p := &fakeProxy{reload: func() error { return ErrNotRunning }}
	out, err := newFake(t, p).Apply(t.Context(), Candidate{Generation: "g1", Files: []File{{Path: path, Content: []byte("new")}}})
	if !errors.Is(err, ErrNotRunning) || !out.Changed || out.Reloaded {
		t.Errorf("got %+v, %v", out, err)
	}
	if got, _ := os.ReadFile(path); string(got) != "new" {
		t.Errorf("on disk: %q", got)
	}
}

func TestAnEndedContextLeavesTheFilesToTheNextApply(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	write(t, path, "old")
	ctx, cancel := context.WithCancel(t.Context())
	p := &fakeProxy{reload: func() error { cancel(); return context.Canceled }}
	tx := newFake(t, p)
	c := Candidate{Generation: "g1", Files: []File{{Path: path, Content: []byte("new")}}}
	if _, err := tx.Apply(ctx, c); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	if got, _ := os.ReadFile(path); string(got) != "new" {
		t.Errorf("on disk: %q", got)
	}
	p.reload = nil
	if out, err := tx.Apply(t.Context(), c); err != nil || out.Changed || !out.Reloaded {
		t.Errorf("the next one: %+v, %v", out, err)
	}
}

// A confirmed configuration of which no good copy could be made is restored all the same.
func TestRollbackIsToWhatWasConfirmedLast(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	p := &fakeProxy{}
	tx := newFake(t, p)
	apply := func(content string) error {
		_, err := tx.Apply(t.Context(), Candidate{Generation: content, Files: []File{{Path: path, Content: []byte(content)}}})
		if err == nil {
			p.running = func() (string, error) { return content, nil }
		}
		return err
	}
	if err := apply("one"); err != nil {
		t.Fatal(err)
	}
	tx.disk.before = func(_, path string) error {
		if strings.HasSuffix(path, ".next") {
			return unix.ENOSPC
		}
		return nil
	}
	if err := apply("two"); err != nil {
		t.Fatalf("that no good copy can be made is no reason not to serve: %v", err)
	}
	tx.disk.before = nil
	failed := false
	p.reload = func() error {
		if failed {
			return nil
		}
		failed = true
		return errFake
	}
	if err := apply("three"); !errors.Is(err, errFake) {
		t.Fatalf("got %v", err)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "two" {
		t.Errorf("restored %q, %v, want what was confirmed last", got, err)
	}
}

func TestTwoRenderersForOneFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.conf")
	c := Candidate{Generation: "g", Files: []File{{Path: path, Content: []byte("new")}}}
	first, second := newFake(t, &fakeProxy{}), newFake(t, &fakeProxy{})
	if err := first.Lock(path); err != nil {
		t.Fatal(err)
	}
	if err := second.Lock(path); !errors.Is(err, ErrLocked) {
		t.Errorf("second lock: %v", err)
	}
	if _, err := second.Apply(t.Context(), c); !errors.Is(err, ErrLocked) {
		t.Errorf("second apply: %v", err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("it was written all the same: %v", err)
	}
	if _, err := first.Apply(t.Context(), c); err != nil {
		t.Errorf("first apply: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := second.Apply(t.Context(), c); err != nil {
		t.Errorf("after the first was closed: %v", err)
	}
}

func TestCandidatesThatAreNone(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink("loop", filepath.Join(dir, "loop")); err != nil {
		t.Fatal(err)
	}
	a := File{Path: filepath.Join(dir, "a")}
	for name, c := range map[string]Candidate{
		"no generation": {Files: []File{a}},
		"no files":      {Generation: "g"},
		"relative":      {Generation: "g", Files: []File{{Path: "a"}}},
		"twice":         {Generation: "g", Files: []File{a, a}},
		"loop":          {Generation: "g", Files: []File{{Path: filepath.Join(dir, "loop")}}},
		"no directory":  {Generation: "g", Files: []File{{Path: filepath.Join(dir, "none", "a")}}},
	} {
		p := &fakeProxy{}
		_, err := newFake(t, p).Apply(t.Context(), c)
		if e, ok := errors.AsType[*StepError](err); !ok || e.Step != StepStage || len(p.calls) > 0 {
			t.Errorf("%s: got %v after %v", name, err, p.calls)
		}
	}
}

func TestLeftoversOfAKilledRunAreRemoved(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "m.conf")
	write(t, path, "same")
	write(t, filepath.Join(dir, ".rollcall-m.conf.staged"), "half")
	p := &fakeProxy{running: func() (string, error) { return "g", nil }}
	if _, err := newFake(t, p).Apply(t.Context(), Candidate{Generation: "g", Files: []File{{Path: path, Content: []byte("same")}}}); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(p.calls, []string{"confirm g"}) {
		t.Errorf("calls: %v", p.calls)
	}
	noLeftovers(t, dir)
}
