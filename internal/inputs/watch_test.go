package inputs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
)

// watch runs the files' watch until the test ends. The safety net is out of the way
// unless the test asks for it.
func watch(t *testing.T, f *Files) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run: %v", err)
		}
	})
	token(t, f, "the start")
}

func token(t *testing.T, f *Files, what string) {
	t.Helper()
	select {
	case <-f.Changed():
	case <-time.After(patience):
		t.Fatalf("%s: not noticed within %s", what, patience)
	}
}

// calm waits until what was done before brings no more tokens.
func calm(f *Files) {
	for {
		select {
		case <-f.Changed():
		case <-time.After(4 * f.quiet):
			return
		}
	}
}

func withoutNet(change func(*Config)) *Files {
	f := newFiles(change)
	f.look = time.Hour
	return f
}

// TestChangesOfAFile has a template changed in every way in which files are.
func TestChangesOfAFile(t *testing.T) {
	root := t.TempDir()
	dir, aside := filepath.Join(root, "etc", "own"), filepath.Join(root, "aside")
	path := filepath.Join(dir, "own.tmpl")
	write(t, dir, map[string]string{"own.tmpl": "0\n"})
	f := withoutNet(func(c *Config) { c.Templates = []string{path} })
	watch(t, f)
	for i, step := range []struct {
		name string
		do   func(text string) error
	}{
		{"written in place", func(text string) error { return os.WriteFile(path, []byte(text), 0o600) }},
		{"renamed over", func(text string) error {
			return errors.Join(os.WriteFile(path+".new", []byte(text), 0o600), os.Rename(path+".new", path))
		}},
		{"deleted", func(string) error { return os.Remove(path) }},
		{"there again", func(text string) error { return os.WriteFile(path, []byte(text), 0o600) }},
		{"forbidden", func(string) error { return os.Chmod(path, 0) }},
		{"directory replaced", func(text string) error {
			return errors.Join(os.Mkdir(aside, 0o700), os.WriteFile(filepath.Join(aside, "own.tmpl"), []byte(text), 0o600),
				os.Rename(dir, dir+".old"), os.Rename(aside, dir))
		}},
		{"written in place in the new directory", func(text string) error { return os.WriteFile(path, []byte(text), 0o600) }},
		{"an ancestor taken away", func(string) error { return os.Rename(filepath.Dir(dir), aside) }},
		{"and brought back", func(string) error { return os.Rename(aside, filepath.Dir(dir)) }},
		{"a link elsewhere", func(text string) error {
			return errors.Join(os.WriteFile(filepath.Join(root, "real"), []byte(text), 0o600), os.Remove(path), os.Symlink("../../real", path))
		}},
		{"written behind the link", func(text string) error { return os.WriteFile(filepath.Join(root, "real"), []byte(text), 0o600) }},
	} {
		text := fmt.Sprintln(i + 1)
		if err := step.do(text); err != nil {
			t.Fatal(err)
		}
		token(t, f, step.name)
		calm(f)
	}
	s := load(t, f)
	if again := load(t, newFiles(func(c *Config) { c.Templates = []string{path} })); again.ID != s.ID {
		t.Errorf("%s is not %s", s.ID, again.ID)
	}
}

// TestChangesOfADirectory is what Kubernetes and certbot do, with links within links.
func TestChangesOfADirectory(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "certs")
	f := withoutNet(func(c *Config) { c.Certs = dir })
	watch(t, f)
	volume := func(n int) func() error {
		return func() error {
			chain, key := pair(t, "www.example")
			write(t, dir, map[string]string{fmt.Sprintf("..%d/www.crt", n): string(chain), fmt.Sprintf("..%d/www.key", n): string(key)})
			return errors.Join(os.Symlink(fmt.Sprintf("..%d", n), filepath.Join(dir, "..new")), os.Rename(filepath.Join(dir, "..new"), filepath.Join(dir, "..data")))
		}
	}
	pems := map[string]bool{}
	for _, step := range []struct {
		name string
		do   func() error
		want int // pairs
	}{
		{"a directory that was not there", func() error { return os.Mkdir(dir, 0o700) }, 0},
		{"a volume", func() error {
			return errors.Join(volume(1)(), os.Symlink("..data/www.crt", filepath.Join(dir, "www.example.crt")), os.Symlink("..data/www.key", filepath.Join(dir, "www.example.key")))
		}, 1},
		{"a newer one", volume(2), 1},
		{"certbot's", func() error {
			chain, key := pair(t, "b.example")
			write(t, root, map[string]string{"archive/fullchain1.pem": string(chain), "archive/privkey1.pem": string(key), "certs/b.example/README": ""})
			return errors.Join(os.Symlink("../../archive/fullchain1.pem", filepath.Join(dir, "b.example/fullchain.pem")), os.Symlink("../../archive/privkey1.pem", filepath.Join(dir, "b.example/privkey.pem")))
		}, 2},
		{"certbot's renewal", func() error {
			chain, key := pair(t, "b.example")
			write(t, root, map[string]string{"archive/fullchain2.pem": string(chain), "archive/privkey2.pem": string(key)})
			for _, name := range []string{"fullchain", "privkey"} {
				link := filepath.Join(dir, "b.example", name+".pem")
				if err := errors.Join(os.Remove(link), os.Symlink("../../archive/"+name+"2.pem", link)); err != nil {
					return err
				}
			}
			return nil
		}, 2},
		{"written behind the links", func() error {
			chain, key := pair(t, "b.example")
			write(t, root, map[string]string{"archive/fullchain2.pem": string(chain), "archive/privkey2.pem": string(key)})
			return nil
		}, 2},
		{"removed", func() error { return os.RemoveAll(filepath.Join(dir, "b.example")) }, 1},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		var s *Set
		for deadline := time.Now().Add(patience); ; {
			token(t, f, step.name)
			if s = load(t, f); len(s.Pairs) == step.want && len(s.Refused) == 0 {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: %d pairs, refused %v", step.name, len(s.Pairs), s.Refused)
			}
		}
		for _, p := range s.Pairs {
			pems[string(p.PEM)] = true
		}
		calm(f)
	}
	if len(pems) != 5 {
		t.Errorf("saw %d certificates, want 5", len(pems))
	}
}

