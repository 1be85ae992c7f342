package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// NewMan is the hidden command that writes a manual page for each command of its tree
// into a directory: what --help says, in roff. $SOURCE_DATE_EPOCH, in seconds, is their
// date instead of today. Lookup is os.LookupEnv or a test's.
func NewMan(lookup func(string) (string, bool)) *cobra.Command {
	return &cobra.Command{
		Use:    "man DIRECTORY",
		Short:  "Write the manual pages",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			date, err := sourceDate(lookup)
			if err != nil {
				return err
			}
			return writePages(cmd.Root(), date, args[0])
		},
	}
}

func sourceDate(lookup func(string) (string, bool)) (time.Time, error) {
	value, _ := lookup("SOURCE_DATE_EPOCH")
	if value == "" {
		return time.Now(), nil
	}
	seconds, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("$SOURCE_DATE_EPOCH is %q, not a number of seconds", value)
	}
	return time.Unix(seconds, 0), nil
}

func writePages(cmd *cobra.Command, date time.Time, dir string) error {
	name := filepath.Join(dir, pageName(cmd)+".1")
	if err := os.WriteFile(name, []byte(page(cmd, date)), 0o644); err != nil {
		return fmt.Errorf("write a manual page: %w", err)
	}
	for _, sub := range documented(cmd) {
		if err := writePages(sub, date, dir); err != nil {
			return err
		}
	}
	return nil
}

func pageName(cmd *cobra.Command) string { return strings.ReplaceAll(cmd.CommandPath(), " ", "-") }

// documented lists the commands that have a page, which cobra's own have not.
func documented(cmd *cobra.Command) []*cobra.Command {
	var cmds []*cobra.Command
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() && sub.Name() != "completion" && sub.Name() != "help" {
			cmds = append(cmds, sub)
		}
	}
	return cmds
}

// page is one command's manual page.
func page(cmd *cobra.Command, date time.Time) string {
	cmd.InitDefaultHelpFlag()
	cmd.InitDefaultVersionFlag()
	version, _, _ := strings.Cut(cmd.Root().Version, " ")
	var r roff
	fmt.Fprintf(&r, ".TH %q 1 %q %q\n", strings.ToUpper(pageName(cmd)), date.UTC().Format(time.DateOnly), strings.TrimSpace("rollcall "+version))
	// No word is broken and no line stretched: most words here are names.
	r.WriteString(".nh\n.ad l\n")
	r.macro("SH", "NAME")
	r.line(pageName(cmd) + " - " + cmd.Short)
	r.macro("SH", "SYNOPSIS")
	for i, use := range strings.Split(cmd.UseLine(), "\n") {
		if i > 0 {
			r.macro("br")
		}
		r.macro("B", strings.TrimSpace(use))
	}
	if len(documented(cmd)) > 0 && cmd.Runnable() {
		r.macro("br")
	}
	if len(documented(cmd)) > 0 {
		r.macro("B", cmd.CommandPath()+" COMMAND")
	}
	r.macro("SH", "DESCRIPTION")
	if cmd.Long == "" {
		r.line(cmd.Short + ".")
	}
	r.text(cmd.Long)
	r.commands(documented(cmd))
	r.flags("OPTIONS", cmd.NonInheritedFlags())
	r.flags("OPTIONS OF EVERY COMMAND", cmd.InheritedFlags())
	if cmd.Example != "" {
		r.macro("SH", "EXAMPLES")
		r.verbatim(strings.Split(cmd.Example, "\n"))
	}
	r.macro("SH", "EXIT STATUS")
	r.line(fmt.Sprintf("%d: done. %d: what was asked for could not be done. %d: it was asked for in a way that makes no sense.",
		ExitOK, ExitFailure, ExitUsage))
	r.seeAlso(cmd)
	return r.String()
}

func (r *roff) commands(cmds []*cobra.Command) {
	if len(cmds) == 0 {
		return
	}
	r.macro("SH", "COMMANDS")
	for _, sub := range cmds {
		r.item(sub.Name(), sub.Short)
	}
}

// flags writes what pflag's own help says of each flag, which knows whether its default is worth a word.
func (r *roff) flags(title string, fs *pflag.FlagSet) {
	if !fs.HasAvailableFlags() {
		return
	}
	r.macro("SH", title)
	fs.VisitAll(func(f *pflag.Flag) {
		alone := pflag.NewFlagSet("", pflag.ContinueOnError)
		alone.AddFlag(f)
		if name, usage, found := strings.Cut(strings.TrimSpace(alone.FlagUsages()), "   "); found {
			r.item(name, strings.TrimSpace(usage))
		}
	})
}

func (r *roff) seeAlso(cmd *cobra.Command) {
	var names []string
	if cmd.HasParent() {
		names = append(names, pageName(cmd.Parent()))
	}
	for _, sub := range documented(cmd) {
		names = append(names, pageName(sub))
	}
	if len(names) == 0 {
		return
	}
	r.macro("SH", "SEE ALSO")
	for i, name := range names {
		end := ","
		if i == len(names)-1 {
			end = ""
		}
		r.macro("BR", name, "(1)"+end)
	}
}
