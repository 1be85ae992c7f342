package etcd

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/goleak"

	"rollcall/internal/discovery"
	"rollcall/test/ports"
)

// patience is how long a condition may take on a busy machine before a test gives up.
const patience = 30 * time.Second

var (
	// shared is the server of all tests that can be told apart by their prefix.
	shared *Server
	// prefixes counts them: with -count a test meets what it left behind.
	prefixes atomic.Int64
)

// unique gives a prefix that nobody else uses.
func unique(t testing.TB) string {
	t.Helper()
	return fmt.Sprintf("/%s-%d", t.Name(), prefixes.Add(1))
}

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(suite{m})
}

// A suite runs the tests around the shared server, which is gone before leaks are
// looked for.
type suite struct{ m *testing.M }

func (s suite) Run() int {
	dir, err := os.MkdirTemp("", "rollcall-etcd-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if shared, err = StartServer(ctx, dir, []string{"http://127.0.0.1:0"}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer shared.Close()
	return s.m.Run()
}

// A node is a server that a test may stop and start again at the same address.
type node struct {
	*Server
	t   testing.TB
	dir string
	url string

	tune func(*embed.Config)
}

func newNode(t testing.TB) *node {
	t.Helper()
	return newTunedNode(t, func(*embed.Config) {})
}

func newTunedNode(t testing.TB, tune func(*embed.Config)) *node {
	t.Helper()
	n := &node{t: t, dir: t.TempDir(), url: fmt.Sprintf("http://127.0.0.1:%d", ports.Free(t)), tune: tune}
	n.start()
	t.Cleanup(n.stop)
	return n
}

func (n *node) start() {
	n.t.Helper()
	cfg, err := serverConfig(n.dir, []string{n.url})
	if err != nil {
		n.t.Fatal(err)
	}
	n.tune(cfg)
	if n.Server, err = startServer(testContext(n.t), cfg); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) stop() {
	if n.Server != nil {
		n.Close()
		n.Server = nil
	}
}

// backUp gives a copy of the data, for which the server is stopped a moment.
func (n *node) backUp() (dir string) {
	n.t.Helper()
	n.stop()
	dir = n.t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(n.dir)); err != nil {
		n.t.Fatal(err)
	}
	n.start()
	return dir
}

func testContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// open gives a client of one server, closed with the test.
func open(t testing.TB, s *Server) *Client {
	t.Helper()
	return openURL(t, s.Endpoints()[0])
}

func openURL(t testing.TB, url string) *Client {
	t.Helper()
	c, err := Open(testContext(t), Config{Endpoints: []string{url}}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// eventually waits until the condition holds.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s: not within %s", what, patience)
		}
	}
}

// lasting waits while the condition must hold without a break.
func lasting(t testing.TB, what string, d time.Duration, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	end := time.After(d)
	for {
		if !ok() {
			t.Fatalf("%s: no longer", what)
		}
		select {
		case <-tick.C:
		case <-end:
			return
		}
	}
}

// A logbook keeps what was logged.
type logbook struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

// count gives the number of lines that hold all of the words.
func (l *logbook) count(words ...string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
next:
	for line := range strings.Lines(l.buf.String()) {
		for _, w := range words {
			if !strings.Contains(line, w) {
				continue next
			}
		}
		n++
	}
	return n
}

func (l *logbook) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// metric reads one gauge or counter.
func metric(t testing.TB, c prometheus.Collector) float64 {
	t.Helper()
	return testutil.ToFloat64(c)
}

// put, del and dump are what somebody else does to etcd.
func put(t testing.TB, c *Client, key, value string, opts ...clientv3.OpOption) int64 {
	t.Helper()
	res, err := c.c.Put(testContext(t), key, value, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return res.Header.Revision
}

func del(t testing.TB, c *Client, key string) int64 {
	t.Helper()
	res, err := c.c.Delete(testContext(t), key)
	if err != nil {
		t.Fatal(err)
	}
	return res.Header.Revision
}

func dump(t testing.TB, c *Client, prefix string) map[string]string {
	t.Helper()
	res, err := c.c.Get(testContext(t), prefix+"/", clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, kv := range res.Kvs {
		all[string(kv.Key)] = string(kv.Value)
	}
	return all
}

// record encodes an instance of service "web" on machine "m1".
func record(t testing.TB, prefix string, layout discovery.Layout, name string, port int, version string) discovery.Record {
	t.Helper()
	r, err := discovery.Encode(prefix, layout, &discovery.Instance{
		Service: "web", Name: name, Host: "10.0.0.5", Port: uint16(port), Proto: "tcp", Version: version,
		Weight: discovery.DefaultWeight, Node: "core-01", Machine: "m1",
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func records(rs ...discovery.Record) map[string]discovery.Record {
	m := map[string]discovery.Record{}
	for _, r := range rs {
		m[r.ID()] = r
	}
	return m
}

// values gives every key and value of the records.
func values(rs map[string]discovery.Record) map[string]string {
	all := map[string]string{}
	for _, r := range rs {
		for k, v := range r.Values {
			all[k] = v
		}
	}
	return all
}
