package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/client"
	"github.com/docker/docker/pkg/stdcopy"
)

// A Control acts on containers that somebody else started: the only part of this
// package that changes anything. The engine is found as a Watcher finds it. Every call
// has a connection of its own, so that it may be used at any time, from anywhere.
type Control struct {
	dial func() (*client.Client, error)
}

// NewControl fails on a DOCKER_… variable that makes no sense, not on an engine that is away.
func NewControl() (*Control, error) {
	c := &Control{dial: func() (*client.Client, error) {
		cli, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
		if err != nil {
			return nil, fmt.Errorf("docker client from DOCKER_HOST, DOCKER_TLS_VERIFY and DOCKER_CERT_PATH: %w", err)
		}
		return cli, nil
	}}
	return c, c.with(func(*client.Client) error { return nil })
}

func (c *Control) with(do func(*client.Client) error) error {
	cli, err := c.dial()
	if err != nil {
		return err
	}
	return errors.Join(do(cli), cli.Close())
}

// Pid gives the process id of the container's first process, as the engine's machine
// counts; 0 when the container does not run. IsNotFound holds for the error when there
// is no such container.
func (c *Control) Pid(ctx context.Context, nameOrID string) (pid int, err error) {
	err = c.with(func(cli *client.Client) error {
		answer, err := cli.ContainerInspect(ctx, nameOrID)
		if err != nil {
			return fmt.Errorf("inspect container %.64q: %w", nameOrID, err)
		}
		if answer.State != nil && answer.State.Running {
			pid = answer.State.Pid
		}
		return nil
	})
	return pid, err
}

// Signal sends a signal, such as "SIGHUP", to the container's first process.
func (c *Control) Signal(ctx context.Context, nameOrID, signal string) error {
	return c.with(func(cli *client.Client) error {
		if err := cli.ContainerKill(ctx, nameOrID, signal); err != nil {
			return fmt.Errorf("send %s to container %.64q: %w", signal, nameOrID, err)
		}
		return nil
	})
}

// Exec runs a command in the container, without a shell, and gives what it printed, at
// most its last 4 KiB. A command that fails is an error. One that has not ended when the
// context does goes on in the container: the engine has no way to end it.
func (c *Control) Exec(ctx context.Context, nameOrID string, argv ...string) (output string, err error) {
	err = c.with(func(cli *client.Client) error {
		output, err = execute(ctx, cli, nameOrID, argv)
		return err
	})
	return output, err
}

func execute(ctx context.Context, cli *client.Client, nameOrID string, argv []string) (output string, err error) {
	failed := func(err error) error {
		return fmt.Errorf("run %s in container %.64q: %w", argv[0], nameOrID, err)
	}
	created, err := cli.ContainerExecCreate(ctx, nameOrID, container.ExecOptions{Cmd: argv, AttachStdout: true, AttachStderr: true})
	if err != nil {
		return "", failed(err)
	}
	stream, err := cli.ContainerExecAttach(ctx, created.ID, container.ExecAttachOptions{})
	if err != nil {
		return "", failed(err)
	}
	defer stream.Close()
	defer context.AfterFunc(ctx, stream.Close)()
	var out tail
	_, err = stdcopy.StdCopy(&out, &out, stream.Reader)
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return out.String(), failed(err)
	}
	ended, err := cli.ContainerExecInspect(ctx, created.ID)
	if err != nil {
		return out.String(), failed(err)
	}
	if ended.ExitCode != 0 {
		return out.String(), failed(fmt.Errorf("exit status %d", ended.ExitCode))
	}
	return out.String(), nil
}

// A tail keeps the last 4 KiB of what is written to it.
type tail struct{ b []byte }

func (t *tail) Write(p []byte) (int, error) {
	const most = 4096
	t.b = append(t.b, p...)
	if over := len(t.b) - most; over > 0 {
		t.b = append(t.b[:0], t.b[over:]...)
	}
	return len(p), nil
}

func (t *tail) String() string { return strings.TrimSpace(strings.ToValidUTF8(string(t.b), "")) }
