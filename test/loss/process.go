package loss

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait for a condition: far above what anything takes.
const patience = 60 * time.Second

// A process is a program that was started. Its cleanup ends it, if nothing has before.
type process struct {
	cmd  *exec.Cmd
	done chan struct{}

	mu  sync.Mutex
	out bytes.Buffer
}

// launch runs a program; what it printed is shown if the test fails.
func launch(tb testing.TB, env []string, program string, args ...string) (*process, error) {
	p := &process{cmd: exec.Command(program, args...), done: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = p, p
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait() // who cares for how it ended looks at the state
	}()
	tb.Cleanup(func() {
		p.end()
		if tb.Failed() && p.out.Len() > 0 {
			p.mu.Lock()
			defer p.mu.Unlock()
			said := p.out.Bytes()
			tb.Logf("%s said last:\n%s", filepath.Base(program), said[max(0, len(said)-2000):])
		}
	})
	return p, nil
}

func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.Write(b)
}

// end stops the process in good order, and kills it if it does not obey.
func (p *process) end() {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGTERM, syscall.SIGKILL} {
		_ = p.cmd.Process.Signal(sig) // it may have ended
		select {
		case <-p.done:
			return
		case <-time.After(10 * time.Second):
		}
	}
	<-p.done
}

// kill ends the process without a word.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.done
}

// withdraw tells a process to stop and waits until it has, in good order.
func (p *process) withdraw(ctx context.Context) error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-p.done:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("%s exits with %d", filepath.Base(p.cmd.Path), code)
	}
	return nil
}

// poll asks until the answer is nil.
func poll(ctx context.Context, what string, ask func() error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ask()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", what, err)
		}
	}
}

// pause lets the load go on for a while.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
