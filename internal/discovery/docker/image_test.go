package docker

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/client"
)

// run tells this run's image, containers and networks from those of any other.
var run = "rollcall-docker-test-" + strings.ToLower(rand.Text()[:8])

var testLabels = map[string]string{"rollcall.test": run}

// sleeper is the image of all containers here: made when the first test needs it.
var sleeper testImage

type testImage struct {
	once sync.Once
	made bool
	err  error
}

func (i *testImage) ref() string { return run + ":1.2" }

// make compiles testdata/sleeper and makes an image of nothing else.
func (i *testImage) make(t *testing.T, cli *client.Client) {
	t.Helper()
	i.once.Do(func() {
		i.err = i.build(t.Context(), t.TempDir(), cli)
		i.made = i.err == nil
	})
	if i.err != nil {
		t.Fatalf("test image: %v", i.err)
	}
}

func (i *testImage) build(ctx context.Context, dir string, cli *client.Client) error {
	binary := filepath.Join(dir, "sleeper")
	build := exec.CommandContext(ctx, "go", "build", "-ldflags=-s -w", "-o", binary, "./testdata/sleeper")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	program, err := os.ReadFile(binary)
	if err != nil {
		return err
	}
	var root bytes.Buffer
	t := tar.NewWriter(&root)
	if err := t.WriteHeader(&tar.Header{Name: "sleeper", Mode: 0o755, Size: int64(len(program))}); err != nil {
		return err
	}
	if _, err := t.Write(program); err != nil {
		return err
	}
	if err := t.Close(); err != nil {
		return err
	}
	answer, err := cli.ImageImport(ctx, image.ImportSource{Source: &root, SourceName: "-"}, i.ref(), image.ImportOptions{
		Changes: []string{`ENTRYPOINT ["/sleeper"]`, "EXPOSE 80", "EXPOSE 53/udp", "ENV FROM=image BOTH=image", "LABEL from=image both=image"},
	})
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, answer)
	return joinClose(err, answer)
}

func (i *testImage) remove() error {
	if !i.made {
		return nil
	}
	cli, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		return err
	}
	_, err = cli.ImageRemove(context.Background(), i.ref(), image.RemoveOptions{})
	return joinClose(err, cli)
}

func joinClose(err error, c io.Closer) error {
	if closed := c.Close(); err == nil {
		err = closed
	}
	return err
}

// An engine is the real one of this machine.
type engine struct {
	t   *testing.T
	cli *client.Client
}

func realEngine(t *testing.T) *engine {
	t.Helper()
	cli, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cli.Close(); err != nil {
			t.Error(err)
		}
	})
	sleeper.make(t, cli)
	return &engine{t, cli}
}

func (e *engine) must(err error) {
	e.t.Helper()
	if err != nil {
		e.t.Fatal(err)
	}
}

// create makes a container, not started, that is removed at the end of the test.
func (e *engine) create(name string, cfg container.Config, host container.HostConfig) (id string) {
	e.t.Helper()
	cfg.Image = sleeper.ref()
	labels := map[string]string{}
	for _, m := range []map[string]string{testLabels, cfg.Labels} {
		for k, v := range m {
			labels[k] = v
		}
	}
	cfg.Labels = labels
	c, err := e.cli.ContainerCreate(e.t.Context(), &cfg, &host, nil, nil, name)
	e.must(err)
	e.t.Cleanup(func() {
		err := e.cli.ContainerRemove(context.Background(), c.ID, container.RemoveOptions{Force: true})
		// With AutoRemove it may be gone, or on its way.
		if err != nil && !host.AutoRemove && !errdefs.IsNotFound(err) {
			e.t.Error(err)
		}
	})
	return c.ID
}

func (e *engine) start(id string) {
	e.t.Helper()
	e.must(e.cli.ContainerStart(e.t.Context(), id, container.StartOptions{}))
}

func (e *engine) network(name string) {
	e.t.Helper()
	e.must(e.tryNetwork(name, network.CreateOptions{}))
}

// tryNetwork is for networks that not every engine makes.
func (e *engine) tryNetwork(name string, opts network.CreateOptions) error {
	e.t.Helper()
	opts.Labels = testLabels
	n, err := e.cli.NetworkCreate(e.t.Context(), name, opts)
	if err != nil {
		return err
	}
	e.t.Cleanup(func() {
		if err := e.cli.NetworkRemove(context.Background(), n.ID); err != nil {
			e.t.Error(err)
		}
	})
	return nil
}
