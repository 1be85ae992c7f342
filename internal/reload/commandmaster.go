package reload

import (
	"context"
	"fmt"
	"strings"
)

// A CommandMaster is a Master that is told by a command of the operator's, instead of
// by a signal. All else about it, the other Master knows.
type CommandMaster struct {
	Master
	Argv []string // without a shell: "/bin/sh", "-c", "…" has one
	Run  Runner   // on this machine when nil
}

var _ Master = CommandMaster{}

// Reload implements Master. What the command prints when it fails is in the error, a
// *ServerError; when the context ends, it is killed with all its children.
func (c CommandMaster) Reload(ctx context.Context) error {
	if _, ok := c.Process(); !ok {
		return ErrNotRunning
	}
	run := c.Run
	if run == nil {
		run = Run
	}
	if out, err := run(ctx, c.Argv...); err != nil {
		return &ServerError{Err: fmt.Errorf("%s: %w", strings.Join(c.Argv, " "), err), Output: out}
	}
	return nil
}
