package etcd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"rollcall/test/ports"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// A process is etcd as people run it, which can be killed and frozen as a server
// inside the test cannot.
type process struct {
	t    testing.TB
	url  string // for clients
	args []string
	log  string // file
	cmd  *exec.Cmd
}

// startProcess starts a cluster of one.
func startProcess(t testing.TB, args ...string) *process {
	t.Helper()
	return startCluster(t, 1, args...)[0]
}

// startCluster starts etcd servers that are one cluster, and waits until they answer.
func startCluster(t testing.TB, size int, args ...string) []*process {
	t.Helper()
	var all []*process
	var peers []string
	for i := range size {
		name, peer := fmt.Sprintf("n%d", i), fmt.Sprintf("http://127.0.0.1:%d", ports.Free(t))
		p := &process{t: t, url: fmt.Sprintf("http://127.0.0.1:%d", ports.Free(t)), log: filepath.Join(t.TempDir(), "log")}
		p.args = append([]string{
			"--name", name, "--data-dir", filepath.Join(t.TempDir(), "data"),
			"--listen-client-urls", p.url, "--advertise-client-urls", p.url,
			"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
		}, args...)
		peers = append(peers, name+"="+peer)
		all = append(all, p)
	}
	for _, p := range all {
		p.args = append(p.args, "--initial-cluster", strings.Join(peers, ","))
		p.start()
		t.Cleanup(p.kill)
	}
	for _, p := range all {
		p.answers()
	}
	return all
}

func (p *process) start() {
	p.t.Helper()
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		p.t.Fatal(err)
	}
	defer log.Close()
	p.cmd = exec.Command("etcd", p.args...)
	// Nothing of this machine's own; and 3.4 wants to be told that the rest of the
	// world may not be amd64.
	p.cmd.Env = []string{"ETCD_UNSUPPORTED_ARCH=" + runtime.GOARCH}
	p.cmd.Stdout, p.cmd.Stderr = log, log
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
}

// kill ends it without a word to anybody, as kill -9 does; it may be started again.
func (p *process) kill() {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
	p.cmd = nil
}

// freeze keeps it from doing anything until thaw; its clock goes on.
func (p *process) freeze() { p.signal(syscall.SIGSTOP) }
func (p *process) thaw()   { p.signal(syscall.SIGCONT) }

func (p *process) signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// answers waits until it serves reads that its cluster agrees on. It connects anew
// each time: whoever waits for a connection of before learns of it later.
func (p *process) answers() {
	p.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := p.ask()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			log, _ := os.ReadFile(p.log)
			p.t.Fatalf("etcd at %s: %v; its log:\n%s", p.url, err, log)
		}
	}
}

func (p *process) ask() error {
	c, err := Open(testContext(p.t), Config{Endpoints: []string{p.url}}, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(testContext(p.t), 100*time.Millisecond)
	defer cancel()
	if _, err = c.c.Get(ctx, "/"); errors.Is(err, rpctypes.ErrUserEmpty) {
		return nil // it knows its users
	}
	return err
}

// openAll gives a client that knows several servers.
func openAll(t testing.TB, ps ...*process) *Client {
	t.Helper()
	var urls []string
	for _, p := range ps {
		urls = append(urls, p.url)
	}
	c, err := Open(testContext(t), Config{Endpoints: urls}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}
