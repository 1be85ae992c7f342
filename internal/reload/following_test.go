package reload

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A fakeLive is a server whose members change while it runs. Generation and structure are
// words of its file, as "g1 s1 members", and its members those of the last Sync.
type fakeLive struct {
	fakeProxy
	path    string
	loaded  Serving
	deaf    error // what Sync gives
	members string
}

var _ Live = (*fakeLive)(nil)

func (p *fakeLive) Reload(ctx context.Context) error {
	err := p.fakeProxy.Reload(ctx)
	content, readErr := os.ReadFile(p.path)
	if words := strings.Fields(string(content)); readErr == nil && err == nil {
		p.loaded, p.members = Serving{words[0], words[1]}, words[2]
	}
	return errors.Join(err, readErr)
}

func (p *fakeLive) Running(context.Context) (Serving, error) {
	if p.loaded == (Serving{}) {
		return Serving{}, ErrNotRunning
	}
	return p.loaded, nil
}

func (p *fakeLive) Confirm(ctx context.Context, generation string) (Workers, error) {
	if p.loaded.Generation != generation {
		return nil, errors.New("it serves " + p.loaded.Generation)
	}
	return p.fakeProxy.Confirm(ctx, generation)
}

func (p *fakeLive) Sync(_ context.Context, want Members, readBack bool) (int, error) {
	call, member := "sync ", want.Pools[0].Members[0].Name
	if readBack {
		call = "read back "
	}
	p.calls = append(p.calls, call+member)
	if p.deaf != nil || p.members == member {
		return 0, p.deaf
	}
	p.members = member
	return 1, nil
}

func (p *fakeLive) Leaving() []*Leaver { return nil }

// one is a candidate of a single file whose one member is named.
func (p *fakeLive) one(generation, structure, member string) Candidate {
	return Candidate{
		Generation: generation, Files: []File{{Path: p.path, Content: []byte(generation + " " + structure + " " + member + "\n")}},
		Members: &Members{Structure: structure, Pools: []*Pool{{Name: "web", Members: []Member{{Name: member}}}}},
	}
}

func newLive(t *testing.T) (*fakeLive, *Transaction) {
	p := &fakeLive{path: filepath.Join(t.TempDir(), "conf")}
	tx := New(Config{Proxy: p, Logger: discard(t)})
	t.Cleanup(func() { tx.Close() })
	if _, err := tx.Apply(t.Context(), p.one("g1", "s1", "a")); err != nil {
		t.Fatal(err)
	}
	p.calls = nil
	return p, tx
}

func (p *fakeLive) check(t *testing.T, file string, calls ...string) {
	t.Helper()
	content, err := os.ReadFile(p.path)
	if err != nil || strings.TrimSpace(string(content)) != file {
		t.Errorf("on disk: got %q, %v; want %q", content, err, file)
	}
	if diff := cmp.Diff(calls, p.calls); diff != "" {
		t.Errorf("calls: %s", diff)
	}
	p.calls = nil
}

// TestMembersNeedNoReload has Apply told of new members and of a new structure.
func TestMembersNeedNoReload(t *testing.T) {
	p, tx := newLive(t)
	out, err := tx.Apply(t.Context(), p.one("g2", "s1", "b"))
	if err != nil || out.Reloaded || !out.Changed || out.Members != 1 || out.Old == nil {
		t.Errorf("got %+v, %v", out, err)
	}
	p.check(t, "g2 s1 b", "confirm g1", "validate g2", "read back b")

	p.validate = func(Staged) error { return errFake }
	if _, err = tx.Apply(t.Context(), p.one("g3", "s1", "c")); err == nil {
		t.Error("what is refused is applied")
	}
	p.check(t, "g2 s1 b", "confirm g1", "validate g3")
	p.validate = nil

	p.members = "x" // by somebody else
	if out, err = tx.Apply(t.Context(), p.one("g2", "s1", "b")); err != nil || out.Members != 1 || out.Changed {
		t.Errorf("drift: got %+v, %v", out, err)
	}
	p.check(t, "g2 s1 b", "confirm g1", "read back b")

	if out, err = tx.Apply(t.Context(), p.one("g3", "s2", "b")); err != nil || !out.Reloaded {
		t.Errorf("another structure: got %+v, %v", out, err)
	}
	p.check(t, "g3 s2 b", "validate g3", "reload", "confirm g3", "read back b")
}

