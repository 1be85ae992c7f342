package reload

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"
)

func TestCommandMaster(t *testing.T) {
	here := &fakeMaster{}
	file := t.TempDir() + "/told"
	c := CommandMaster{Master: here, Argv: []string{"/bin/sh", "-c", "echo x >" + file}}
	if err := c.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(file); err != nil {
		t.Error(err)
	}
	c.Argv = []string{"/bin/sh", "-c", "echo it is stuck; exit 3"}
	err := c.Reload(t.Context())
	if said, ok := errors.AsType[*ServerError](err); !ok || said.Output != "it is stuck" || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("got %v, want its words", err)
	}
	c.Argv = []string{"/bin/sleep", "60"}
	if err := c.Reload(within(t, 50*time.Millisecond)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a command that hangs: %v", err)
	}
	here.process = func() (Process, bool) { return Process{}, false }
	if err := c.Reload(t.Context()); !errors.Is(err, ErrNotRunning) {
		t.Errorf("no server: %v", err)
	}
}
