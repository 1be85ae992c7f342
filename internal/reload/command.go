package reload

import (
	"context"
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
	return out.String(), err
}

// check runs a server's check of a whole configuration. The server's words and
// the error name the files that people know.
func (w *whole) check(ctx context.Context, argv ...string) error {
	out, err := runCommand(ctx, argv...)
	if err == nil {
		return nil
	}
	return &ServerError{Err: fmt.Errorf("%s on %s: %w", strings.Join(argv[:2], " "), w.main, err), Output: w.real(out)}
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
