package cli

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// diagnose says everything that is wrong with a command line that pflag refused
// at its first mistake: unknown flags, values that cannot be read, then the
// environment's and the command's own objections to what could be read.
func diagnose(cmd *cobra.Command, args []string, first error) error {
	fs := cmd.Flags()
	var m Mistakes
	unknownFlags(&m, fs, args)

	// Read everything again, from the beginning and past what is unknown. What was
	// read before pflag stopped would be in the lists twice.
	fs.VisitAll(func(f *pflag.Flag) {
		if list, ok := f.Value.(pflag.SliceValue); ok && f.Changed {
			m.Join(list.Replace(nil))
		}
	})
	fs.ParseErrorsAllowlist.UnknownFlags = true
	err := fs.ParseAll(args, func(f *pflag.Flag, value string) error {
		if err := fs.Set(f.Name, value); err != nil {
			m.add(wrongValue("--"+f.Name, f, value, err))
			restore(f)
		}
		return nil
	})
	var missing *pflag.ValueRequiredError
	if errors.As(err, &missing) {
		m.Addf("--"+missing.GetFlag().Name, "", "needs a value")
	} else {
		m.Join(err)
	}
	if cmd.PreRunE != nil {
		m.Join(cmd.PreRunE(cmd, fs.Args()))
	}
	if err := m.Err(); err != nil {
		return err
	}
	return first
}

// restore puts a flag back to its default. What cannot be read leaves some types at
// zero, and the command would object to that as if the user had written it.
func restore(f *pflag.Flag) {
	if _, list := f.Value.(pflag.SliceValue); !list {
		_ = f.Value.Set(f.DefValue) // a default is a value
	}
}

// unknownFlags walks over the arguments as pflag does and notes the flags that do not exist.
func unknownFlags(m *Mistakes, fs *pflag.FlagSet, args []string) {
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		takesNext := false
		switch {
		case arg == "--":
			return
		case strings.HasPrefix(arg, "--"):
			name, _, hasValue := strings.Cut(arg[2:], "=")
			f := fs.Lookup(name)
			switch {
			case name == "" || name[0] == '-': // pflag calls it bad syntax
			case f == nil:
				m.Addf("--"+name, didYouMean(fs, name), "unknown flag")
			default:
				takesNext = !hasValue && f.NoOptDefVal == ""
			}
		case len(arg) > 1 && arg[0] == '-':
			takesNext = unknownShorthands(m, fs, arg)
		}
		if takesNext && len(args) > 0 {
			args = args[1:]
		}
	}
}

// unknownShorthands does the same for "-abc"; it reports whether the last one takes the next argument.
func unknownShorthands(m *Mistakes, fs *pflag.FlagSet, arg string) (takesNext bool) {
	if name, _, _ := strings.Cut(arg[1:], "="); len(name) > 1 && fs.Lookup(name) != nil {
		m.Addf("-"+name, "did you mean --"+name+"?", "unknown flag")
		return false
	}
	for i := 1; i < len(arg); i++ {
		f := fs.ShorthandLookup(arg[i : i+1])
		if f == nil {
			m.Addf("-"+arg[i:i+1], "", "unknown flag")
			return false
		}
		if f.NoOptDefVal == "" || strings.HasPrefix(arg[i+1:], "=") { // the rest is its value
			return i == len(arg)-1
		}
	}
	return false
}

// didYouMean finds the flag whose name is nearest to what was typed, if any is near.
func didYouMean(fs *pflag.FlagSet, typed string) string {
	best, least := "", max(2, len(typed)/3)+1
	fs.VisitAll(func(f *pflag.Flag) {
		if d := distance(typed, f.Name); d < least && d < len(f.Name) && !f.Hidden {
			best, least = f.Name, d
		}
	})
	if best == "" {
		return ""
	}
	return "did you mean --" + best + "?"
}

// distance counts the letters to insert, delete or replace to make one word of
// the other (Levenshtein). Cobra has the same for commands but keeps it to itself.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}

// wrongValue words a value that a flag does not take. What pflag says of the
// usual types is strconv's, written for programmers.
func wrongValue(where string, f *pflag.Flag, value string, err error) *Mistake {
	if invalid := (*pflag.InvalidValueError)(nil); errors.As(err, &invalid) {
		err = invalid.Unwrap()
	}
	kind := strings.TrimSuffix(f.Value.Type(), "Slice")
	what, hint := "", ""
	switch {
	case kind == "duration":
		what, hint = "a duration", "write a number and a unit: 500ms, 15s, 5m"
	case kind == "bool":
		what, hint = "true or false", "the flag alone means true; --"+f.Name+"=false turns it off"
		if !strings.HasPrefix(where, "--") {
			hint = "write true or false"
		}
	case slices.Contains([]string{"int", "int32", "int64", "uint", "uint16", "uint32", "uint64"}, kind):
		what = "a whole number"
		if kind[0] == 'u' {
			what = "a whole number, zero or more"
		}
		if errors.Is(err, strconv.ErrRange) {
			what += " in range"
		}
	default:
		return &Mistake{Where: where, Err: err}
	}
	return &Mistake{Where: where, Err: fmt.Errorf("%s is not %s", shown(value), what), Hint: hint}
}

// shown quotes what the user wrote, never more than a line's worth.
func shown(value string) string {
	if len(value) > 80 {
		return strconv.QuoteToASCII(value[:80]) + "…"
	}
	return strconv.Quote(value)
}
