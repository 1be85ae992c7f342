package reload

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// asFragment gives the fixture a main file of somebody else's, which includes a
// directory with our file in it.
func (f *fixture) asFragment(pattern string) (fragment string) {
	f.t.Helper()
	dir := filepath.Join(f.dir, "conf.d")
	if err := os.Mkdir(dir, 0o755); err != nil {
		f.t.Fatal(err)
	}
	ext := ".conf"
	body := "include " + pattern + ";"
	neighbour := "map $host $rollcall_neighbour { default 1; }\n"
	switch f.kind {
	case "apache":
		body = "IncludeOptional " + pattern
		neighbour = "Define NEIGHBOUR\n"
	case "haproxy":
		body, neighbour, ext = "", "backend neighbour\n", ".cfg"
		f.args = []string{"-f", dir}
	}
	write(f.t, f.main, f.globals()+string(f.wrap(body)))
	write(f.t, filepath.Join(dir, "a"+ext), neighbour)
	return filepath.Join(dir, "rollcall"+ext)
}

func write(t testing.TB, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (f *fixture) fragment(path, generation string) Candidate {
	return Candidate{Generation: generation, Files: []File{{Path: path, Content: []byte(f.site(generation) + f.extra)}}}
}

func TestFragmentOfSomebodyElsesConfiguration(t *testing.T) {
	forEachKind(t, func(t *testing.T, f *fixture) {
		path := f.asFragment("conf.d/*.conf")
		// A server that runs without us: nothing of it is answered yet.
		f.extra = "\n"
		write(t, path, f.site("g0"))
		_, stop := f.supervise()
		defer stop()
		pidFile := f.byPidFile()
		eventually(t, "the server runs", func() bool { _, ok := pidFile.Process(); return ok })
		tx := f.transactionOn(pidFile)

		if _, err := tx.Apply(t.Context(), f.fragment(path, "g1")); err != nil {
			t.Fatalf("apply: %v\n%s", err, outputOf(err))
		}
		f.serves("g1")
		good, _ := os.ReadFile(path)

		f.extra = "\nnonsense_directive on;\n"
		_, err := tx.Apply(t.Context(), f.fragment(path, "g2"))
		if out := outputOf(err); !strings.Contains(out, "nonsense_directive") || !strings.Contains(out, path) {
			t.Errorf("refused by the check: got %v, output %q", err, out)
		}
		after, _ := os.ReadFile(path)
		if diff := cmp.Diff(string(good), string(after)); diff != "" {
			t.Errorf("refused by the check: the file changed:\n%s", diff)
		}
		f.serves("g1")
		noLeftovers(t, f.dir)
		noLeftovers(t, filepath.Dir(path))
	})
}

func TestFirstFragmentThatIsRefusedIsRemoved(t *testing.T) {
	forEachKind(t, func(t *testing.T, f *fixture) {
		path := f.asFragment("conf.d/*.conf")
		// The server needs something to serve before our file exists.
		other := filepath.Join(filepath.Dir(path), "b"+filepath.Ext(path))
		write(t, other, f.site("none"))
		s, _ := f.supervise()
		tx := f.transactionOn(s)
		tx.timeouts.Confirm = 5 * time.Second
		eventually(t, "the server serves", func() bool { got, _ := get(t.Context(), "http://"+f.listen+"/"); return got == "none" })
		taken, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer taken.Close()
		_, err = tx.Apply(t.Context(), Candidate{Generation: "g1", Files: []File{{Path: path, Content: []byte(f.listenAlso(taken.Addr().String()))}}})
		if err == nil {
			t.Fatal("a port that is taken was served")
		}
		if _, err := os.Stat(path); !os.IsNotExist(err) {
			t.Errorf("the refused file is still there: %v", err)
		}
		f.serves("none")
		noLeftovers(t, filepath.Dir(path))
	})
}

func TestFragmentThatIsNotIncluded(t *testing.T) {
	for _, kind := range []string{"nginx", "apache"} { // HAProxy includes nothing
		f := newFixture(t, kind)
		path := f.asFragment("conf.d/*.conf")
		tx := f.transactionOn(PidFile{Path: f.pidFile})
		elsewhere := filepath.Join(f.dir, "elsewhere.conf")
		_, err := tx.Apply(t.Context(), f.fragment(elsewhere, "g1"))
		step, _ := errors.AsType[*StepError](err)
		if step == nil || step.Step != StepValidate || !strings.Contains(err.Error(), "does not include") || !strings.Contains(err.Error(), "hint") {
			t.Errorf("%s: got %v, want a hint that the main file does not include it", kind, err)
		}
		if _, err := os.Stat(elsewhere); !os.IsNotExist(err) {
			t.Errorf("it was written: %v", err)
		}
		if _, err := os.Stat(path); !os.IsNotExist(err) {
			t.Error("the other path was written")
		}
	}
}

func TestWholeDirectoryIncludedByApache(t *testing.T) {
	f := newFixture(t, "apache")
	path := f.asFragment("conf.d")
	tx := f.transactionOn(PidFile{Path: f.pidFile})
	_, err := tx.Apply(t.Context(), f.fragment(path, "g1"))
	if err == nil || !strings.Contains(err.Error(), "included as a whole") {
		t.Errorf("got %v, want a refusal: Apache would read the staged file as well", err)
	}
}

func TestWholeConfiguration(t *testing.T) {
	nginx := func(dir string) dialect { return nginxDialect(dir) }
	apache := func(dir string) dialect { return apacheDialect(dir) }
	tests := []struct {
		name    string
		dialect func(dir string) dialect
		files   map[string]string // a value that begins with -> is a symbolic link
		dest    string
		want    map[string]string // STAGED stands for the staged file, COPY0 for a copy
	}{
		{
			name: "glob, the destination is not there yet", dialect: nginx, dest: "conf.d/m.conf",
			files: map[string]string{"main": "a;\nhttp {\n include conf.d/*.conf; # all\n}\n", "conf.d/a.conf": "", "conf.d/z.conf": "", "conf.d/.hidden.conf": ""},
			want:  map[string]string{"COPY0": "a;\nhttp {\n include \"DIR/conf.d/a.conf\"; include \"STAGED\"; include \"DIR/conf.d/z.conf\"; # all\n}\n"},
		},
		{
			name: "glob over everything", dialect: nginx, dest: "sites/m",
			files: map[string]string{"main": "http { include DIR/sites/*; }", "sites/m": "old", "sites/.rollcall-m.good": "old"},
			want:  map[string]string{"COPY0": "http { include \"STAGED\"; }"},
		},
		{
			name: "comment", dialect: nginx, dest: "conf.d/m.conf",
			files: map[string]string{"main": "# include conf.d/m.conf;\ninclude 'conf.d/m.conf';\nx; # include conf.d/m.conf;\n"},
			want:  map[string]string{"COPY0": "# include conf.d/m.conf;\ninclude \"STAGED\";\nx; # include conf.d/m.conf;\n"},
		},
		{
			name: "several on a line", dialect: nginx, dest: "conf.d/m.conf",
			files: map[string]string{"main": "http{include a;include conf.d/*.conf;include\n b;include conf.d/m.conf;}", "a": "", "b": ""},
			want:  map[string]string{"COPY0": "http{include a;include \"STAGED\";include\n b;include \"STAGED\";}"},
		},
		{
			name: "link to the available site", dialect: nginx, dest: "available/m",
			files: map[string]string{"main": "include enabled/*;", "enabled/m": "->../available/m", "available/m": "old"},
			want:  map[string]string{"COPY0": "include \"STAGED\";"},
		},
		{
			name: "nested", dialect: nginx, dest: "deep/m.conf",
			files: map[string]string{"main": "include conf.d/*.conf;", "conf.d/a.conf": "x;\ninclude deep/*;\n"},
			want:  map[string]string{"COPY0": "x;\ninclude \"STAGED\";\n", "COPY1": "include \"COPY0\";"},
		},
		{
			name: "apache", dialect: apache, dest: "sites/m.conf",
			files: map[string]string{"main": "Listen 80\n  includeoptional sites/*.conf\n#Include sites/m.conf\nInclude ports.conf\n", "sites/a.conf": "", "ports.conf": ""},
			want: map[string]string{
				"COPY0": "Include \"DIR/sites/a.conf\"\nInclude \"STAGED\"\n",
				"COPY1": "Listen 80\n  Include \"COPY0\"\n#Include sites/m.conf\nInclude ports.conf\n",
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, content := range tt.files {
				path := filepath.Join(dir, name)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if target, ok := strings.CutPrefix(content, "->"); ok {
					if err := os.Symlink(target, path); err != nil {
						t.Fatal(err)
					}
					continue
				}
				write(t, path, strings.ReplaceAll(content, "DIR", dir))
			}
			dest := filepath.Join(dir, tt.dest)
			if err := os.MkdirAll(filepath.Dir(dest), 0o755); err != nil {
				t.Fatal(err)
			}
			staged := filepath.Join(filepath.Dir(dest), hidden+filepath.Base(dest)+".staged")
			write(t, staged, "new")
			w := newWhole(tt.dialect(dir), filepath.Join(dir, "main"), Staged{Files: []StagedFile{{Path: dest, Staged: staged}}})
			defer w.remove()
			if _, err := w.path(); err != nil {
				t.Fatal(err)
			}
			got := map[string]string{}
			names := []string{dir, "DIR"}
			for i, name := range w.made {
				names = append([]string{name, "COPY" + string(rune('0'+i))}, names...)
			}
			short := strings.NewReplacer(append([]string{staged, "STAGED"}, names...)...)
			for _, name := range w.made {
				b, err := os.ReadFile(name)
				if err != nil {
					t.Fatal(err)
				}
				got[short.Replace(name)] = short.Replace(string(b))
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("copies (-want +got):\n%s", diff)
			}
		})
	}
}

func FuzzIncludes(f *testing.F) {
	for _, seed := range []string{"include a;", "http { include \"a b\"; }", "IncludeOptional \"x/*.conf\"\n", "include '", "# include a;\r\n Include b", "include a\\;", "a{b}include\n\nc ;"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, content string) {
		for _, d := range []dialect{nginxDialect("/etc/x"), apacheDialect("/etc/x")} {
			end := 0
			for _, inc := range d.find([]byte(content)) {
				if inc.start < end || inc.end <= inc.start || inc.end > len(content) {
					t.Fatalf("directive at %d-%d after %d in %q", inc.start, inc.end, end, content)
				}
				end = inc.end
				if !filepath.IsAbs(inc.pattern) {
					t.Fatalf("pattern %q is relative", inc.pattern)
				}
				// What is written must be read as the same path again.
				again := d.find([]byte(d.write(inc.pattern)))
				if !strings.ContainsAny(inc.pattern, "\n\r") && (len(again) != 1 || again[0].pattern != inc.pattern) {
					t.Fatalf("wrote %q for %q, read %v", d.write(inc.pattern), inc.pattern, again)
				}
			}
		}
	})
}
