package bench

import (
	"context"
	"fmt"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"rollcall/internal/discovery"
	"rollcall/test/ports"
)

// prefix is where the records of all containers here are.
const prefix = "/services/" + service + "/"

// A store is an etcd process with its data on disk.
type store struct {
	tb       testing.TB
	args     []string
	endpoint string
	process  *process
	client   *clientv3.Client // for questions and for the floor
}

func startEtcd(tb testing.TB) *store {
	tb.Helper()
	client, peer := "http://"+ports.Address(tb), "http://"+ports.Address(tb)
	s := &store{tb: tb, endpoint: client, args: []string{
		"--data-dir", tb.TempDir(), "--logger", "zap", "--log-level", "error",
		"--listen-client-urls", client, "--advertise-client-urls", client,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "default=" + peer,
	}}
	s.start()
	// Not by start: an etcd that was started again is still to outlive announce.
	tb.Cleanup(func() { s.process.stop() })
	s.client = s.dial()
	s.answers()
	return s
}

func (s *store) start() {
	s.tb.Helper()
	s.process = launch(s.tb, nil, "etcd", s.args...)
}

// kill ends etcd as a power cut would.
func (s *store) kill() {
	s.tb.Helper()
	s.process.end(syscall.SIGKILL)
}

// dial gives a connection that does not wait long before it tries again.
func (s *store) dial() *clientv3.Client {
	s.tb.Helper()
	c, err := clientv3.New(clientv3.Config{
		Endpoints: []string{s.endpoint}, Logger: zap.NewNop(),
		DialOptions: []grpc.DialOption{grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 5 * time.Millisecond, Multiplier: 1, MaxDelay: 5 * time.Millisecond},
			MinConnectTimeout: time.Second,
		})},
	})
	if err != nil {
		s.tb.Fatal(err)
	}
	s.tb.Cleanup(func() {
		if err := c.Close(); err != nil {
			s.tb.Error(err)
		}
	})
	return c
}

// answers waits for etcd's answer to a question that needs its leader.
func (s *store) answers() {
	s.tb.Helper()
	poll(s.tb, "etcd answers", time.Millisecond, func() error {
		_, err := s.get()
		return err
	})
}

func (s *store) get() (*clientv3.GetResponse, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return s.client.Get(ctx, prefix, clientv3.WithPrefix())
}

func (s *store) revision() int64 {
	s.tb.Helper()
	res, err := s.get()
	if err != nil {
		s.tb.Fatal(err)
	}
	return res.Header.Revision
}

// holds gives nil when there is a record of each container that runs, and no other.
func (s *store) holds(running map[string]string) error {
	res, err := s.get()
	if err != nil {
		return err
	}
	for _, kv := range res.Kvs {
		name := string(kv.Key[len(prefix):])
		r, err := discovery.DecodeRecord(service, name, kv.Value)
		if err != nil {
			return err
		}
		if running[name] != r.Container {
			return fmt.Errorf("record %s is of container %.12s, want %.12q", name, r.Container, running[name])
		}
	}
	if len(res.Kvs) != len(running) {
		return fmt.Errorf("%d records of %d containers", len(res.Kvs), len(running))
	}
	return nil
}

// writtenSince counts the records that were written after a revision.
func (s *store) writtenSince(revision int64) int {
	s.tb.Helper()
	res, err := s.get()
	if err != nil {
		s.tb.Fatal(err)
	}
	n := 0
	for _, kv := range res.Kvs {
		if kv.ModRevision > revision {
			n++
		}
	}
	return n
}

// put writes a key and gives the revision that this made.
func (s *store) put(key, value string) int64 {
	s.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	res, err := s.client.Put(ctx, key, value)
	if err != nil {
		s.tb.Error(err)
		return 0
	}
	return res.Header.Revision
}

// remove deletes a key and gives the revision that this made.
func (s *store) remove(key string) int64 {
	s.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	res, err := s.client.Delete(ctx, key)
	if err != nil {
		s.tb.Error(err)
		return 0
	}
	return res.Header.Revision
}

// A sighting is what a watcher learned.
type sighting struct {
	key      string
	value    []byte
	deleted  bool
	revision int64
	at       time.Time
}

// follow tells what happens below a prefix from now on.
func (s *store) follow(prefix string) <-chan sighting {
	s.tb.Helper()
	seen := make(chan sighting, 100_000)
	revision := s.revision()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	events := s.dial().Watch(ctx, prefix, clientv3.WithPrefix(), clientv3.WithRev(revision+1), clientv3.WithCreatedNotify())
	<-events // it has been set up
	go func() {
		defer close(done)
		for res := range events {
			at := time.Now()
			for _, e := range res.Events {
				seen <- sighting{string(e.Kv.Key), e.Kv.Value, e.Type == clientv3.EventTypeDelete, e.Kv.ModRevision, at}
			}
		}
	}()
	s.tb.Cleanup(func() {
		cancel()
		<-done
	})
	return seen
}

// A watcher stands for a balancer: it sees what happens below the prefix.
type watcher struct {
	tb   testing.TB
	seen <-chan sighting
}

// watch begins with what happens from now on.
func (s *store) watch() *watcher {
	s.tb.Helper()
	return &watcher{s.tb, s.follow(prefix)}
}

// next waits for a change, which has to be the one expected, and tells how long after a
// moment it was seen.
func (w *watcher) next(key string, deleted bool, since time.Time) time.Duration {
	w.tb.Helper()
	select {
	case s := <-w.seen:
		if s.key != key || s.deleted != deleted {
			w.tb.Fatalf("saw %s (deleted: %t), want %s (deleted: %t)", s.key, s.deleted, key, deleted)
		}
		return s.at.Sub(since)
	case <-time.After(patience):
		w.tb.Fatalf("%s (deleted: %t) was not seen", key, deleted)
		return 0
	}
}
