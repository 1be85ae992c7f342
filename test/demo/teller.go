package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

// A teller prints what happens, a line for each step: what it is while it runs, if
// somebody watches, and how it ended.
type teller struct {
	mu    sync.Mutex
	out   io.Writer
	live  bool // lines may be overwritten
	doing string
	began time.Time
}

func newTeller(out io.Writer) *teller {
	t := &teller{out: out}
	if f, ok := out.(*os.File); ok {
		info, err := f.Stat()
		t.live = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return t
}

// begin says what is about to happen.
func (t *teller) begin(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.doing, t.began = fmt.Sprintf(format, args...), time.Now()
	if t.live {
		fmt.Fprintf(t.out, "… %s", t.doing)
	}
}

// end says what came of it, and how long it took if it had a beginning.
func (t *teller) end(ok bool, format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	mark, took := "✓", ""
	if !ok {
		mark = "✗"
	}
	if t.doing != "" {
		took = fmt.Sprintf("  (%.1f s)", time.Since(t.began).Seconds())
	}
	t.erase()
	fmt.Fprintf(t.out, "%s %s%s\n", mark, fmt.Sprintf(format, args...), took)
}

// abandon ends a step that never came to its end.
func (t *teller) abandon() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.doing != "" {
		doing := t.doing
		t.erase()
		fmt.Fprintf(t.out, "✗ %s\n", doing)
	}
}

// say prints lines of their own.
func (t *teller) say(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.erase()
	fmt.Fprintln(t.out, fmt.Sprintf(format, args...))
}

// block prints text that a program has written, set off from the steps.
func (t *teller) block(text string) {
	t.say("\n    %s\n", strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n    "))
}

func (t *teller) erase() {
	if t.live && t.doing != "" {
		fmt.Fprint(t.out, "\r\x1b[K")
	}
	t.doing = ""
}
