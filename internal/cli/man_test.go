package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
)

// manTree is a program with all that a page can show.
func manTree(lookup func(string) (string, bool)) *cobra.Command {
	run := func(*cobra.Command, []string) error { return nil }
	root := &cobra.Command{
		Use: "tool", Short: "Do it", Version: "1.2.3 (go1.26.0)", RunE: run,
		Long: `Tool does <it>, as \this says.
'Quoted' it is.

  /key/<name> = {"a-b": 1}

Then:

  first     what it is
  the rest  .what else`,
		Example: "  # now\n  tool --at 5 || tool -x",
	}
	root.PersistentFlags().String("at", "noon", "`TIME` to do it at")
	sub := &cobra.Command{Use: "again THING\n  tool again --all", Short: "Do it again", RunE: run}
	sub.Flags().BoolP("quiet", "q", false, "say nothing")
	root.AddCommand(sub, NewMan(lookup))
	return root
}

func TestManualPages(t *testing.T) {
	dir := t.TempDir()
	lookup := func(name string) (string, bool) { return "86400", name == "SOURCE_DATE_EPOCH" }
	var stderr bytes.Buffer
	if code := Execute(t.Context(), manTree(lookup), []string{"man", dir}, &stderr); code != ExitOK {
		t.Fatalf("exit %d: %s", code, &stderr)
	}
	for name, want := range map[string]string{"tool.1": toolPage, "tool-again.1": againPage} {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(strings.TrimSpace(want), strings.TrimSpace(string(got))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if names, err := filepath.Glob(dir + "/*"); err != nil || len(names) != 2 {
		t.Errorf("got %q, %v; want a page for each command that is not hidden", names, err)
	}
}

func TestManualPagesRefused(t *testing.T) {
	for _, tc := range []struct {
		name, epoch, dir, want string
	}{
		{"no directory", "1", "/dev/null/there", "tool man: write a manual page: open /dev/null/there/tool.1"},
		{"no date", "today", t.TempDir(), `tool man: $SOURCE_DATE_EPOCH is "today", not a number of seconds`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var stderr bytes.Buffer
			root := manTree(func(string) (string, bool) { return tc.epoch, true })
			code := Execute(t.Context(), root, []string{"man", tc.dir}, &stderr)
			if code != ExitFailure || !strings.HasPrefix(stderr.String(), tc.want) {
				t.Errorf("exit %d, %q; want %d, %q", code, &stderr, ExitFailure, tc.want)
			}
		})
	}
}

const toolPage = `
.TH "TOOL" 1 "1970-01-02" "rollcall 1.2.3"
.nh
.ad l
.SH "NAME"
tool \- Do it
.SH "SYNOPSIS"
.B "tool [flags]"
.br
.B "tool COMMAND"
.SH "DESCRIPTION"
Tool does <it>, as \ethis says.
\(aqQuoted\(aq it is.
.PP
.RS "4"
.nf
/key/<name> = {"a\-b": 1}
.fi
.RE
.PP
Then:
.TP
.B "first"
what it is
.TP
.B "the rest"
\&.what else
.SH "COMMANDS"
.TP
.B "again"
Do it again
.SH "OPTIONS"
.TP
.B "\-\-at TIME"
TIME to do it at (default "noon")
.TP
.B "\-h, \-\-help"
help for tool
.TP
.B "\-v, \-\-version"
version for tool
.SH "EXAMPLES"
.RS "4"
.nf
# now
tool \-\-at 5 || tool \-x
.fi
.RE
.SH "EXIT STATUS"
0: done. 1: what was asked for could not be done. 2: it was asked for in a way that makes no sense.
.SH "SEE ALSO"
.BR "tool\-again" "(1)"
`

const againPage = `
.TH "TOOL-AGAIN" 1 "1970-01-02" "rollcall 1.2.3"
.nh
.ad l
.SH "NAME"
tool\-again \- Do it again
.SH "SYNOPSIS"
.B "tool again THING"
.br
.B "tool again \-\-all [flags]"
.SH "DESCRIPTION"
Do it again.
.SH "OPTIONS"
.TP
.B "\-h, \-\-help"
help for again
.TP
.B "\-q, \-\-quiet"
say nothing
.SH "OPTIONS OF EVERY COMMAND"
.TP
.B "\-\-at TIME"
TIME to do it at (default "noon")
.SH "EXIT STATUS"
0: done. 1: what was asked for could not be done. 2: it was asked for in a way that makes no sense.
.SH "SEE ALSO"
.BR "tool" "(1)"
`