// TestManyEvents has a file written all the time: it is read now and then, not each time.
func TestManyEvents(t *testing.T) {
	dir := t.TempDir()
	f := withoutNet(func(c *Config) { c.DropIn = dir })
	f.quiet = f.noisy / 2 // a pause on a busy machine is no end of the writes
	watch(t, f)
	began, tokens, writes := time.Now(), 0, 0
	for time.Since(began) < 3*f.noisy {
		write(t, dir, map[string]string{"a.conf": fmt.Sprintln(writes)})
		writes++
		select {
		case <-f.Changed():
			tokens++
		default:
		}
	}
	if most := int(time.Since(began)/f.noisy) + 1; tokens == 0 || tokens > most {
		t.Errorf("%d tokens of %d writes in %s, want 1 to %d", tokens, writes, time.Since(began), most)
	}
	token(t, f, "the last write")
}

// TestOthers has what lies beside a template be nobody's business.
func TestOthers(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"own.tmpl": "x\n"})
	f := withoutNet(func(c *Config) {
		c.Templates = []string{filepath.Join(dir, "own.tmpl")}
		c.Outputs = []string{filepath.Join(dir, "out.conf")}
	})
	watch(t, f)
	write(t, dir, map[string]string{"other": "x", ".own.tmpl.swp": "x"})
	select {
	case <-f.Changed():
		t.Error("a file that nobody asked for was noticed")
	case <-time.After(4 * f.quiet):
	}
	write(t, dir, map[string]string{"out.conf": "x"})
	token(t, f, "an output")
}

// TestSurvey has every change show when the files are looked at.
func TestSurvey(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "own")
	path := filepath.Join(dir, "own.tmpl")
	write(t, dir, map[string]string{"own.tmpl": "x\n"})
	f := newFiles(func(c *Config) { c.Templates = []string{path} })
	before := f.survey().sum()
	for _, step := range []struct {
		name   string
		change func() error
		want   bool
	}{
		{"nothing", func() error { return nil }, false},
		{"something else", func() error { return os.WriteFile(path+"2", nil, 0o600) }, false},
		{"content", func() error { return os.WriteFile(path, []byte("longer\n"), 0o600) }, true},
		{"mode", func() error { return os.Chmod(path, 0o400) }, true},
		{"renamed over", func() error { return os.Rename(path+"2", path) }, true},
		{"directory away", func() error { return os.Rename(dir, dir+"2") }, true},
		{"directory back", func() error { return os.Rename(dir+"2", dir) }, true},
		{"a link instead", func() error { return errors.Join(os.Rename(dir, dir+"2"), os.Symlink(dir+"2", dir)) }, true},
		{"content behind the link", func() error { return os.WriteFile(filepath.Join(dir+"2", "own.tmpl"), []byte("even longer\n"), 0o600) }, true},
	} {
		if err := step.change(); err != nil {
			t.Fatal(err)
		}
		now := f.survey().sum()
		if (now != before) != step.want {
			t.Errorf("%s: noticed is %v", step.name, now != before)
		}
		before = now
	}
}

// TestWithoutEvents has the look serve alone where the system has no watches left, and
// that told once.
func TestWithoutEvents(t *testing.T) {
	dir := t.TempDir()
	var log bytes.Buffer
	f := newFiles(func(c *Config) { c.DropIn = dir; c.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	f.look = 10 * time.Millisecond
	f.newWatcher = func() (*fsnotify.Watcher, error) { return nil, syscall.EMFILE }
	t.Run("changes", func(t *testing.T) {
		watch(t, f)
		for _, text := range []string{"one\n", "two three\n"} {
			write(t, dir, map[string]string{"a.conf": text})
			for load(t, f).DropIns == nil || load(t, f).DropIns[0].Content != text {
				token(t, f, text)
			}
		}
	})
	if n := strings.Count(log.String(), "too many open files"); n != 1 {
		t.Errorf("told %d times:\n%s", n, log.String())
	}
}
