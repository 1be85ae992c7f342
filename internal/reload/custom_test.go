package reload

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// sh writes a shell script and gives its path.
func sh(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func contents(t *testing.T, path string) string {
	t.Helper()
	b, err := readIfThere(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func onCommands(t *testing.T, c CommandsConfig) *Transaction {
	t.Helper()
	c.Name = "custom"
	tx := New(Config{Proxy: NewCommands(c), Logger: discard(t), Timeouts: Timeouts{Confirm: 3 * time.Second}})
	t.Cleanup(func() { tx.Close() })
	return tx
}

func oneFile(path, generation string) Candidate {
	return Candidate{Generation: generation, Files: []File{{Path: path, Content: []byte(generation + "\n")}}}
}

func TestCommandsAreToldWhatTheyAreFor(t *testing.T) {
	dir := t.TempDir()
	seen := filepath.Join(dir, "seen")
	say := sh(t, dir, "say", `step=$1; shift
{ echo "$step $*: generation $ROLLCALL_GENERATION file $ROLLCALL_FILE $ROLLCALL_FILE_1 $ROLLCALL_FILE_2"
echo "staged $ROLLCALL_STAGED $ROLLCALL_STAGED_1 $ROLLCALL_STAGED_2: $(cat $ROLLCALL_STAGED_2)"; } >>`+seen+` </dev/null`)
	a, b := filepath.Join(dir, "a.conf"), filepath.Join(dir, "b.conf")
	tx := onCommands(t, CommandsConfig{
		Validate: []string{say, "validate", "-c", "{}", "x={},{}", "; echo $(id) `id` $HOME *"},
		Reload:   []string{say, "reload", "{}"},
		Confirm:  []string{say, "confirm"},
	})
	c := Candidate{Generation: "g1", Files: []File{{Path: a, Content: []byte("in a")}, {Path: b, Content: []byte("in b")}}}
	if _, err := tx.Apply(t.Context(), c); err != nil {
		t.Fatalf("%v\n%s", err, outputOf(err))
	}
	stagedA, stagedB := filepath.Join(dir, ".rollcall-a.conf.staged"), filepath.Join(dir, ".rollcall-b.conf.staged")
	files := ": generation g1 file " + a + " " + a + " " + b
	want := fmt.Sprintf("validate -c %[1]s x=%[1]s,%[1]s ; echo $(id) `id` $HOME *%[2]s\nstaged %[1]s %[1]s %[3]s: in b\n", stagedA, files, stagedB) +
		"reload {}" + files + "\nstaged   : \n" +
		"confirm " + files + "\nstaged   : \n"
	if diff := cmp.Diff(want, contents(t, seen)); diff != "" {
		t.Errorf("what they saw (-want +got):\n%s", diff)
	}
}

func TestCommandThatFails(t *testing.T) {
	forStep := map[Step]func(c *CommandsConfig, argv []string){
		StepValidate: func(c *CommandsConfig, argv []string) { c.Validate = argv },
		StepReload:   func(c *CommandsConfig, argv []string) { c.Reload = argv },
		StepConfirm:  func(c *CommandsConfig, argv []string) { c.Confirm = argv },
	}
	for step, set := range forStep {
		t.Run(string(step), func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "m.conf")
			bad := sh(t, dir, "bad", `grep -q bad `+path+` "$ROLLCALL_STAGED" || exit 0; echo "line 1 of ${ROLLCALL_STAGED:-$ROLLCALL_FILE} is bad" >&2; exit 3`)
			c := CommandsConfig{}
			set(&c, []string{bad})
			tx := onCommands(t, c)
			tx.timeouts.Confirm = 300 * time.Millisecond
			if _, err := tx.Apply(t.Context(), oneFile(path, "good")); err != nil {
				t.Fatalf("%v\n%s", err, outputOf(err))
			}
			_, err := tx.Apply(t.Context(), oneFile(path, "bad"))
			e, ok := errors.AsType[*StepError](err)
			if !ok || e.Step != step || e.Rollback != nil || !strings.Contains(e.Error(), "exit status 3") {
				t.Errorf("got %v", err)
			}
			if want := "line 1 of " + path + " is bad"; outputOf(err) != want {
				t.Errorf("output: got %q, want %q", outputOf(err), want)
			}
			if got := contents(t, path); got != "good\n" {
				t.Errorf("on disk: %q", got)
			}
			if out, err := tx.Apply(t.Context(), oneFile(path, "better")); err != nil || !out.Changed {
				t.Errorf("the next one: %+v, %v", out, err)
			}
		})
	}
}

func TestConfirmIsRunUntilItSucceeds(t *testing.T) {
	dir := t.TempDir()
	path, served := filepath.Join(dir, "m.conf"), filepath.Join(dir, "served")
	reload := sh(t, dir, "reload", `(sleep 0.2; cp "$ROLLCALL_FILE" `+served+`) >/dev/null 2>&1 &`)
	confirm := sh(t, dir, "confirm", `grep -qx "$ROLLCALL_GENERATION" `+served+` || { echo not yet; exit 1; }`)
	tx := onCommands(t, CommandsConfig{Reload: []string{reload}, Confirm: []string{confirm}})
	out, err := tx.Apply(t.Context(), oneFile(path, "g1"))
	if err != nil || !out.Reloaded || out.Took < 150*time.Millisecond {
		t.Errorf("got %+v, %v\n%s", out, err, outputOf(err))
	}
	if err := out.Old.Wait(t.Context()); err != nil || out.Old.Len() != 0 {
		t.Errorf("old workers: %d, %v", out.Old.Len(), err)
	}

	// Replaced behind our back: the next look puts it right.
	write(t, served, "other\n")
	tx.timeouts.Confirm = 500 * time.Millisecond
	if out, err = tx.Apply(t.Context(), oneFile(path, "g1")); err != nil || !out.Reloaded || out.Changed {
		t.Errorf("after it was replaced: %+v, %v", out, err)
	}
	if out, err = tx.Apply(t.Context(), oneFile(path, "g1")); err != nil || out.Reloaded {
		t.Errorf("when all is well: %+v, %v", out, err)
	}
}

func TestFirstReloadOfARender(t *testing.T) {
	dir := t.TempDir()
	path, reloads := filepath.Join(dir, "m.conf"), filepath.Join(dir, "reloads")
	reload := []string{sh(t, dir, "reload", "echo x >>"+reloads)}
	count := func() int { return len(contents(t, reloads)) / 2 }
	apply := func(confirm []string) {
		t.Helper()
		tx := onCommands(t, CommandsConfig{Reload: reload, Confirm: confirm})
		if _, err := tx.Apply(t.Context(), oneFile(path, "g1")); err != nil {
			t.Fatal(err)
		}
		if err := tx.Close(); err != nil {
			t.Fatal(err)
		}
	}
	write(t, path, "g1\n") // swapped in by a render that was killed before it could reload
	alive := []string{"/bin/true"}
	for i, tt := range []struct {
		name    string
		confirm []string
		want    int
	}{
		{"not confirmed by anybody yet", alive, 1},
		{"confirmed before, and still", alive, 1},
		{"nothing confirms it", nil, 2},
	} {
		apply(tt.confirm)
		if got := count(); got != tt.want {
			t.Errorf("%d, %s: %d reloads, want %d", i, tt.name, got, tt.want)
		}
	}
}

func TestFileWithoutCommandsIsWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.conf")
	tx := onCommands(t, CommandsConfig{})
	for _, g := range []string{"g1", "g2"} {
		if out, err := tx.Apply(t.Context(), oneFile(path, g)); err != nil || !out.Changed {
			t.Errorf("%s: %+v, %v", g, out, err)
		}
		if got := contents(t, path); got != g+"\n" {
			t.Errorf("on disk: %q", got)
		}
		if out, err := tx.Apply(t.Context(), oneFile(path, g)); err != nil || out.Changed || out.Reloaded {
			t.Errorf("%s again: %+v, %v", g, out, err)
		}
	}
}

