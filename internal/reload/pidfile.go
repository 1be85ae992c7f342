package reload

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A PidFile is the master of a server that somebody else runs, such as systemd.
type PidFile struct {
	Path         string
	Names        []string    // of the server's program: "apache2", "httpd"
	ReloadSignal unix.Signal // nginx: SIGHUP; Apache: SIGUSR1
}

var _ Master = PidFile{}

// Process implements Master. A file that a server left behind, and whose number
// means another program by now, names no process; nor does the empty one that
// nginx -t makes.
func (f PidFile) Process() (Process, bool) {
	pid, err := readPid(f.Path)
	if err != nil {
		return Process{}, false
	}
	p, ok := findProcess(pid)
	return p, ok && p.is(f.Names...)
}

func readPid(path string) (int, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err == nil && pid < 1 {
		err = fmt.Errorf("%s names process %d", path, pid)
	}
	return pid, err
}

// Reload implements Master.
func (f PidFile) Reload(ctx context.Context) error {
	p, ok := f.Process()
	if !ok {
		return fmt.Errorf("%w: no process of %s in %s", ErrNotRunning, strings.Join(f.Names, " or "), f.Path)
	}
	err := p.signalReady(ctx, f.ReloadSignal)
	if errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("%w: process %d of %s has ended", ErrNotRunning, p.Pid, f.Path)
	}
	return err
}

// Orphans implements Master; whoever runs the server looks after its processes.
func (f PidFile) Orphans() []Process { return nil }

// Words implements Master: the server's log is not ours.
func (f PidFile) Words() string { return "" }
