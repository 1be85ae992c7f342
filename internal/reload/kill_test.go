package reload

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// A killPlan is what a child of the test does until it is killed. Its points are
// every operation on the disk, before it is done and, of a write, when half of it
// is, and every step before and after.
type killPlan struct {
	Candidate Candidate
	Point     int    // where it dies; the first is 1
	InPlace   string // a file that cannot be replaced
	Kind      string // "" is a fake server
	Program   string
	Main      string
	Control   string
	PidFile   string
}

func helpDie(arg []string) int {
	var plan killPlan
	b, err := os.ReadFile(arg[0])
	if err == nil {
		err = json.Unmarshal(b, &plan)
	}
	if err != nil {
		fmt.Println(err)
		return 3
	}
	var points atomic.Int64
	at := func(half func()) {
		if points.Add(1) == int64(plan.Point) {
			if half != nil {
				half()
			}
			_ = unix.Kill(os.Getpid(), unix.SIGKILL)
			select {}
		}
	}
	proxy, err := plan.proxy()
	if err != nil {
		fmt.Println(err)
		return 3
	}
	tx := New(Config{Logger: slog.New(slog.DiscardHandler), Proxy: mortal{proxy, func() { at(nil) }}})
	tx.disk.before = func(op, path string) error {
		at(nil)
		if op == "write" || op == "overwrite" {
			at(func() { halfWritten(path) })
		}
		if op == "rename" && path == plan.InPlace {
			return unix.EBUSY
		}
		return nil
	}
	if _, err := tx.Apply(context.Background(), plan.Candidate); err != nil {
		fmt.Println(err, outputOf(err))
		return 1
	}
	return 0
}

// halfWritten leaves what a write leaves that is killed in its middle.
func halfWritten(path string) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600)
	if err == nil {
		_, _ = f.WriteString("half of it {")
	}
}

// mortal is a server whose driver dies before and after each step.
type mortal struct {
	Proxy
	at func()
}

func (m mortal) Validate(ctx context.Context, s Staged) error {
	m.at()
	defer m.at()
	return m.Proxy.Validate(ctx, s)
}

func (m mortal) Reload(ctx context.Context) error {
	m.at()
	defer m.at()
	return m.Proxy.Reload(ctx)
}

func (m mortal) Confirm(ctx context.Context, generation string) (Workers, error) {
	m.at()
	defer m.at()
	return m.Proxy.Confirm(ctx, generation)
}

func (p killPlan) proxy() (Proxy, error) {
	switch p.Kind {
	case "nginx":
		return NewNginx(NginxConfig{Main: p.Main, Control: p.Control, Program: p.Program, Master: NginxPidFile(p.PidFile)})
	case "apache":
		return NewApache(ApacheConfig{Main: p.Main, Control: p.Control, Program: p.Program, Master: ApachePidFile(p.PidFile)})
	case "haproxy":
		return NewHAProxy(HAProxyConfig{Main: p.Main, Control: p.Control, Program: p.Program, Master: HAProxyPidFile(p.PidFile)})
	}
	return &fakeProxy{}, nil
}

// die runs the plan in a child; done says that it has not died.
func (p killPlan) die(t *testing.T) (done bool) {
	t.Helper()
	b, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	plan := filepath.Join(t.TempDir(), "plan")
	write(t, plan, string(b))
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), helperMode+"=die "+plan)
	out, err := cmd.CombinedOutput()
	if err == nil {
		return true
	}
	if s, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || !s.Signaled() || s.Signal() != unix.SIGKILL {
		t.Fatalf("point %d: %v\n%s", p.Point, err, out)
	}
	return false
}