func TestCommandThatVanished(t *testing.T) {
	gone := []string{"/nonexistent/command"}
	for step, c := range map[Step]CommandsConfig{StepValidate: {Validate: gone}, StepReload: {Reload: gone}, StepConfirm: {Confirm: gone}} {
		path := filepath.Join(t.TempDir(), "m.conf")
		began := time.Now()
		_, err := onCommands(t, c).Apply(t.Context(), oneFile(path, "g1"))
		e, ok := errors.AsType[*StepError](err)
		if !ok || e.Step != step || !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "/nonexistent/command") {
			t.Errorf("%s: got %v", step, err)
		}
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("%s: tried again for %s, though there is no such command", step, took)
		}
		if got := contents(t, path); got != "" {
			t.Errorf("%s: on disk: %q", step, got)
		}
	}
}

func TestCommandThatHangsEndsItsStep(t *testing.T) {
	dir := t.TempDir()
	pid := filepath.Join(dir, "pid")
	// Neither the command nor what it starts listens to anything but SIGKILL.
	hang := sh(t, dir, "hang", `trap '' TERM INT HUP; echo said; sh -c 'trap "" TERM INT HUP; echo $$ >`+pid+`; while :; do sleep 1; done' & wait; sleep 60`)
	tx := onCommands(t, CommandsConfig{Validate: []string{hang}})
	tx.timeouts.Validate = 300 * time.Millisecond
	_, err := tx.Apply(t.Context(), oneFile(filepath.Join(dir, "m.conf"), "g1"))
	if !errors.Is(err, context.DeadlineExceeded) || outputOf(err) != "said" {
		t.Errorf("got %v, output %q", err, outputOf(err))
	}
	var n int
	if _, err := fmt.Sscan(contents(t, pid), &n); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the grandchild is gone", func() bool { _, ok := findProcess(n); return !ok })
}

