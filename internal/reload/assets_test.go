package reload

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// A keeper is a configuration of one file with assets.
type keeper struct{ dir, path, assets string }

func newKeeper(t *testing.T) keeper {
	dir := t.TempDir()
	path := filepath.Join(dir, "m.conf")
	return keeper{dir, path, AssetDir(path)}
}

const hash = "-0123456789ab.pem"

// candidate names assets, and has them.
func (k keeper) candidate(generation string, assets ...string) Candidate {
	c := Candidate{Generation: generation}
	text := generation
	for _, name := range assets {
		text += " " + name + hash
		c.Assets = append(c.Assets, Asset{Path: filepath.Join(k.assets, name+hash), Content: []byte("key of " + name)})
	}
	c.Files = []File{{Path: k.path, Content: []byte(text)}}
	return c
}

// has checks what lies in the directory for assets.
func (k keeper) has(t *testing.T, when string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(k.assets)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, strings.TrimSuffix(e.Name(), hash))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", when, diff)
	}
}

func TestAssetsAreThereBeforeTheCheckAndGoWithTheLastWhoNamesThem(t *testing.T) {
	k := newKeeper(t)
	p := &fakeProxy{}
	tx := newFake(t, p)
	apply := func(c Candidate, works bool) {
		t.Helper()
		if _, err := tx.Apply(t.Context(), c); (err == nil) != works {
			t.Fatalf("apply %s: %v", c.Generation, err)
		}
	}
	p.validate = func(Staged) error { k.has(t, "during the check", "a", "b"); return nil }
	apply(k.candidate("g1", "a", "b"), true)
	p.validate = nil
	k.has(t, "g1", "a", "b")

	for path, want := range map[string]os.FileMode{k.assets: 0o711 | os.ModeDir, filepath.Join(k.assets, "a"+hash): 0o600} {
		info, err := os.Stat(path)
		if err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v, want %v", path, info.Mode(), err, want)
		}
	}

	p.validate = func(Staged) error { k.has(t, "during a check that fails", "a", "b", "c"); return errFake }
	apply(k.candidate("g2", "b", "c"), false)
	k.has(t, "refused", "a", "b")
	if err := tx.Check(t.Context(), k.candidate("g2", "b", "c")); !errors.Is(err, errFake) {
		t.Errorf("check: %v", err)
	}
	k.has(t, "checked", "a", "b")

	p.validate = nil
	p.running = func() (string, error) { return "g1", nil }
	p.confirm = func(g string) (Workers, error) {
		k.has(t, "during the confirmation of "+g, "a", "b", "c")
		if g == "g1" {
			return finishing{}, nil
		}
		return nil, errFake
	}
	apply(k.candidate("g2", "b", "c"), false)
	k.has(t, "rolled back", "a", "b")

	p.confirm = nil
	apply(k.candidate("g2", "b", "c"), true)
	k.has(t, "g2", "b", "c")

	// A server that does not run needs them when it starts; so does who reads what is
	// on disk, and the last good one.
	p.reload = func() error { return ErrNotRunning }
	apply(k.candidate("g3", "d"), false)
	k.has(t, "left for the next start", "b", "c", "d")
	p.reload = nil
	tx.Close()
	tx = newFake(t, p)
	p.validate = func(Staged) error { return errFake }
	apply(k.candidate("g4", "e"), false)
	k.has(t, "after a restart of ours", "b", "c", "d")
	p.validate = nil
	apply(k.candidate("g5"), true)
	k.has(t, "none is needed")
}

func TestAssetsThatAreEqualAreNotWritten(t *testing.T) {
	k := newKeeper(t)
	p := &fakeProxy{running: func() (string, error) { return "g1", nil }}
	tx := newFake(t, p)
	apply := func() os.FileInfo {
		t.Helper()
		if _, err := tx.Apply(t.Context(), k.candidate("g1", "a")); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join(k.assets, "a"+hash))
		if err != nil || string(b) != "key of a" {
			t.Fatalf("asset: %q, %v", b, err)
		}
		info, _ := os.Stat(filepath.Join(k.assets, "a"+hash))
		return info
	}
	first := apply()
	if !os.SameFile(first, apply()) {
		t.Error("written again")
	}
	tx.Close()
	tx = newFake(t, p)
	if !os.SameFile(first, apply()) {
		t.Error("written again after a restart")
	}
	// Behind our back: edited, removed, replaced by a link.
	path := filepath.Join(k.assets, "a"+hash)
	write(t, path, "key of b")
	apply()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	apply()
	outside := filepath.Join(k.dir, "outside")
	write(t, outside, "key of a")
	if err := errors.Join(os.Remove(path), os.Symlink(outside, path)); err != nil {
		t.Fatal(err)
	}
	apply()
	if info, err := os.Lstat(path); err != nil || !info.Mode().IsRegular() {
		t.Errorf("a link stays in the asset's place: %v, %v", info, err)
	}
	if err := os.RemoveAll(k.assets); err != nil {
		t.Fatal(err)
	}
	apply()
}