// TestEditedFileIsReloaded: the server may have read what somebody else has written.
func TestEditedFileIsReloaded(t *testing.T) {
	p, tx := newLive(t)
	if err := os.WriteFile(p.path, []byte("g1 s1 mine\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Place(t.Context(), p.one("g2", "s1", "b")); !errors.Is(err, ErrNeedsReload) {
		t.Errorf("place: got %v", err)
	}
	out, err := tx.Apply(t.Context(), p.one("g2", "s1", "b"))
	if err != nil || !out.Reloaded {
		t.Errorf("got %+v, %v", out, err)
	}
	p.check(t, "g2 s1 b", "validate g2", "reload", "confirm g2", "read back b")
}

// TestServerThatTakesNoMembers is reloaded, and once that did not help it is not tried again.
func TestServerThatTakesNoMembers(t *testing.T) {
	p, tx := newLive(t)
	p.deaf = errors.New("connection refused")
	if _, err := tx.Apply(t.Context(), p.one("g2", "s1", "b")); !errors.Is(err, p.deaf) {
		t.Errorf("once may pass by itself: got %v", err)
	}
	p.check(t, "g1 s1 a", "confirm g1", "validate g2", "read back b")
	if out, err := tx.Apply(t.Context(), p.one("g2", "s1", "b")); err != nil || !out.Reloaded {
		t.Errorf("got %+v, %v", out, err)
	}
	p.check(t, "g2 s1 b", "confirm g1", "validate g2", "read back b", "validate g2", "reload", "confirm g2", "read back b")
	if out, err := tx.Apply(t.Context(), p.one("g2", "s1", "b")); err != nil || out.Reloaded {
		t.Errorf("again: got %+v, %v", out, err)
	}
	p.check(t, "g2 s1 b", "confirm g2")
	if _, err := tx.Sync(t.Context(), p.one("g2", "s1", "c").Members); !errors.Is(err, ErrNeedsReload) {
		t.Errorf("sync: got %v", err)
	}
	p.deaf = nil
	if out, err := tx.Apply(t.Context(), p.one("g3", "s1", "c")); err != nil || !out.Reloaded {
		t.Errorf("another member: got %+v, %v", out, err)
	}
	p.check(t, "g3 s1 c", "validate g3", "reload", "confirm g3", "read back c")
	if _, err := tx.Sync(t.Context(), p.one("g3", "s1", "d").Members); err != nil {
		t.Errorf("sync once it takes them: %v", err)
	}
}

// TestSyncThenPlace is how members usually change.
func TestSyncThenPlace(t *testing.T) {
	p, tx := newLive(t)
	if _, err := tx.Sync(t.Context(), p.one("g2", "s2", "b").Members); !errors.Is(err, ErrNeedsReload) {
		t.Errorf("another structure: got %v", err)
	}
	out, err := tx.Sync(t.Context(), p.one("g2", "s1", "b").Members)
	if err != nil || out.Members != 1 || out.Changed || out.Old == nil {
		t.Errorf("sync: got %+v, %v", out, err)
	}
	p.check(t, "g1 s1 a", "sync b")

	p.validate = func(Staged) error { return &ServerError{Err: errFake, Output: "its words"} }
	_, err = tx.Place(t.Context(), p.one("g2", "s1", "b"))
	if e, ok := errors.AsType[*StepError](err); !ok || e.Step != StepValidate || e.Output != "its words" {
		t.Errorf("refused: got %v", err)
	}
	p.check(t, "g1 s1 a", "validate g2")

	p.validate = nil
	if out, err = tx.Place(t.Context(), p.one("g2", "s1", "b")); err != nil || !out.Changed || out.Reloaded {
		t.Errorf("place: got %+v, %v", out, err)
	}
	p.check(t, "g2 s1 b", "validate g2")
}

// TestRollbackOfAServerAheadOfItsStart: what the files before say is another generation
// than the one the server was started with.
func TestRollbackOfAServerAheadOfItsStart(t *testing.T) {
	p, tx := newLive(t)
	if _, err := tx.Apply(t.Context(), p.one("g2", "s1", "b")); err != nil {
		t.Fatal(err)
	}
	p.calls = nil
	p.confirm = func(generation string) (Workers, error) {
		if generation == "g3" {
			return nil, errFake
		}
		return finishing{}, nil
	}
	_, err := tx.Apply(t.Context(), p.one("g3", "s2", "b"))
	if e, ok := errors.AsType[*StepError](err); !ok || !e.Restored || e.Step != StepConfirm {
		t.Errorf("got %v", err)
	}
	p.check(t, "g2 s1 b", "validate g3", "reload", "confirm g3", "reload", "confirm g2", "read back b")

	// What the server was told after the files were written counts: a member that was
	// acknowledged as gone must not be back.
	if _, err := tx.Sync(t.Context(), p.one("g2", "s1", "c").Members); err != nil {
		t.Fatal(err)
	}
	p.calls = nil
	if _, err := tx.Apply(t.Context(), p.one("g3", "s2", "c")); err == nil {
		t.Error("what is not confirmed is applied")
	}
	p.check(t, "g2 s1 b", "validate g3", "reload", "confirm g3", "reload", "confirm g2", "read back c")
	if p.members != "c" {
		t.Errorf("in service: %s", p.members)
	}
}
