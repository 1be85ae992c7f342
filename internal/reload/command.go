package reload

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const maxOutput = 4096

// Run is the Runner of this machine.
func Run(ctx context.Context, argv ...string) (output string, err error) {
	return runWith(ctx, nil, argv...)
}

// runWith runs a command with variables added to the environment. It gets a session
// of its own: there is no terminal on which it could ask somebody for a passphrase,
// and it is killed as a whole when the context ends. A command that hangs must not
// keep render from its work, nor leave children behind. What a command that succeeds
// has left running, such as a server that it started, stays.
func runWith(ctx context.Context, env []string, argv ...string) (output string, err error) {
	var out tail
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	cmd.WaitDelay = time.Second
	err = cmd.Run()
	switch {
	case errors.Is(err, exec.ErrWaitDelay): // it has ended well; what it left holds its output open
		err = nil
	case ctx.Err() != nil && err != nil:
		err = fmt.Errorf("killed: %w", context.Cause(ctx))
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, exec.ErrNotFound):
		err = fmt.Errorf("%w (hint: is it still installed?)", err)
	}
	return out.String(), err
}

// check runs a server's check of a whole configuration. The server's words and
// the error name the files that people know.
func (w *whole) check(ctx context.Context, run Runner, argv ...string) error {
	out, err := run(ctx, argv...)
	if err == nil {
		return nil
	}
	return &ServerError{Err: fmt.Errorf("%s on %s: %w", strings.Join(argv[:2], " "), w.main, err), Output: w.real(out)}
}

// A tail keeps the last 4 KiB of what is written to it.
type tail struct{ b []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p[max(0, len(p)-maxOutput):]...)
	if over := len(t.b) - maxOutput; over > 0 {
		t.b = append(t.b[:0], t.b[over:]...)
	}
	return len(p), nil
}

func (t *tail) String() string { return strings.TrimSpace(strings.ToValidUTF8(string(t.b), "")) }
