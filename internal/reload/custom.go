package reload

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"
)

// CommandsConfig says by which commands a server is driven that rollcall knows
// nothing about. Each is a command and its arguments, run without a shell; the
// context of a step kills it with all its children. An empty one does nothing.
//
// Their environment has ROLLCALL_GENERATION, and the files' paths as ROLLCALL_FILE,
// and ROLLCALL_FILE_1, ROLLCALL_FILE_2 and so on in the configuration's order.
type CommandsConfig struct {
	Name string // of what is configured, for messages
	// Validate succeeds if the staged files are good. They are ROLLCALL_STAGED,
	// ROLLCALL_STAGED_1 and so on; in an argument, {} stands for the first one's path.
	Validate []string
	// Reload has the files read. Without it they are written, and that is all.
	Reload []string
	// Confirm succeeds once ROLLCALL_GENERATION is served; it is run again until then.
	// Without it a Reload that succeeds is believed.
	Confirm []string
}

// NewCommands gives the driver for such a server. It knows no workers: those of an
// older configuration count as gone. Nor does it know what a server serves that it
// has not told anything yet, so that the first transaction reloads it; unless the
// files have been confirmed by a run before, and Confirm says that they still are.
func NewCommands(c CommandsConfig) Proxy { return &commands{cfg: c, run: runWith} }

// Override drives a server by its own driver, except for what there is a command
// for, as in CommandsConfig.
func Override(p Proxy, validate, confirm []string) Proxy {
	if len(validate)+len(confirm) == 0 {
		return p
	}
	return &commands{cfg: CommandsConfig{Name: p.Name(), Validate: validate, Confirm: confirm}, driver: p, run: runWith}
}

type commands struct {
	cfg    CommandsConfig
	driver Proxy // for what there is no command for; nil: nothing is done
	run    func(ctx context.Context, env []string, argv ...string) (output string, err error)

	mu        sync.Mutex
	files     []StagedFile // of the last validation
	validated string       // the generation that has been validated and not been told; "" if none
	confirmed string       // the last one that was
	sure      bool         // it has been told nothing else since
}

func (c *commands) Name() string { return c.cfg.Name }

// Validate implements Proxy.
func (c *commands) Validate(ctx context.Context, staged Staged) error {
	c.mu.Lock()
	c.files, c.validated = staged.Files, staged.Generation
	c.mu.Unlock()
	if len(c.cfg.Validate) == 0 {
		if c.driver != nil {
			return c.driver.Validate(ctx, staged)
		}
		return nil
	}
	argv := append([]string(nil), c.cfg.Validate...)
	for i := range argv[1:] {
		argv[i+1] = strings.ReplaceAll(argv[i+1], "{}", staged.Files[0].Staged)
	}
	env := c.environment(staged.Generation)
	for i, f := range staged.Files {
		env = append(env, number("ROLLCALL_STAGED", i)+f.Staged)
	}
	return c.command(ctx, append(env, "ROLLCALL_STAGED="+staged.Files[0].Staged), argv)
}

// Reload implements Proxy.
func (c *commands) Reload(ctx context.Context) error {
	c.mu.Lock()
	// What is told without a validation is what was restored after a failure.
	generation := cmp.Or(c.validated, c.confirmed)
	met := c.confirmed == ""
	c.validated, c.sure = "", false
	c.mu.Unlock()
	if c.driver != nil {
		return c.driver.Reload(ctx)
	}
	if len(c.cfg.Reload) == 0 || met && c.served(ctx, generation) {
		return nil
	}
	return c.command(ctx, c.environment(generation), c.cfg.Reload)
}

// served says that a server which this process has not told anything serves the
// files as they are on disk. A command that only looks whether the server lives would
// confirm anything: the files must also have been confirmed after a reload before.
func (c *commands) served(ctx context.Context, generation string) bool {
	if len(c.cfg.Confirm) == 0 || generation == "" {
		return false
	}
	for _, f := range c.files {
		real, err := resolve(f.Path)
		if err != nil {
			return false
		}
		have, errHave := readIfThere(real)
		good, errGood := readIfThere((&destination{real: real}).goodName())
		if errHave != nil || errGood != nil || have == nil || good == nil || !bytes.Equal(have, good) {
			return false
		}
	}
	return c.command(ctx, c.environment(generation), c.cfg.Confirm) == nil
}

// Running implements Proxy. It gives the generation that was confirmed last, or an
// error if something else has been told since.
func (c *commands) Running(ctx context.Context) (Serving, error) {
	if c.driver != nil && len(c.cfg.Confirm) == 0 {
		return c.driver.Running(ctx)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.sure {
		return Serving{}, fmt.Errorf("generation of %s: nothing has been confirmed since the last reload", c.cfg.Name)
	}
	return Serving{Generation: c.confirmed}, nil
}

// Confirm implements Proxy.
func (c *commands) Confirm(ctx context.Context, generation string) (Workers, error) {
	if c.driver != nil && len(c.cfg.Confirm) == 0 {
		return c.driver.Confirm(ctx, generation)
	}
	err := c.confirm(ctx, generation)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sure = err == nil
	if err != nil {
		return nil, err
	}
	c.confirmed = generation
	return finishing{}, nil
}

// confirm runs the command until it succeeds: servers take a moment.
func (c *commands) confirm(ctx context.Context, generation string) error {
	if len(c.cfg.Confirm) == 0 {
		return nil
	}
	const first, most = 20 * time.Millisecond, time.Second
	var refused error
	for pause := first; ; pause = min(2*pause, most) {
		err := c.command(ctx, c.environment(generation), c.cfg.Confirm)
		_, ran := errors.AsType[*exec.ExitError](err)
		switch {
		case ctx.Err() != nil && refused != nil:
			return fmt.Errorf("%w: %w", refused, ctx.Err())
		case !ran || ctx.Err() != nil:
			return err // done, or there is no such command, or it was killed
		}
		refused = err
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("%w: %w", refused, ctx.Err())
		}
	}
}

// command runs one of the commands. Its words name the files that people know.
func (c *commands) command(ctx context.Context, env, argv []string) error {
	out, err := c.run(ctx, env, argv...)
	if err == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.files {
		out = strings.ReplaceAll(out, f.Staged, f.Path)
	}
	return &ServerError{Err: fmt.Errorf("command %q: %w", argv[0], err), Output: out}
}

func (c *commands) environment(generation string) []string {
	env := []string{"ROLLCALL_GENERATION=" + generation}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, f := range c.files {
		if i == 0 {
			env = append(env, "ROLLCALL_FILE="+f.Path)
		}
		env = append(env, number("ROLLCALL_FILE", i)+f.Path)
	}
	return env
}

func number(name string, i int) string { return name + "_" + strconv.Itoa(i+1) + "=" }
