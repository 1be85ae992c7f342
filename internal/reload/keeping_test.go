package reload

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// What somebody had written by hand is put aside when it is replaced.
func TestForeignFileIsPutAside(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a"), "by hand")
	tx := newFake(t, &fakeProxy{})
	for _, content := range []string{"one", "two"} {
		if _, err := tx.Apply(t.Context(), Candidate{Generation: content, Files: []File{{Path: filepath.Join(dir, "a"), Content: []byte(content)}}}); err != nil {
			t.Fatal(err)
		}
	}
	if got := tree(t, dir)[".rollcall-a.before"]; got != "by hand" {
		t.Errorf("put aside: %q", got)
	}
}

// What holds a secret is its owner's to read, whatever it was before.
func TestPrivateFile(t *testing.T) {
	dir := t.TempDir()
	path, asset := filepath.Join(dir, "a"), filepath.Join(AssetDir(filepath.Join(dir, "a")), "hosts-0123456789ab.map")
	write(t, path, "old")
	p := &fakeProxy{}
	tx := newFake(t, p)
	mode := func(path string) fs.FileMode {
		t.Helper()
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info.Mode().Perm()
	}
	apply := func(content string, private bool) Outcome {
		t.Helper()
		out, err := tx.Apply(t.Context(), Candidate{
			Generation: "g-" + content, Files: []File{{Path: path, Content: []byte(content), Private: private}},
			Assets: []Asset{{Path: asset, Content: []byte("map"), Public: true}},
		})
		if err != nil {
			t.Fatal(err)
		}
		p.running = func() (string, error) { return "g-" + content, nil }
		return out
	}
	apply("one", false)
	if got := mode(path); got != 0o644 {
		t.Errorf("what everybody may read has mode %o", got)
	}
	if out := apply("one", true); !out.Changed || mode(path) != 0o600 {
		t.Errorf("the same, made private: %+v, mode %o", out, mode(path))
	}
	if out := apply("one", true); out.Changed || out.Reloaded {
		t.Errorf("nothing has changed: %+v", out)
	}
	apply("two", true)
	for _, name := range []string{"a", ".rollcall-a.good"} {
		if got := mode(filepath.Join(dir, name)); got != 0o600 {
			t.Errorf("%s has mode %o, want 600", name, got)
		}
	}
	if file, dir := mode(asset), mode(filepath.Dir(asset)); file != 0o644 || dir != 0o711 {
		t.Errorf("a public asset has mode %o in a directory of %o", file, dir)
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
	_, err := newFake(t, &fakeProxy{}).Apply(t.Context(), Candidate{Generation: "g", Files: []File{{Path: link, Content: []byte("new")}, {Path: fresh, Content: []byte("new")}}})
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
		tx.disk.before = func(op, name string) error {
			if op == "rename" && name == path {
				return unix.EBUSY
			}
			return nil
		}
	}
	before, _ := os.Stat(path)
	out, err := tx.Apply(t.Context(), Candidate{Generation: "g", Files: []File{{Path: path, Content: []byte("new")}}})
	if err != nil || !out.Changed {
		t.Fatalf("got %+v, %v", out, err)
	}
	after, _ := os.Stat(path)
	if got, _ := os.ReadFile(path); string(got) != "new" || !os.SameFile(before, after) {
		t.Errorf("on disk: %q, same file: %t", got, os.SameFile(before, after))
	}
	noLeftovers(t, dir)
}
