// Package bench measures the real announce, built as it is shipped and run as a process
// of its own, with a real etcd that writes to disk: how long a change takes until a
// watcher sees it, what announce costs while nothing changes, and how soon the records
// are right after etcd was away. Every time stands beside the floor, the same questions
// to Docker and etcd asked by hand in the same run, because times move between machines
// and ratios much less.
//
// "make bench" runs it; "make test" only sees that the measuring works. It knows the two
// programs from outside only: flags, environment, Docker's socket, keys in etcd.
package bench

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

// programs are built when the first benchmark needs them.
type programs struct {
	once sync.Once
	dir  string
	err  error
}

// tables are shown when everything has been measured.
var (
	built   programs
	changes = table{title: "Changes: ms from Docker's event to a watcher of etcd, at most 1.5 times the floor; at rest: 0 writes, under 40 MB with 1000 containers", head: []string{
		"engine", "containers", "start p50", "p99", "floor p50", "p99", "ratio", "die p50", "p99", "floor p50", "p99", "ratio", "CPU %", "writes", "RSS MB",
	}}
	outages = table{title: "Outages of etcd, TTL 2 s: ms from etcd's first answer to records that are all right, at most 1000", head: []string{
		"outage", "containers", "away s", "p50", "max", "records written again",
	}}
)

func TestMain(m *testing.M) {
	code := m.Run()
	changes.print(os.Stdout)
	outages.print(os.Stdout)
	if err := errors.Join(goleak.Find(), os.RemoveAll(built.dir)); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// program gives the path of announce, or of the containers' hello.
func (p *programs) program(tb testing.TB, name string) string {
	tb.Helper()
	p.once.Do(func() {
		if p.dir, p.err = os.MkdirTemp("", "rollcall-bench-"); p.err != nil {
			return
		}
		build := exec.Command("go", "build", "-trimpath", "-o", p.dir+"/", "rollcall/cmd/announce", "rollcall/examples/hello")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			p.err = fmt.Errorf("go build: %w\n%s", err, out)
		}
	})
	if p.err != nil {
		tb.Fatal(p.err)
	}
	return filepath.Join(p.dir, name)
}
