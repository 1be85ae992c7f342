// Package e2e runs the real programs against real Docker, etcd, nginx and Apache.
package e2e

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// bed is what all tests share: the programs, built with the race detector, and
// the image that the containers run.
type bed struct {
	announce, render string
	image            string
	address          string // of the default Docker bridge: this machine, seen by its containers
}

var testbed bed

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "rollcall-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if err := testbed.make(dir); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	defer func() { _, _ = command("docker", "rmi", "-f", testbed.image) }()
	return m.Run()
}

// make builds everything that the tests need.
func (b *bed) make(dir string) error {
	if _, err := command("go", "build", "-race", "-o", dir+"/", "rollcall/cmd/announce", "rollcall/cmd/render"); err != nil {
		return err
	}
	b.announce, b.render = filepath.Join(dir, "announce"), filepath.Join(dir, "render")
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "hello"), "rollcall/examples/hello")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build hello: %w\n%s", err, out)
	}
	// Docker does not always tell the gateway of its default network.
	bridge, err := net.InterfaceByName("docker0")
	if err != nil {
		return err
	}
	addrs, err := bridge.Addrs()
	if err != nil || len(addrs) == 0 {
		return fmt.Errorf("docker0 has no address: %w", err)
	}
	address, err := netip.ParsePrefix(addrs[0].String())
	if err != nil {
		return err
	}
	b.address = address.Addr().String()
	return b.makeImage(filepath.Join(dir, "hello"))
}

// makeImage makes an image of one static program, from nothing.
func (b *bed) makeImage(program string) error {
	content, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	if err := w.WriteHeader(&tar.Header{Name: "hello", Mode: 0o755, Size: int64(len(content))}); err != nil {
		return err
	}
	if _, err := w.Write(content); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	b.image = fmt.Sprintf("rollcall-e2e:%d", os.Getpid())
	load := exec.Command("docker", "import", "-c", `ENTRYPOINT ["/hello"]`, "-c", "EXPOSE 8080", "-", b.image)
	load.Stdin = &archive
	if out, err := load.CombinedOutput(); err != nil {
		return fmt.Errorf("make the image: %w\n%s", err, out)
	}
	return nil
}

// command runs a program to its end and gives what it printed.
func command(name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out)), nil
}
