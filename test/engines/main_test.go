// Package engines runs announce against container engines that may be stopped: a
// dockerd and a podman of its own, in namespaces of their own.
package engines

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"rollcall/internal/discovery/etcd"
)

// bed is what all tests share.
type bed struct {
	announce string // the program, built with the race detector
	image    string // the file of the image that the containers run
	cgroups  string // in which all containers are
	etcd     string // endpoint
	docker   *engine
	podman   *engine
	ports    ports
}

var testbed bed

func TestMain(m *testing.M) {
	run := outside
	switch {
	case os.Getenv(inside) != "":
		run = func() (int, error) { return within(m) }
	case isLeftOut():
		run = func() (int, error) { return m.Run(), nil }
	}
	code, err := run()
	if err != nil {
		fmt.Fprintln(os.Stderr, "engines:", err)
		code = 1
	}
	os.Exit(code)
}

// isLeftOut says whether a developer runs this who may not start engines. CI may.
func isLeftOut() bool { return os.Getuid() != 0 && os.Getenv("CI") == "" }

func needsRoot(t *testing.T) {
	t.Helper()
	if isLeftOut() {
		t.Skip("engines and namespaces of one's own need root")
	}
}

// outside builds what the tests need, and has them run in the world.
func outside() (int, error) {
	dir, err := os.MkdirTemp("", "rollcall-engines-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	cgroups := filepath.Base(dir)
	defer removeCgroups(cgroups)
	if _, err := command(nil, "go", "build", "-race", "-o", dir+"/announce", "rollcall/cmd/announce"); err != nil {
		return 0, err
	}
	if _, err := command([]string{"CGO_ENABLED=0"}, "go", "build", "-ldflags=-s -w", "-o", dir+"/server", "./testdata/server"); err != nil {
		return 0, err
	}
	if err := makeImage(dir+"/image.tar", dir+"/server"); err != nil {
		return 0, err
	}
	return inWorld("ROLLCALL_TEST_DIR="+dir, "ROLLCALL_TEST_CGROUPS="+cgroups)
}

// within runs the tests.
func within(m *testing.M) (int, error) {
	if err := settle(); err != nil {
		return 0, err
	}
	dir := os.Getenv("ROLLCALL_TEST_DIR")
	testbed = bed{announce: dir + "/announce", image: dir + "/image.tar", cgroups: os.Getenv("ROLLCALL_TEST_CGROUPS")}
	server, err := etcd.StartServer(context.Background(), dir+"/etcd", []string{"http://127.0.0.1:0"})
	if err != nil {
		return 0, err
	}
	defer server.Close()
	testbed.etcd = server.Endpoints()[0]
	if testbed.docker, err = newDocker(); err != nil {
		return 0, err
	}
	defer testbed.docker.end()
	if testbed.podman, err = newPodman(); err != nil {
		return 0, err
	}
	defer testbed.podman.end()
	return m.Run(), nil
}

// makeImage writes an image of one static program, from nothing.
func makeImage(file, program string) error {
	content, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	if err := w.WriteHeader(&tar.Header{Name: "server", Mode: 0o755, Size: int64(len(content))}); err != nil {
		return err
	}
	if _, err := w.Write(content); err != nil {
		return err
	}
	if err := w.WriteHeader(&tar.Header{Name: "bin/sh", Typeflag: tar.TypeSymlink, Linkname: "/server"}); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return os.WriteFile(file, archive.Bytes(), 0o644)
}

// command runs a program to its end and gives what it printed.
func command(env []string, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), env...)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %q: %w\n%s", name, args, err, said.Bytes())
	}
	return string(bytes.TrimSpace(out)), nil
}
