package cli

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// annotation is where a flag keeps the names of its environment variables, the strongest first.
const annotation = "rollcall_env"

// BindEnv gives every flag of cmd and of the commands below it a variable in
// the environment: the flag's name in upper case behind the prefix, RENDER_MIN_WAIT
// for --min-wait. A flag beats its variable; a variable that is empty counts as
// not set, because unit files cannot unset one. For a flag that may be repeated
// the variable holds a list, separated by blanks or, except where a value may hold one
// itself (pflag's StringArray), commas. The help of each flag names its variable.
//
// Lookup is os.LookupEnv or a test's. Call BindEnv when the tree of commands is
// complete; the variables are read after the command line, before PreRunE, and
// what is wrong with them is reported together with what PreRunE returns.
func BindEnv(cmd *cobra.Command, prefix string, lookup func(string) (string, bool)) {
	cmd.Flags().VisitAll(func(f *pflag.Flag) { name(f, prefix) })
	cmd.PersistentFlags().VisitAll(func(f *pflag.Flag) { name(f, prefix) })
	if cmd.Runnable() {
		check := cmd.PreRunE
		cmd.PreRunE = func(cmd *cobra.Command, args []string) error {
			var m Mistakes
			readEnv(&m, cmd.Flags(), lookup)
			if check != nil {
				m.Join(check(cmd, args))
			}
			return m.Err()
		}
	}
	for _, sub := range cmd.Commands() {
		BindEnv(sub, prefix, lookup)
	}
}

// alias gives a flag one more variable, weaker than its own.
func alias(fs *pflag.FlagSet, flag, variable string) {
	f := fs.Lookup(flag)
	if f.Annotations == nil {
		f.Annotations = map[string][]string{}
	}
	f.Annotations[annotation] = append(f.Annotations[annotation], variable)
}

// withoutEnv marks a flag that has no variable.
const withoutEnv = "rollcall_without_env"

// WithoutEnv keeps BindEnv from giving a flag a variable: one that would mean
// something else to another command.
func WithoutEnv(fs *pflag.FlagSet, flag string) {
	f := fs.Lookup(flag)
	if f.Annotations == nil {
		f.Annotations = map[string][]string{}
	}
	f.Annotations[withoutEnv] = nil
}

// name notes a flag's own variable before any others and tells of all in the flag's help.
func name(f *pflag.Flag, prefix string) {
	own := prefix + "_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
	if _, without := f.Annotations[withoutEnv]; without {
		return
	}
	if f.Name == "help" || f.Name == "version" || slices.Contains(f.Annotations[annotation], own) {
		return
	}
	if f.Annotations == nil {
		f.Annotations = map[string][]string{}
	}
	f.Annotations[annotation] = append([]string{own}, f.Annotations[annotation]...)
	f.Usage += " (env " + strings.Join(f.Annotations[annotation], ", ") + ")"
}

// readEnv sets the flags that the command line did not.
func readEnv(m *Mistakes, fs *pflag.FlagSet, lookup func(string) (string, bool)) {
	fs.VisitAll(func(f *pflag.Flag) {
		if f.Changed {
			return
		}
		for _, variable := range f.Annotations[annotation] {
			value, _ := lookup(variable)
			if strings.TrimSpace(value) == "" {
				continue
			}
			for _, v := range values(f, value) {
				if err := fs.Set(f.Name, v); err != nil {
					m.add(wrongValue(variable, f, v, err))
					restore(f)
				}
			}
			return
		}
	})
}

// values splits a variable's value if its flag takes several.
func values(f *pflag.Flag, value string) []string {
	_, repeatable := f.Value.(pflag.SliceValue)
	switch kind := f.Value.Type(); {
	case kind == "stringArray":
		return strings.Fields(value)
	case repeatable || strings.HasPrefix(kind, "stringTo"):
		return strings.FieldsFunc(value, func(r rune) bool { return r == ',' || strings.ContainsRune(" \t\r\n", r) })
	default:
		return []string{value}
	}
}
