package inputs

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"rollcall/internal/templates"
)

func TestDropIns(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{
		"b.conf": "b\n", "a.conf": "a\n", "c.cfg": "c\n", ".hidden.conf": "x", "a.conf~": "x", "a.conf.dpkg-old": "x", ".a.conf.swp": "x", "#a.conf": "x", "README": "x",
	})
	for proxy, want := range map[string][]string{"nginx": {"a.conf", "b.conf"}, "apache": {"a.conf", "b.conf"}, "haproxy": {"c.cfg"}} {
		s := load(t, newFiles(func(c *Config) { c.Proxy, c.DropIn = proxy, dir }))
		var got []string
		for _, d := range s.DropIns {
			got = append(got, filepath.Base(d.Path))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", proxy, diff)
		}
	}
}

// TestPrivate has what is made of a file be as private as that is.
func TestPrivate(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"a.conf": "a\n", "b.conf": "b\n"})
	f := newFiles(func(c *Config) { c.Proxy, c.DropIn = "nginx", dir })
	mode := func(name string, mode os.FileMode) {
		t.Helper()
		if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	mode("a.conf", 0o644)
	mode("b.conf", 0o644)
	open := load(t, f)
	mode("b.conf", 0o640)
	secret := load(t, f)
	if open.Private || !secret.Private || open.ID == secret.ID {
		t.Errorf("private %v, then %v; ids %s and %s", open.Private, secret.Private, open.ID, secret.ID)
	}
}

// TestBadDropIn has each be refused alone, and what was good before stay.
func TestBadDropIn(t *testing.T) {
	for _, tc := range []struct {
		name   string
		spoil  func(path string) error
		reason string
	}{
		{"NUL", func(p string) error { return os.WriteFile(p, []byte("one\ntwo\x00\n"), 0o600) }, "line 2: holds a NUL"},
		{"UTF-8", func(p string) error { return os.WriteFile(p, []byte("one\ntwo\n\xff\n"), 0o600) }, "line 3: is not valid UTF-8"},
		{"long", func(p string) error { return os.WriteFile(p, make([]byte, maxFile+1), 0o600) }, "longer than"},
		{"a directory", func(p string) error { return replace(p, func() error { return os.Mkdir(p, 0o700) }) }, "is not a file"},
		{"a pipe", func(p string) error { return replace(p, func() error { return syscall.Mkfifo(p, 0o600) }) }, "is not a file"},
		{"a loop", func(p string) error { return replace(p, func() error { return os.Symlink(p, p) }) }, "too many levels"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "b.conf")
			write(t, dir, map[string]string{"a.conf": "a\n", "b.conf": "good\n"})
			f := newFiles(func(c *Config) { c.DropIn = dir })
			before := load(t, f)
			if err := tc.spoil(path); err != nil {
				t.Fatal(err)
			}
			for _, was := range []struct {
				files *Files
				want  []templates.Fragment
			}{
				{f, before.DropIns},
				{newFiles(func(c *Config) { c.DropIn = dir }), before.DropIns[:1]},
			} {
				s := load(t, was.files)
				if diff := cmp.Diff(was.want, s.DropIns); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
				if len(s.Refused) != 1 || s.Refused[0].File != path || !strings.Contains(s.Refused[0].Reason, tc.reason) {
					t.Errorf("refused %q, want %s for %q", s.Refused, path, tc.reason)
				}
			}
			if err := os.RemoveAll(path); err != nil {
				t.Fatal(err)
			}
			if s := load(t, f); len(s.DropIns) != 1 || len(s.Refused) != 0 {
				t.Errorf("removed: %v, refused %v", s.DropIns, s.Refused)
			}
		})
	}
}

func replace(path string, by func() error) error {
	if err := os.Remove(path); err != nil {
		return err
	}
	return by()
}

func TestTemplates(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "own.tmpl")
	f := newFiles(func(c *Config) { c.Templates = []string{path} })
	for _, tc := range []struct{ name, text, want string }{
		{"syntax", "one\n{{if}}\n", path + ":2: missing value for if"},
		{"an unknown function", "{{env \"HOME\"}}\n", path + `:1: function "env" not defined`},
		{"NUL", "one\n\x00", "template " + path + ": line 2: holds a NUL character"},
		{"nothing", "", "template " + path + ": no such file or directory"},
	} {
		if tc.text == "" {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		} else {
			write(t, dir, map[string]string{"own.tmpl": tc.text})
		}
		if s, err := f.Load(); err == nil || err.Error() != tc.want || s != nil {
			t.Errorf("%s: got %v, want %s", tc.name, err, tc.want)
		}
	}
	write(t, dir, map[string]string{"own.tmpl": "{{.Revision}}\n"})
	s := load(t, f)
	out, err := s.Templates[0].Render(templates.Balancer{Revision: 7})
	if err != nil || string(out.Content) != "7\n" {
		t.Errorf("got %s, %v", out.Content, err)
	}
	if again := load(t, f); again.Templates[0] != s.Templates[0] || again.ID != s.ID {
		t.Error("the same template is another one when it is read again")
	}
	write(t, dir, map[string]string{"own.tmpl": "{{.Revision}} \n"})
	if again := load(t, f); again.ID == s.ID {
		t.Error("another template, but the same ID")
	}
	if s := load(t, newFiles(func(*Config) {})); len(s.Templates) != 1 {
		t.Errorf("without a template of the operator's: %d templates", len(s.Templates))
	}
	if _, err := newFiles(func(c *Config) { c.Proxy = "squid" }).Load(); err == nil {
		t.Error("no error for a server without a template")
	}
}
