package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"rollcall/test/ports"
)

// Templates of the operator's, for a server that render knows nothing of: both files
// are checked, swapped and loaded together, by the operator's own commands.
func TestFiles(t *testing.T) {
	t.Parallel()
	endpoint := newEtcd(t)
	put(t, endpoint, "/services/web/a", "10.0.0.1:80")
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	replace(t, at("hosts.tmpl"), "# {{.Generation}}\n{{range .Services}}{{range .Instances}}{{.Endpoint}} {{.ID}}\n{{end}}{{end}}")
	replace(t, at("count.tmpl"), "{{range .Upstreams}}{{.Name}} {{len .Servers}}\n{{end}}")
	replace(t, at("check"), "#!/bin/sh\necho \"checked $1\"\n! grep 10.0.0.66 \"$1\"\n")
	replace(t, at("load"), "#!/bin/sh\necho loaded >> "+at("log")+"\n[ ! -e "+at("refuse")+" ]\n")
	for _, script := range []string{"check", "load"} {
		if err := os.Chmod(at(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	status := ports.Free(t)
	b := &balancer{
		process: start(t, nil, testbed.render, "file", "--endpoints", endpoint, "--run-dir", dir, "--status-listen", local(status), "--log-format", "text",
			"--template", at("hosts.tmpl"), "--output", at("hosts"), "--template", at("count.tmpl"), "--output", at("count"),
			"--validate", at("check")+" {}", "--reload", at("load")),
		status: "http://" + local(status),
	}
	holds := func(file, want string) func() error {
		return func() error {
			text, err := os.ReadFile(at(file))
			if err != nil || !strings.Contains(string(text), want) {
				return errors.Join(err, fmt.Errorf("%s is %q", file, text))
			}
			return nil
		}
	}
	eventually(t, "the first file is written", holds("hosts", "10.0.0.1:80 web/a\n"))
	eventually(t, "the second file is written", holds("count", "web 1\n"))
	eventually(t, "it was loaded", holds("log", "loaded\n"))

	// The check refuses one service's record: the others are served, and it is named.
	put(t, endpoint, "/services/bad/x", "10.0.0.66:80")
	b.says(t, `"quarantined"`)
	put(t, endpoint, "/services/web/b", "10.0.0.2:80")
	eventually(t, "the others are served", holds("hosts", "10.0.0.2:80 web/b\n"))
	if err := holds("hosts", "10.0.0.66")(); err == nil {
		t.Error("what the check refuses was written")
	}
	etcdctl(t, endpoint, "del", "/services/bad/x")
	b.settled(t, `"quarantined"`)

	// A reload that fails is rolled back, and tried again although nothing changes.
	before, err := os.ReadFile(at("hosts"))
	if err != nil {
		t.Fatal(err)
	}
	replace(t, at("refuse"), "")
	put(t, endpoint, "/services/web/c", "10.0.0.3:80")
	b.says(t, "reload")
	eventually(t, "the old files are back", holds("hosts", string(before)))
	if err := os.Remove(at("refuse")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is tried again", holds("hosts", "10.0.0.3:80 web/c\n"))
	eventually(t, "render is ready", func() error { return ready(b.status) })
}
