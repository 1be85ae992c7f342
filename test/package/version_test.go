package pack

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// history is a repository with a copy of the script.
type history struct{ dir string }

func newHistory(t *testing.T) history {
	t.Helper()
	h := history{t.TempDir()}
	script, err := os.ReadFile(filepath.Join(root, "scripts/version"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(h.dir, "scripts"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(h.dir, "scripts/version"), script, 0o755); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h history) git(t *testing.T, args ...string) {
	t.Helper()
	args = append([]string{"-C", h.dir, "-c", "user.name=n", "-c", "user.email=e"}, args...)
	run(t, []string{"GIT_COMMITTER_DATE=2026-03-04T05:06:07+02:00"}, "git", args...)
}

func (h history) commit(t *testing.T) {
	t.Helper()
	h.git(t, "add", ".")
	h.git(t, "commit", "--quiet", "--allow-empty", "--message", "m")
}

func (h history) version(t *testing.T, args ...string) (string, error) {
	t.Helper()
	// Not the repository that the temporary directory may be in; and by bash, because a file that was
	// just written is busy for as long as another test is between fork and exec.
	args = append([]string{filepath.Join(h.dir, "scripts/version")}, args...)
	out, err := try(t, []string{"GIT_CEILING_DIRECTORIES=" + filepath.Dir(h.dir)}, "bash", args...)
	return strings.TrimSpace(out), err
}

func TestVersions(t *testing.T) {
	t.Parallel()
	h := newHistory(t)
	if got, err := h.version(t); err == nil || !strings.Contains(got, "VERSION=1.2.3") {
		t.Errorf("without git: %q, %v; want a hint to VERSION", got, err)
	}
	h.git(t, "init", "--quiet")
	if got, err := h.version(t); err == nil || !strings.Contains(got, "VERSION=1.2.3") {
		t.Errorf("without a commit: %q, %v; want a hint to VERSION", got, err)
	}
	h.commit(t)
	hash := func() string {
		return strings.TrimSpace(run(t, nil, "git", "-C", h.dir, "rev-parse", "--short=12", "HEAD"))
	}
	var versions []string
	want := func(want string) {
		t.Helper()
		got, err := h.version(t)
		if err != nil || got != want {
			t.Errorf("got %q, %v; want %s", got, err, want)
		}
		versions = append(versions, got)
	}
	want("0.0~git20260304.030607." + hash())
	h.git(t, "tag", "other")
	h.git(t, "tag", "v1.2.0-rc.1")
	want("1.2.0~rc.1")
	h.commit(t)
	want("1.2.0~rc.1+1.g" + hash())
	h.git(t, "tag", "--annotate", "--message", "m", "v1.2.0")
	want("1.2.0")
	h.commit(t)
	h.commit(t)
	want("1.2.0+2.g" + hash())
	if err := os.WriteFile(filepath.Join(h.dir, "scripts/version"), []byte(files(t, h.dir)["/scripts/version"]+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	want("1.2.0+2.g" + hash() + "+dirty")
	h.commit(t)
	h.git(t, "tag", "v1.10.0")
	want("1.10.0")

	// Each is newer to dpkg than the one before.
	for i, version := range versions {
		run(t, nil, "dpkg", "--validate-version", version)
		if i > 0 {
			run(t, nil, "dpkg", "--compare-versions", versions[i-1], "lt", version)
		}
	}
}

func TestVersionsGiven(t *testing.T) {
	t.Parallel()
	h := newHistory(t)
	for given, want := range map[string]string{
		"1.2.3": "1.2.3", "v1.2.3": "1.2.3", "2.0.0-beta": "2.0.0~beta", "1.2.3+4.gabc": "1.2.3+4.gabc", "1.2.3-4-g0ff": "1.2.3+4.g0ff",
	} {
		if got, err := h.version(t, given); err != nil || got != want {
			t.Errorf("%s: got %q, %v; want %s", given, got, err, want)
		}
	}
	for _, given := range []string{"latest", "1.2-3", "1:2", "1 2", "1.2/3", "$(id)"} {
		if got, err := h.version(t, given); err == nil || !strings.Contains(got, "is no version of a package") {
			t.Errorf("%q: got %q, %v; want it refused", given, got, err)
		}
	}
}
