package reload

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const maxOutput = 4096

// runCommand runs a server's own command without a shell, in a process group of
// its own, which is killed as a whole when the context ends: a command that hangs
// must not keep render from its work, nor leave children behind.
func runCommand(ctx context.Context, argv ...string) (output string, err error) {
	var out tail
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	cmd.WaitDelay = time.Second
	err = cmd.Run()
	if ctx.Err() != nil && err != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		err = fmt.Errorf("run %s: %w", strings.Join(argv, " "), err)
	}
	return out.String(), err
}

// said joins the error of a command with what it printed.
func said(err error, output string) error {
	if err == nil || errors.Is(err, exec.ErrNotFound) {
		return err
	}
	return &ServerError{Err: err, Output: output}
}

// A tail keeps the last 4 KiB of what is written to it.
type tail struct{ b []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p...)
	if over := len(t.b) - maxOutput; over > 0 {
		t.b = append(t.b[:0], t.b[over:]...)
	}
	return len(p), nil
}

func (t *tail) String() string { return strings.TrimSpace(string(t.b)) }
