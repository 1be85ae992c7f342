package bench

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"testing"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/client"
	"golang.org/x/sync/errgroup"
)

// A realFleet is made of this machine's own containers.
type realFleet struct {
	tb   testing.TB // of whoever uses the fleet at the moment
	cli  *client.Client
	name string            // of the image, and what all containers' names begin with
	made map[string]string // ids by name, of those that run and of those that were killed
	dead map[string]bool   // by id
}

var _ fleet = (*realFleet)(nil)

func newRealFleet(tb testing.TB) *realFleet {
	tb.Helper()
	f := &realFleet{tb: tb, name: fmt.Sprintf("rollcall-bench-%d", os.Getpid()), made: map[string]string{}, dead: map[string]bool{}}
	var err error
	f.cli, err = client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	f.must(err)
	tb.Cleanup(func() {
		if err := errors.Join(f.removeAll(), f.cli.Close()); err != nil {
			tb.Error(err)
		}
	})
	f.makeImage(context.Background())
	return f
}

// makeImage makes an image of nothing but hello.
func (f *realFleet) makeImage(ctx context.Context) {
	f.tb.Helper()
	program, err := os.ReadFile(built.program(f.tb, "hello"))
	f.must(err)
	var root bytes.Buffer
	t := tar.NewWriter(&root)
	f.must(t.WriteHeader(&tar.Header{Name: "hello", Mode: 0o755, Size: int64(len(program))}))
	_, err = t.Write(program)
	f.must(errors.Join(err, t.Close()))
	said, err := f.cli.ImageImport(ctx, image.ImportSource{Source: &root, SourceName: "-"}, f.name,
		image.ImportOptions{Changes: []string{`ENTRYPOINT ["/hello"]`, "EXPOSE 8080"}})
	f.must(err)
	_, err = io.Copy(io.Discard, said)
	f.must(errors.Join(err, said.Close()))
}

// removeAll removes what this run has made, whatever has become of it.
func (f *realFleet) removeAll() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	all, err := f.cli.ContainerList(ctx, container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("ancestor", f.name))})
	var group errgroup.Group
	group.SetLimit(4)
	for _, c := range all {
		group.Go(func() error { return f.cli.ContainerRemove(ctx, c.ID, container.RemoveOptions{Force: true}) })
	}
	err = errors.Join(err, group.Wait())
	_, unused := f.cli.ImageRemove(ctx, f.name, image.RemoveOptions{Force: true})
	return errors.Join(err, unused)
}

// grow starts containers until n run, for one of the benchmarks that share the fleet.
func (f *realFleet) grow(tb testing.TB, n int) {
	tb.Helper()
	f.tb = tb
	var group errgroup.Group
	group.SetLimit(4)
	more := make([]string, n-len(f.running()))
	for i := range more {
		group.Go(func() (err error) {
			more[i], err = f.create(f.member(n - i))
			if err == nil {
				err = f.cli.ContainerStart(context.Background(), more[i], container.StartOptions{})
			}
			return err
		})
	}
	f.must(group.Wait())
	for i, id := range more {
		f.made[f.member(n-i)] = id
	}
}

func (f *realFleet) member(i int) string { return fmt.Sprintf("c-%d", i) }

func (f *realFleet) create(name string) (id string, err error) {
	c, err := f.cli.ContainerCreate(context.Background(), &container.Config{
		Image: f.name, Labels: map[string]string{"rollcall.service": service, "rollcall.instance": name},
	}, &container.HostConfig{PublishAllPorts: true}, nil, nil, f.name+"-"+name)
	return c.ID, err
}

func (f *realFleet) host() string { return f.cli.DaemonHost() }

func (f *realFleet) running() map[string]string {
	ids := maps.Clone(f.made)
	maps.DeleteFunc(ids, func(_, id string) bool { return f.dead[id] })
	return ids
}

// add starts the container that was killed under this name before, if there is one.
func (f *realFleet) add(name string) (id string) {
	f.tb.Helper()
	id = f.made[name]
	if id == "" {
		var err error
		id, err = f.create(name)
		f.must(err)
	}
	f.must(f.cli.ContainerStart(context.Background(), id, container.StartOptions{}))
	f.made[name] = id
	delete(f.dead, id)
	return id
}

func (f *realFleet) kill(id string) {
	f.tb.Helper()
	f.must(f.cli.ContainerKill(context.Background(), id, "KILL"))
	f.dead[id] = true
}

// remove leaves the container for the next start, which is sooner: all go in the end.
func (f *realFleet) remove(string) {}

func (f *realFleet) must(err error) {
	f.tb.Helper()
	if err != nil {
		f.tb.Fatal(err)
	}
}
