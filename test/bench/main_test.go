// Package bench measures the real announce and the real render, built as they are shipped
// and run as processes of their own, with a real etcd that writes to disk. Of announce:
// how long a change takes until a watcher sees it, what it costs while nothing changes,
// and how soon the records are right after etcd was away. Of render, with a real nginx:
// how long a change takes until it is in the file and until it is served, what it costs,
// and what becomes of storms and outages. Every time stands beside the floor, the same
// done by hand in the same run, because times move between machines and ratios much less.
//
// "make bench" runs it; "make test" only sees that the measuring works. It knows the two
// programs from outside only: flags, environment, Docker's socket, keys in etcd. The floor
// of render borrows its templates, since a floor with another file would be none.
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
	renderings = table{title: "Renderer, nginx: ms from one put to the file on disk, at most 1.5 times the floor, and to nginx's proof; a change costs about 150 bytes from etcd; under 150 MB with 50,000", head: []string{
		"instances", "file p50", "p99", "floor p50", "p99", "ratio", "serving p50", "p99", "floor p50", "p99", "ratio", "CPU ms", "check ms", "bytes", "with acks", "RSS MB", "peak",
	}}
	storms = table{title: "Storms, nginx: a bounded handful of reloads; ms from the last change until it is served, at most max-wait (1000) and one reload; nothing is cut off", head: []string{
		"storm", "instances", "reloads", "last served ms", "old workers at most", "WebSockets", "cut off",
	}}
	renderOuts = table{title: "Outages of etcd, renderer: ms from etcd's first answer until a change made then is in the file, and served, at most 500", head: []string{
		"outage", "instances", "file", "serving",
	}}
	lives = table{title: "Members of one service: ms from a put until the new one answers a client, and from a delete until applied and until drained, with no request running; " +
		"live under 10 at every size, nginx by reload at most 1.2 times its own.\n" +
		"By hand: template, check and signal, as confd does, but seen to the end; its own: the part of that from the signal on, for nginx 100 and what it takes to load.\n" +
		"All members but two have weight 0, so that the new one, of weight 256, is the next to be asked. Apache does not come up with 10,000 in one balancer", head: []string{
		"proxy", "members", "changes", "answers p50", "p99", "/hand", "applied p50", "p99", "/hand", "/own", "drained p50", "p99", "/hand",
	}}
	outages = table{title: "Outages of etcd, TTL 2 s: ms from etcd's first answer to records that are all right, at most 1000", head: []string{
		"outage", "containers", "away s", "p50", "max", "records written again",
	}}
)

func TestMain(m *testing.M) {
	code := m.Run()
	changes.print(os.Stdout)
	renderings.print(os.Stdout)
	storms.print(os.Stdout)
	renderOuts.print(os.Stdout)
	lives.print(os.Stdout)
	outages.print(os.Stdout)
	for _, t := range losses {
		t.print(os.Stdout)
	}
	if err := errors.Join(goleak.Find(), os.RemoveAll(built.dir)); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// program gives the path of announce, of render, or of the containers' hello.
func (p *programs) program(tb testing.TB, name string) string {
	tb.Helper()
	p.once.Do(func() {
		if p.dir, p.err = os.MkdirTemp("", "rollcall-bench-"); p.err != nil {
			return
		}
		build := exec.Command("go", "build", "-trimpath", "-o", p.dir+"/", "rollcall/cmd/announce", "rollcall/cmd/render", "rollcall/examples/hello")
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