func TestWhatACommandLeavesRunningStays(t *testing.T) {
	dir := t.TempDir()
	pid := filepath.Join(dir, "pid")
	// A server that it starts, which keeps the output open.
	_, err := Run(t.Context(), sh(t, dir, "start", `sleep 60 & echo $! >`+pid))
	if err != nil {
		t.Errorf("got %v", err)
	}
	var n int
	if _, err := fmt.Sscan(contents(t, pid), &n); err != nil {
		t.Fatal(err)
	}
	p, ok := findProcess(n)
	if !ok {
		t.Fatal("what it started was killed")
	}
	_ = p.signal(9)
}

func TestCommandThatPrintsMuch(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.conf")
	_, err := onCommands(t, CommandsConfig{Validate: []string{"sh", "-c", "head -c 10000000 /dev/zero | tr '\\0' x; echo; echo the end; exit 1"}}).
		Apply(t.Context(), oneFile(path, "g1"))
	if out := outputOf(err); len(out) > maxOutput || !strings.HasSuffix(out, "the end") {
		t.Errorf("got %d bytes, %v", len(out), err)
	}
}

func TestOverride(t *testing.T) {
	dir := t.TempDir()
	path, seen := filepath.Join(dir, "m.conf"), filepath.Join(dir, "seen")
	say := func(word string) []string { return []string{sh(t, dir, word, "echo "+word+" $* >>"+seen), "{}"} }
	tests := []struct {
		name              string
		validate, confirm []string
		calls             []string // of the driver
		seen              string
	}{
		{name: "nothing", calls: []string{"validate g1", "reload", "confirm g1"}},
		{name: "validate", validate: say("validate"), calls: []string{"reload", "confirm g1"}, seen: "validate " + filepath.Join(dir, ".rollcall-m.conf.staged") + "\n"},
		{name: "confirm", confirm: say("confirm"), calls: []string{"validate g1", "reload"}, seen: "confirm {}\nconfirm {}\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := &fakeProxy{running: func() (string, error) { return "g1", nil }}
			tx := New(Config{Proxy: Override(p, tt.validate, tt.confirm), Logger: discard(t)})
			defer tx.Close()
			if _, err := tx.Apply(t.Context(), oneFile(path, "g1")); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.calls, p.calls); diff != "" {
				t.Errorf("driver (-want +got):\n%s", diff)
			}
			if out, err := tx.Apply(t.Context(), oneFile(path, "g1")); err != nil || out.Changed || out.Reloaded {
				t.Errorf("again: %+v, %v", out, err)
			}
			if diff := cmp.Diff(tt.seen, contents(t, seen)); diff != "" {
				t.Errorf("commands (-want +got):\n%s", diff)
			}
			_, _ = os.Remove(path), os.Remove(seen)
		})
	}
}

func TestSplitCommand(t *testing.T) {
	tests := []struct {
		line string
		want []string // nil: refused
	}{
		{"nginx -t", []string{"nginx", "-t"}},
		{"  a\t b\r\n", []string{"a", "b"}},
		{`a "b c" 'd e'f\ g`, []string{"a", "b c", "d ef g"}},
		{`a "" ''`, []string{"a", "", ""}},
		{`a "b\"c\\d\e" 'f\g'`, []string{"a", `b"c\d\e`, `f\g`}},
		{"a b\\\nc \\\n d", []string{"a", "bc", "d"}},
		{`a $HOME $(id) ; b | c > d * {}`, []string{"a", "$HOME", "$(id)", ";", "b", "|", "c", ">", "d", "*", "{}"}},
		{"a é\xff", []string{"a", "é\xff"}},
		{"", nil},
		{" \n", nil},
		{`""`, nil},
		{`a "b`, nil},
		{`a 'b`, nil},
		{`a b\`, nil},
		{"a\x00b", nil},
	}
	for _, tt := range tests {
		got, err := SplitCommand(tt.line)
		if diff := cmp.Diff(tt.want, got); diff != "" || (err != nil) != (tt.want == nil) {
			t.Errorf("%q: %v (-want +got):\n%s", tt.line, err, diff)
		}
	}
}

func FuzzSplitCommand(f *testing.F) {
	for _, seed := range []string{`a "b c" 'd'\ e`, `"\"`, "a\\\nb", "$(x) `y`", "a '' \"\"", "\xff \\\xff"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, line string) {
		argv, err := SplitCommand(line)
		if err != nil {
			return
		}
		var quoted []string
		for _, arg := range argv {
			quoted = append(quoted, "'"+strings.ReplaceAll(arg, "'", `'\''`)+"'")
		}
		again, err := SplitCommand(strings.Join(quoted, " "))
		if diff := cmp.Diff(argv, again); diff != "" || err != nil {
			t.Errorf("%q: %v (-first +again):\n%s", line, err, diff)
		}
	})
}
