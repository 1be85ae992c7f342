package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// Exit codes of both programs.
const (
	ExitOK      = 0
	ExitFailure = 1 // what was asked for could not be done
	ExitUsage   = 2 // it was asked for in a way that makes no sense
)

// An ExitError ends the program with a code of its own. Without Err nothing is
// printed: whatever there was to say has been said.
type ExitError struct {
	Code int
	Err  error
}

// Error gives the text of what went wrong.
func (e *ExitError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("exit code %d", e.Code)
	}
	return e.Err.Error()
}

// Unwrap gives what went wrong.
func (e *ExitError) Unwrap() error { return e.Err }

// Execute runs the command that args ask for and gives the program's exit code.
// Errors are printed to stderr; those about how the program was called come all
// at once, each with a hint, and with where to read more. Everything that an
// error may come from before RunE is about that; afterwards only Mistakes are.
// Call it once for a tree of commands.
func Execute(ctx context.Context, root *cobra.Command, args []string, stderr io.Writer) int {
	root.SilenceErrors, root.SilenceUsage = true, true
	root.DisableSuggestions = true // they are given as hints
	root.SetErr(stderr)
	if args == nil {
		args = []string{} // cobra takes nil for "use os.Args"
	}
	root.SetArgs(args)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, first error) error {
		_, own, err := root.Find(args)
		if err != nil {
			return err
		}
		return diagnose(cmd, own, first)
	})
	running := false
	noteRun(root, &running)

	cmd, err := root.ExecuteContextC(ctx)
	var exit *ExitError
	var mistake *Mistake
	switch {
	case err == nil:
		return ExitOK
	case errors.As(err, &exit):
		if exit.Err != nil {
			_, _ = fmt.Fprintf(stderr, "%s: %v\n", cmd.CommandPath(), exit.Err)
		}
		return exit.Code
	case running && !errors.As(err, &mistake):
		_, _ = fmt.Fprintf(stderr, "%s: %v\n", cmd.CommandPath(), err)
		return ExitFailure
	default:
		_, _ = fmt.Fprintf(stderr, "%s: %v\nsee '%s --help'\n", cmd.CommandPath(), unknownCommand(cmd, err), cmd.CommandPath())
		return ExitUsage
	}
}

// noteRun makes the commands note that they have begun to run.
func noteRun(cmd *cobra.Command, running *bool) {
	if run := cmd.RunE; run != nil {
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			*running = true
			return run(cmd, args)
		}
	}
	for _, sub := range cmd.Commands() {
		noteRun(sub, running)
	}
}

// unknownCommand makes a Mistake of cobra's error about a command that does not
// exist; cobra has no type for it.
func unknownCommand(cmd *cobra.Command, err error) error {
	var word, parent string
	if n, _ := fmt.Sscanf(err.Error(), "unknown command %q for %q", &word, &parent); n != 2 {
		return err
	}
	cmd.SuggestionsMinimumDistance = 2
	hint := ""
	if names := cmd.SuggestionsFor(word); len(names) > 0 {
		hint = "did you mean " + strings.Join(names, " or ") + "?"
	}
	return &Mistake{Where: shown(word), Err: errors.New("unknown command"), Hint: hint}
}
