package reload

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

const ownMounts = "RELOAD_TEST_OWN_MOUNTS"

// withMounts runs a test in a process that has mounts of its own, so that nothing of
// what it mounts is seen by others, or stays.
func withMounts(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	if os.Getenv(ownMounts) != "" {
		test(t)
		return
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "-test.run=^"+t.Name()+"$", "-test.timeout=2m")
	cmd.Env = append(os.Environ(), ownMounts+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	if id := os.Geteuid(); id != 0 {
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: id, Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, unix.EPERM) && os.Getenv("CI") == "" {
		t.Skip("the kernel lets nobody but root mount anything")
	}
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func mount(t *testing.T, source, target, kind string, flags uintptr, data string) {
	t.Helper()
	if err := unix.Mount(source, target, kind, flags, data); err != nil {
		t.Fatalf("mount %s: %v", target, err)
	}
	t.Cleanup(func() { _ = unix.Unmount(target, unix.MNT_DETACH) })
}

// fillUp leaves so many bytes free on a file system.
func fillUp(t *testing.T, path string, free int64) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	page := make([]byte, 4096)
	for err == nil {
		_, err = f.Write(page)
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	size, err := f.Seek(0, 2)
	if err == nil {
		err = f.Truncate(size - free)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestDisks has everything happen to a disk while a server runs: the reason is
// told, the server stays as it is, and once the cause is gone the next one works.
func TestDisks(t *testing.T) {
	withMounts(t, func(t *testing.T) {
		f := newFixture(t, "nginx")
		disk := filepath.Join(f.dir, "disk")
		dir := filepath.Join(disk, "conf")
		small := filepath.Join(f.dir, "small")
		if err := errors.Join(os.Mkdir(disk, 0o755), os.Mkdir(small, 0o755)); err != nil {
			t.Fatal(err)
		}
		mount(t, "tmpfs", disk, "tmpfs", 0, "size=512k,mode=755")
		mount(t, "tmpfs", small, "tmpfs", 0, "size=64k,mode=755")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		f.main = filepath.Join(dir, "nginx.conf")
		program := filepath.Join(f.dir, "nginx")
		if err := os.Symlink(f.program, program); err != nil {
			t.Fatal(err)
		}
		f.program = program
		tx, s := f.transaction()
		f.apply(tx, "g0")
		before, _ := s.Process()
		filler := filepath.Join(disk, "filler")
		good := (&destination{real: f.main}).goodName()
		asset := Asset{Path: filepath.Join(AssetDir(f.main), "key-0123456789ab.pem"), Content: []byte("key")}
		must := func(errs ...error) {
			t.Helper()
			if err := errors.Join(errs...); err != nil {
				t.Fatal(err)
			}
		}

		for _, tt := range []struct {
			name   string
			spoil  func()
			repair func()
			asset  bool
			step   Step
			want   []string
		}{
			{
				name:   "full when it is staged",
				spoil:  func() { fillUp(t, filler, 0) },
				repair: func() { must(os.Remove(filler)) },
				step:   StepStage, want: []string{"stage " + f.main, "no space left", "hint: make room on the file system of " + dir},
			},
			{
				name: "full when what was found is kept",
				// What is staged takes one page, what is kept would take another.
				spoil:  func() { must(os.Remove(good)); fillUp(t, filler, 4096) },
				repair: func() { must(os.Remove(filler)) },
				step:   StepSwap, want: []string{"keep the last good " + f.main, "no space left", "hint"},
			},
			{
				name:   "full when an asset is written",
				spoil:  func() { fillUp(t, filler, 0) },
				repair: func() { must(os.Remove(filler)) },
				asset:  true, step: StepStage, want: []string{"write " + asset.Path, "no space left", "hint"},
			},
			{
				name:   "read-only",
				spoil:  func() { must(unix.Mount("", disk, "", unix.MS_REMOUNT|unix.MS_RDONLY, "")) },
				repair: func() { must(unix.Mount("", disk, "", unix.MS_REMOUNT, "")) },
				step:   StepStage, want: []string{"stage " + f.main, "read-only file system", "ReadWritePaths="},
			},
			{
				name:   "directory gone",
				spoil:  func() { must(os.Rename(dir, dir+".away")) },
				repair: func() { must(os.Rename(dir+".away", dir)) },
				step:   StepStage, want: []string{"lock " + f.main, "no such file or directory", "hint: create the directory " + dir},
			},
			{
				name:   "directory removed and made again",
				spoil:  func() { must(os.RemoveAll(dir)) },
				repair: func() { must(os.Mkdir(dir, 0o755)) },
				step:   StepStage, want: []string{f.main, "hint: create the directory " + dir},
			},
			{
				name:   "a directory in its place",
				spoil:  func() { must(os.Remove(f.main), os.Mkdir(f.main, 0o755)) },
				repair: func() { must(os.Remove(f.main)) },
				step:   StepStage, want: []string{"read " + f.main, "no regular file", "hint: give the path of a file"},
			},
			{
				name:   "program gone",
				spoil:  func() { must(os.Rename(program, program+".away")) },
				repair: func() { must(os.Rename(program+".away", program)) },
				step:   StepValidate, want: []string{program, "no such file or directory", "hint: is it still installed?"},
			},
			{
				name: "a mounted file on a full disk",
				spoil: func() {
					real := filepath.Join(small, "file")
					b, err := os.ReadFile(f.main)
					must(err, os.WriteFile(real, b, 0o640))
					mount(t, real, f.main, "", unix.MS_BIND, "")
					fillUp(t, filepath.Join(small, "filler"), 0)
					f.extra = strings.Repeat("# more than a page\n", 500)
				},
				repair: func() { must(os.Remove(filepath.Join(small, "filler"))) },
				step:   StepSwap, want: []string{"swap " + f.main, "no space left", "hint"},
			},
		} {
			t.Run(tt.name, func(t *testing.T) {
				outer := f.t
				f.t = t
				defer func() { f.t = outer }()
				was, _ := get(t.Context(), "http://"+f.listen+"/")
				next := "g-" + strings.ReplaceAll(tt.name, " ", "-")
				tt.spoil()
				c := f.candidate(next)
				if tt.asset {
					c.Assets = []Asset{asset}
				}
				overwritten := 0
				tx.disk.before = func(op, _ string) error {
					if op == "overwrite" {
						overwritten++
					}
					return nil
				}
				_, err := tx.Apply(t.Context(), c)
				tx.disk.before = nil
				if overwritten > 1 {
					t.Error("a file that could not be written in place was spoilt by the attempt")
				}
				step, _ := errors.AsType[*StepError](err)
				if step == nil || step.Step != tt.step || step.Rollback != nil {
					t.Errorf("got %v, want a failed %s", err, tt.step)
				}
				for _, want := range tt.want {
					if err != nil && !strings.Contains(err.Error(), want) {
						t.Errorf("%q does not say %q", err, want)
					}
				}
				f.serves(was)
				tt.repair()
				if _, err := tx.Apply(t.Context(), c); err != nil {
					t.Fatalf("the next one: %v\n%s", err, outputOf(err))
				}
				f.serves(next)
				f.onDisk(c.Files[0].Content)
				if now, _ := s.Process(); now != before {
					t.Errorf("another server runs: %v, before %v", now, before)
				}
			})
		}
		info, err := os.Stat(filepath.Join(small, "file"))
		if err != nil || info.Mode() != 0o640 {
			t.Errorf("the mounted file: %v, %v, want mode 640", info, err)
		}
	})
}

// TestGoodCopyThatCannotBeWritten costs nothing but a warning, and is made up for.
func TestGoodCopyThatCannotBeWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	p := &fakeProxy{running: func() (string, error) { return "g", nil }}
	tx := newFake(t, p)
	good := (&destination{real: path}).goodName()
	for _, op := range []string{"write", "rename"} {
		write(t, path, "old "+op)
		write(t, good, "old "+op)
		tx.disk.before = func(o, name string) error {
			if o == op && (strings.HasSuffix(name, ".next") || name == good) {
				return unix.ENOSPC
			}
			return nil
		}
		c := Candidate{Generation: "g", Files: []File{{Path: path, Content: []byte("new " + op)}}}
		if _, err := tx.Apply(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		if b, _ := os.ReadFile(good); string(b) != "old "+op {
			t.Errorf("%s: kept: %q", op, b)
		}
		noLeftovers(t, filepath.Dir(path))
		tx.disk.before = nil
		if out, err := tx.Apply(t.Context(), c); err != nil || out.Changed || out.Reloaded {
			t.Fatalf("%s: the next look: %+v, %v", op, out, err)
		}
		if b, _ := os.ReadFile(good); string(b) != "new "+op {
			t.Errorf("%s: kept in the end: %q", op, b)
		}
	}
}

// TestRollbackOnAFullDisk needs no room.
func TestRollbackOnAFullDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	p := &fakeProxy{}
	tx := newFake(t, p)
	candidate := func(g string) Candidate {
		return Candidate{Generation: g, Files: []File{{Path: path, Content: []byte(g)}}}
	}
	if _, err := tx.Apply(t.Context(), candidate("g1")); err != nil {
		t.Fatal(err)
	}
	p.running = func() (string, error) { return "g1", nil }
	var full atomic.Bool
	tx.disk.before = func(op, _ string) error {
		if full.Load() && (op == "write" || op == "overwrite") {
			return unix.ENOSPC
		}
		return nil
	}
	p.reload = func() error {
		full.Store(true)
		p.reload = nil
		return errFake
	}
	_, err := tx.Apply(t.Context(), candidate("g2"))
	if e, ok := errors.AsType[*StepError](err); !ok || e.Rollback != nil || !errors.Is(err, errFake) {
		t.Errorf("got %v, want a rollback that worked", err)
	}
	if b, _ := os.ReadFile(path); string(b) != "g1" {
		t.Errorf("on disk: %q", b)
	}
	full.Store(false)

	// What was restored by a link is not what an editor may change with the file.
	if _, err := tx.Apply(t.Context(), candidate("g1")); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteString(" by hand")
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile((&destination{real: path}).goodName()); string(b) != "g1" {
		t.Errorf("the last good one was edited too: %q", b)
	}
}