// TestKilledAtAnyPoint looks after each point at what is left: the files belong to
// one generation as soon as somebody keeps them again, what they name is there, what
// served last can be restored, and nothing lies about.
func TestKilledAtAnyPoint(t *testing.T) {
	tests := []struct {
		name    string
		files   []string
		assets  bool
		inPlace bool
		fresh   bool // nothing was there before
	}{
		{name: "one file", files: []string{"a"}},
		{name: "several files and assets", files: []string{"a", "b", "c"}, assets: true},
		{name: "first configuration", files: []string{"a", "b"}, assets: true, fresh: true},
		{name: "in place", files: []string{"a"}, inPlace: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			points := 0
			for done := false; !done; {
				points++
				dir := t.TempDir()
				asset := func(version string) Asset {
					return Asset{Path: filepath.Join(AssetDir(filepath.Join(dir, "a")), version+"-0123456789ab.pem"), Content: []byte("key " + version)}
				}
				candidate := func(version string) Candidate {
					c := Candidate{Generation: version}
					for _, name := range tt.files {
						c.Files = append(c.Files, File{Path: filepath.Join(dir, name), Content: []byte(version + " " + name + " " + filepath.Base(asset(version).Path))})
					}
					if tt.assets {
						c.Assets = []Asset{asset(version)}
					}
					return c
				}
				if !tt.fresh {
					tx := newFake(t, &fakeProxy{})
					if _, err := tx.Apply(t.Context(), candidate("old")); err != nil {
						t.Fatal(err)
					}
					tx.Close()
				}
				plan := killPlan{Candidate: candidate("new"), Point: points}
				if tt.inPlace {
					plan.InPlace = filepath.Join(dir, "a")
				}
				done = plan.die(t)
				after := func(what string) string {
					t.Helper()
					return oneGeneration(t, fmt.Sprintf("point %d, %s", points, what), dir, candidate("old"), candidate("new"))
				}

				p := &fakeProxy{}
				tx := newFake(t, p)
				if err := tx.Lock(paths(candidate("new"))...); err != nil {
					t.Fatal(err)
				}
				left := after("kept again")
				served := goodGeneration(t, candidate("new"))
				p.running = func() (string, error) { return served, nil }
				p.confirm = func(g string) (Workers, error) {
					if g == "bad" {
						return nil, errFake
					}
					return finishing{}, nil
				}
				if _, err := tx.Apply(t.Context(), candidate("bad")); err == nil {
					t.Fatal("applied")
				}
				if got := after("rolled back"); served != "" && got != served || served == "" && got != left {
					t.Errorf("point %d: rolled back to %q; %q was left, %q served", points, got, left, served)
				}
				if _, err := tx.Apply(t.Context(), candidate("new")); err != nil {
					t.Fatalf("point %d: the next one: %v", points, err)
				}
				tx.Close()
				want := map[string]string{}
				for _, f := range candidate("new").Files {
					base := filepath.Base(f.Path)
					want[base], want[".rollcall-"+base+".good"] = string(f.Content), string(f.Content)
				}
				if tt.assets {
					want[".rollcall-a.assets/new-0123456789ab.pem"] = "key new"
				}
				if diff := cmp.Diff(want, deepTree(t, dir)); diff != "" {
					t.Errorf("point %d: in the end (-want +got):\n%s", points, diff)
				}
			}
			if points < 12 {
				t.Errorf("only %d points", points)
			}
			t.Logf("%d points", points)
		})
	}
}

func paths(c Candidate) []string {
	var list []string
	for _, f := range c.Files {
		list = append(list, f.Path)
	}
	return list
}

// oneGeneration gives the generation that all files have, "" if none is there, and
// looks whether the assets that they name are.
func oneGeneration(t *testing.T, when, dir string, among ...Candidate) string {
	t.Helper()
	got := deepTree(t, dir)
	found := map[string]bool{}
	for i, f := range among[0].Files {
		content, there := got[filepath.Base(f.Path)]
		is := "something else"
		if !there {
			is = ""
		}
		for _, c := range among {
			if there && content == string(c.Files[i].Content) {
				is = c.Generation
				for _, a := range c.Assets {
					if name, _ := filepath.Rel(dir, a.Path); got[name] != string(a.Content) {
						t.Errorf("%s: asset %s of what is on disk is %q", when, name, got[name])
					}
				}
			}
		}
		found[is] = true
	}
	if len(found) != 1 || found["something else"] {
		t.Errorf("%s: files of %v:\n%v", when, found, got)
	}
	for is := range found {
		return is
	}
	return ""
}

// goodGeneration gives the generation of the last good files, "" if there is none.
func goodGeneration(t *testing.T, c Candidate) string {
	t.Helper()
	good, err := readIfThere((&destination{real: c.Files[0].Path}).goodName())
	if err != nil {
		t.Fatal(err)
	}
	word, _, _ := strings.Cut(string(good), " ")
	return word
}

// deepTree reads a directory and those in it, without lock files.
func deepTree(t *testing.T, dir string) map[string]string {
	t.Helper()
	got := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() || strings.HasSuffix(path, ".lock") {
			return err
		}
		b, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		got[name] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// TestJournalSpeaksOnlyOfItsOwnFiles shows that what it says is no reason to touch others.
func TestJournalSpeaksOnlyOfItsOwnFiles(t *testing.T) {
	dir := t.TempDir()
	a, foreign := filepath.Join(dir, "a"), filepath.Join(dir, "foreign")
	write(t, a, "a")
	write(t, foreign, "foreign")
	write(t, (&destination{real: a}).lockName(), "") // a render has kept the file before
	for _, text := range []string{
		swapping + "\n\"" + foreign + "\"\n",
		keeping + "\n\"" + foreign + "\"\n",
		swapping + "\n\"" + a, // half written: nothing had begun
		"half", "", "\n",
	} {
		write(t, (&destination{real: a}).journalName(), text)
		tx := newFake(t, &fakeProxy{})
		if err := tx.Lock(a); err != nil {
			t.Fatal(err)
		}
		tx.Close()
		if diff := cmp.Diff(map[string]string{"a": "a", "foreign": "foreign"}, deepTree(t, dir)); diff != "" {
			t.Errorf("after %q (-want +got):\n%s", text, diff)
		}
	}
}