func TestOnlyAssetsAreRemoved(t *testing.T) {
	k := newKeeper(t)
	tx := newFake(t, &fakeProxy{})
	if _, err := tx.Apply(t.Context(), k.candidate("g1", "a", "listed")); err != nil {
		t.Fatal(err)
	}
	outside := filepath.Join(k.dir, "outside"+hash)
	write(t, outside, "x")
	write(t, filepath.Join(k.assets, "README"), "x")
	write(t, filepath.Join(k.assets, "mine.pem"), "x")
	write(t, filepath.Join(k.assets, "forgotten"+hash), "x")
	write(t, filepath.Join(k.assets, freshAsset), "half")
	if err := errors.Join(os.Symlink(outside, filepath.Join(k.assets, "link"+hash)), os.Mkdir(filepath.Join(k.assets, "dir"+hash), 0o700)); err != nil {
		t.Fatal(err)
	}
	// An asset may name others, as HAProxy's list of certificates does.
	list := Asset{Path: filepath.Join(k.assets, "list-aabbccddeeff.txt"), Content: []byte("listed" + hash)}
	c := k.candidate("g2")
	c.Files[0].Content = []byte("g2 list-aabbccddeeff.txt")
	c.Assets = append(k.candidate("", "listed").Assets, list)
	if _, err := tx.Apply(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	k.has(t, "g2", "README", "dir", "link", "list-aabbccddeeff.txt", "listed", "mine.pem")
	if _, err := os.Stat(outside); err != nil {
		t.Error(err)
	}
	// Half of what a candidate needs is worth nothing.
	tx.disk.before = func(op, path string) error {
		if op == "rename" && filepath.Base(path) == "c"+hash {
			return errFake
		}
		return nil
	}
	if _, err := tx.Apply(t.Context(), k.candidate("g3", "b", "c")); err == nil {
		t.Fatal("applied")
	}
	k.has(t, "g3 refused", "README", "dir", "link", "list-aabbccddeeff.txt", "listed", "mine.pem")
}

func TestAssetsThatCannotBeWritten(t *testing.T) {
	tests := []struct {
		name  string
		spoil func(k keeper, tx *Transaction) error
		want  string
	}{
		{"the directory is a file", func(k keeper, _ *Transaction) error { return os.WriteFile(k.assets, nil, 0o600) }, "is no directory (hint:"},
		{"the directory is a link", func(k keeper, _ *Transaction) error { return os.Symlink(k.dir, k.assets) }, "is no directory (hint:"},
		{"a directory in its place", func(k keeper, _ *Transaction) error {
			return os.MkdirAll(filepath.Join(k.assets, "a"+hash, "x"), 0o700)
		}, "a" + hash},
		{"the disk is full", func(_ keeper, tx *Transaction) error {
			tx.disk.before = func(op, _ string) error {
				if op == "write" {
					return unix.ENOSPC
				}
				return nil
			}
			return nil
		}, "no space left on device (hint:"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			k := newKeeper(t)
			p := &fakeProxy{}
			tx := newFake(t, p)
			if err := tt.spoil(k, tx); err != nil {
				t.Fatal(err)
			}
			_, err := tx.Apply(t.Context(), k.candidate("g", "a"))
			step, _ := errors.AsType[*StepError](err)
			if step == nil || step.Step != StepStage || len(p.calls) > 0 || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v after %v, want %q", err, p.calls, tt.want)
			}
			tx.disk.before = nil
			if err := os.RemoveAll(k.assets); err != nil {
				t.Fatal(err)
			}
			if _, err := tx.Apply(t.Context(), k.candidate("g", "a")); err != nil {
				t.Errorf("the next one: %v", err)
			}
		})
	}
}
