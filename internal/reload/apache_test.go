package reload

import (
	"os"
	"path/filepath"
	"testing"
)

func TestDebiansScriptSetsWhatTheMainFileSpeaksOf(t *testing.T) {
	f := newFixture(t, "apache")
	bin := filepath.Join(f.dir, "bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(f.program, filepath.Join(bin, "apache2")); err != nil {
		t.Fatal(err)
	}
	path := f.asFragment("conf.d/*.conf")
	main, err := os.ReadFile(f.main)
	if err != nil {
		t.Fatal(err)
	}
	write(t, f.main, string(main)+"\nInclude ${ROLLCALL_TEST_FILE}\n")
	staged := path + ".staged"
	write(t, staged, f.site("g1"))
	a, err := NewApache(ApacheConfig{Main: f.main, Control: f.control, Program: filepath.Join(bin, "apache2"), Master: PidFile{}})
	if err != nil {
		t.Fatal(err)
	}
	validate := func() error {
		return a.Validate(t.Context(), Staged{Generation: "g1", Files: []StagedFile{{Path: path, Staged: staged}}})
	}
	if err := validate(); err == nil {
		t.Fatal("a variable that nobody sets was accepted")
	}
	script := "#!/bin/sh\nROLLCALL_TEST_FILE=" + os.DevNull + " exec " + bin + "/apache2 \"$@\"\n"
	if err := os.WriteFile(filepath.Join(bin, "apache2ctl"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := validate(); err != nil {
		t.Errorf("with the script: %v", err)
	}
}

func TestServerRoot(t *testing.T) {
	f := newFixture(t, "apache")
	a, err := NewApache(ApacheConfig{Main: f.main, Program: f.program})
	if err != nil {
		t.Fatal(err)
	}
	for content, want := range map[string]string{
		"ServerName x\n  serverroot \"/a b\"\n#ServerRoot /no\n": "/a b",
		"ServerRoot /x\n": "/x",
	} {
		write(t, f.main, content)
		if got, err := a.serverRoot(t.Context()); err != nil || got != want {
			t.Errorf("%q: got %q, %v", content, got, err)
		}
	}
	write(t, f.main, "# ServerRoot \"/etc/apache2\"\n")
	if got, err := a.serverRoot(t.Context()); err != nil || !filepath.IsAbs(got) {
		t.Errorf("compiled in: got %q, %v", got, err)
	}
}
