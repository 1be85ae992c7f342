package docker

import (
	"context"
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/client"
)

func TestControlOfAContainer(t *testing.T) {
	t.Parallel()
	e := realEngine(t)
	name := run + "-controlled"
	id := e.create(name, container.Config{}, container.HostConfig{})
	c, err := NewControl()
	if err != nil {
		t.Fatal(err)
	}
	if pid, err := c.Pid(t.Context(), name); err != nil || pid != 0 {
		t.Errorf("before it is started: process %d, %v", pid, err)
	}
	if _, err := c.Pid(t.Context(), name+"-none"); !IsNotFound(err) {
		t.Errorf("a container that is not there: %v", err)
	}
	e.start(id)
	pid, err := c.Pid(t.Context(), name)
	if err != nil || syscall.Kill(pid, 0) != nil {
		t.Fatalf("process %d, %v", pid, err)
	}

	if out, err := c.Exec(t.Context(), name, "/sleeper", "healthy"); err != nil || out != "" {
		t.Errorf("a command that succeeds: %q, %v", out, err)
	}
	out, err := c.Exec(t.Context(), name, "/sleeper", "speak")
	if err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.HasSuffix(out, "last words") || len(out) > 4096 {
		t.Errorf("a command that fails: %d bytes, %v", len(out), err)
	}
	if _, err := c.Exec(t.Context(), name, "/none"); err == nil {
		t.Error("a command that is not there succeeded")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if _, err := c.Exec(ctx, name, "/sleeper"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a command that hangs: %v", err)
	}

	if err := c.Signal(t.Context(), name, "SIGTERM"); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for {
		if pid, err := c.Pid(t.Context(), name); err == nil && pid == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("it has not heard the signal")
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err := c.Signal(t.Context(), name, "SIGTERM"); err == nil {
		t.Error("a container that does not run was signalled")
	}
}

func TestControlOfAnEngineThatIsAway(t *testing.T) {
	t.Parallel()
	c := &Control{dial: func() (*client.Client, error) {
		return client.NewClientWithOpts(client.WithHost("unix://" + os.DevNull))
	}}
	if _, err := c.Pid(t.Context(), "web"); err == nil || IsNotFound(err) {
		t.Errorf("process: %v", err)
	}
	if _, err := c.Exec(t.Context(), "web", "true"); err == nil || !strings.Contains(err.Error(), `run true in container "web"`) {
		t.Errorf("command: %v", err)
	}
}
