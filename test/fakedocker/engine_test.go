package fakedocker

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/client"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start runs an engine with n containers, and gives a client of it.
func start(t *testing.T, n int, opts ...client.Opt) (*Engine, *client.Client) {
	t.Helper()
	e, err := Start(n, Latency{})
	if err != nil {
		t.Fatal(err)
	}
	cli, err := client.NewClientWithOpts(append(opts, client.WithHost(e.Host()), client.WithAPIVersionNegotiation())...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cli.Close(); err != nil {
			t.Error(err)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(strings.TrimPrefix(e.Host(), "unix://")); !os.IsNotExist(err) {
			t.Errorf("socket after Close: %v, want none", err)
		}
	})
	return e, cli
}

func names(t *testing.T, cli *client.Client, all bool) []string {
	t.Helper()
	list, err := cli.ContainerList(t.Context(), container.ListOptions{All: all})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, c := range list {
		names = append(names, c.Names...)
	}
	return names
}

func TestListAndInspect(t *testing.T) {
	e, cli := start(t, 2)
	added, err := e.Add("late")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Add("late"); err == nil {
		t.Error("a name was given twice")
	}
	if err := e.Kill(e.Running()[0].ID); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"/c-2", "/late"}, names(t, cli, false)); diff != "" {
		t.Errorf("running, -want +got:\n%s", diff)
	}
	if diff := cmp.Diff([]string{"/c-1", "/c-2", "/late"}, names(t, cli, true)); diff != "" {
		t.Errorf("all, -want +got:\n%s", diff)
	}
	for _, by := range []string{added.ID, added.Name} {
		c, err := cli.ContainerInspect(t.Context(), by)
		if err != nil {
			t.Fatal(err)
		}
		got := fmt.Sprintln(c.ID, c.Name, c.State.Status, c.Config.Labels, c.NetworkSettings.Ports, c.NetworkSettings.Networks["bridge"].IPAddress)
		want := added.ID + " /late running map[rollcall.instance:late rollcall.service:bench]" +
			" map[80/tcp:[{0.0.0.0 20003} {:: 20003}]] 172.17.0.3\n"
		if got != want {
			t.Errorf("inspect %s = %s, want %s", by, got, want)
		}
	}
	if err := e.Remove(added.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := cli.ContainerInspect(t.Context(), added.ID); !errdefs.IsNotFound(err) {
		t.Errorf("inspect of a removed container: %v, want not found", err)
	}
}

func TestRefusesNewerClient(t *testing.T) {
	_, cli := start(t, 1, client.WithVersion("1.47"))
	if _, err := cli.Info(t.Context()); err == nil || !strings.Contains(err.Error(), "too new") {
		t.Errorf("Info with a client of version 1.47: %v, want a refusal", err)
	}
}

func TestEvents(t *testing.T) {
	e, cli := start(t, 0)
	since := time.Now()
	before, err := e.Add("before") // told to who asks for what happened since
	if err != nil {
		t.Fatal(err)
	}
	f := filters.NewArgs(filters.Arg("type", "container"), filters.Arg("event", "start"), filters.Arg("event", "die"), filters.Arg("event", "destroy"))
	messages, errs := cli.Events(t.Context(), events.ListOptions{Filters: f, Since: since.Format(time.RFC3339Nano)})
	if err := e.Kill(before.ID); err != nil {
		t.Fatal(err)
	}
	after, err := e.Add("after")
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Remove(after.ID); err != nil {
		t.Fatal(err)
	}
	want := []string{"start before", "die before", "start after", "die after", "destroy after"}
	for i, w := range want {
		select {
		case m := <-messages:
			if got := string(m.Action) + " " + m.Actor.Attributes["name"]; got != w {
				t.Errorf("event %d is %q, want %q", i, got, w)
			}
			if at := time.Unix(0, m.TimeNano); at.Before(since) || at.After(time.Now()) {
				t.Errorf("%s is said to have happened at %s", w, at)
			}
		case err := <-errs:
			t.Fatal(err)
		case <-time.After(10 * time.Second):
			t.Fatalf("no event %q", w)
		}
	}
}

func TestManyAtOnce(t *testing.T) {
	const writers, each = 8, 100
	e, cli := start(t, 0)
	f := filters.NewArgs(filters.Arg("event", "start"))
	messages, errs := cli.Events(t.Context(), events.ListOptions{Filters: f, Since: "0"})
	var group sync.WaitGroup
	for w := range writers {
		group.Go(func() {
			for i := range each {
				c, err := e.Add(fmt.Sprintf("c-%d-%d", w, i))
				if err == nil {
					_, err = cli.ContainerInspect(context.Background(), c.ID)
				}
				if err == nil && i%2 == 0 {
					err = e.Remove(c.ID)
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range writers * each {
		select {
		case <-messages:
		case err := <-errs:
			t.Fatal(err)
		case <-time.After(10 * time.Second):
			t.Fatal("events are missing")
		}
	}
	group.Wait()
	if got, want := len(names(t, cli, false)), writers*each/2; got != want {
		t.Errorf("%d containers run, want %d", got, want)
	}
}
