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

// A fakeProxy is a server that does what its functions say, and by default all it is told.
type fakeProxy struct {
	calls    []string
	validate func(Staged) error
	reload   func() error
	running  func() (string, error)
	confirm  func(generation string) (Workers, error)
}

var _ Proxy = (*fakeProxy)(nil)

func (p *fakeProxy) Name() string { return "fake" }

func (p *fakeProxy) Validate(_ context.Context, s Staged) error {
	p.calls = append(p.calls, "validate "+s.Generation)
	if p.validate == nil {
		return nil
	}
	return p.validate(s)
}

func (p *fakeProxy) Reload(context.Context) error {
	p.calls = append(p.calls, "reload")
	if p.reload == nil {
		return nil
	}
	return p.reload()
}

func (p *fakeProxy) Running(context.Context) (string, error) {
	if p.running == nil {
		return "", ErrNotRunning
	}
	return p.running()
}

func (p *fakeProxy) Confirm(_ context.Context, generation string) (Workers, error) {
	p.calls = append(p.calls, "confirm "+generation)
	if p.confirm == nil {
		return workers{}, nil
	}
	return p.confirm(generation)
}

func newFake(t *testing.T, p *fakeProxy) *Transaction {
	t.Helper()
	tx := New(Config{Proxy: p, Logger: discard(t)})
	t.Cleanup(func() { tx.Close() })
	return tx
}

// tree reads a directory: name → content.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(e.Name(), ".lock") {
			got[e.Name()] = string(b)
		}
	}
	return got
}

var errFake = errors.New("no")

func TestEveryStepThatFails(t *testing.T) {
	failFor := func(bad string) func(string) (Workers, error) {
		return func(g string) (Workers, error) {
			if g == bad {
				return nil, &ServerError{Err: errFake, Output: "its words"}
			}
			return workers{}, nil
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
				tx.rename = func(from, to string) error {
					if filepath.Base(to) == "b" {
						return errFake
					}
					return os.Rename(from, to)
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
			if !ok || e.Step != tt.step || e.Output != tt.output || e.Rollback != nil {
				t.Errorf("got %#v (%v), want a failed %s with output %q", e, err, tt.step, tt.output)
			}
			if tt.step != StepStage && !errors.Is(err, errFake) {
				t.Errorf("got %v, which does not wrap the cause", err)
			}
			if out != (Outcome{}) {
				t.Errorf("outcome of a failure: %+v", out)
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
			p.validate, p.reload, p.confirm, tx.rename = nil, nil, nil, os.Rename
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

func TestOwnerModeAndLinkAreKept(t *testing.T) {
	dir := t.TempDir()
	real, link, fresh := filepath.Join(dir, "real"), filepath.Join(dir, "link"), filepath.Join(dir, "fresh")
	write(t, real, "old")
	if err := errors.Join(os.Chmod(real, 0o640), os.Symlink("real", link)); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(real, 12, 34); err != nil {
			t.Fatal(err)
		}
	}
	var before, after, young unix.Stat_t
	if err := unix.Stat(real, &before); err != nil {
		t.Fatal(err)
	}
	old := unix.Umask(0o077)
	_, err := newFake(t, &fakeProxy{}).Apply(t.Context(), Candidate{Generation: "g", Files: []File{{link, []byte("new")}, {fresh, []byte("new")}}})
	unix.Umask(old)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(unix.Stat(real, &after), unix.Stat(fresh, &young)); err != nil {
		t.Fatal(err)
	}
	if after.Mode != before.Mode || after.Uid != before.Uid || after.Gid != before.Gid || after.Ino == before.Ino {
		t.Errorf("got mode %o, owner %d:%d; want %o, %d:%d and another inode", after.Mode, after.Uid, after.Gid, before.Mode, before.Uid, before.Gid)
	}
	if young.Mode&0o777 != 0o644 {
		t.Errorf("new file: mode %o, want 644", young.Mode&0o777)
	}
	if target, err := os.Readlink(link); err != nil || target != "real" {
		t.Errorf("the link became %q, %v", target, err)
	}
	if got, _ := os.ReadFile(real); string(got) != "new" {
		t.Errorf("linked file: %q", got)
	}
}

func TestFileThatIsAMountIsWrittenInPlace(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "m.conf")
	write(t, path, "old and longer")
	tx := newFake(t, &fakeProxy{})
	if err := unix.Mount(path, path, "", unix.MS_BIND, ""); err == nil {
		t.Cleanup(func() { _ = unix.Unmount(path, unix.MNT_DETACH) })
	} else {
		// Without the right to mount, what the kernel says to a rename stands in.
		tx.rename = func(from, to string) error { return &os.LinkError{Op: "rename", Old: from, New: to, Err: unix.EBUSY} }
	}
	before, _ := os.Stat(path)
	out, err := tx.Apply(t.Context(), Candidate{Generation: "g", Files: []File{{path, []byte("new")}}})
	if err != nil || !out.Changed {
		t.Fatalf("got %+v, %v", out, err)
	}
	after, _ := os.Stat(path)
	if got, _ := os.ReadFile(path); string(got) != "new" || !os.SameFile(before, after) {
		t.Errorf("on disk: %q, same file: %t", got, os.SameFile(before, after))
	}
	noLeftovers(t, dir)
}

func TestTwoRenderersForOneFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.conf")
	c := Candidate{Generation: "g", Files: []File{{path, []byte("new")}}}
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
	if _, err := newFake(t, p).Apply(t.Context(), Candidate{Generation: "g", Files: []File{{path, []byte("same")}}}); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(p.calls, []string{"confirm g"}) {
		t.Errorf("calls: %v", p.calls)
	}
	noLeftovers(t, dir)
}
