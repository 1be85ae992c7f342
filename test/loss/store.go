package loss

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"rollcall/internal/discovery"
	"rollcall/test/ports"
)

// A store is an etcd, as who writes records by hand sees it.
type store struct {
	endpoint string
	client   *clientv3.Client
}

// dial returns when etcd answers.
func dial(tb testing.TB, endpoint string) (*store, error) {
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, Logger: zap.NewNop()})
	if err != nil {
		return nil, err
	}
	tb.Cleanup(func() {
		if err := client.Close(); err != nil {
			tb.Error(err)
		}
	})
	ctx, cancel := context.WithTimeout(tb.Context(), patience)
	defer cancel()
	_, err = client.Get(ctx, discovery.DefaultPrefix)
	return &store{endpoint: endpoint, client: client}, err
}

// startEtcd runs an etcd of its own, for a balancer that brings none.
func startEtcd(tb testing.TB) (*store, error) {
	client, peer := "http://"+ports.Address(tb), "http://"+ports.Address(tb)
	_, err := launch(tb, nil, "etcd", "--data-dir", tb.TempDir(), "--log-level", "error",
		"--listen-client-urls", client, "--advertise-client-urls", client,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "default="+peer)
	if err != nil {
		return nil, err
	}
	return dial(tb, client)
}

func key(service, instance string) string {
	return discovery.DefaultPrefix + "/" + service + "/" + instance
}

func (s *store) put(ctx context.Context, service, instance string, port, weight int) (revision int64, err error) {
	res, err := s.client.Put(ctx, key(service, instance), fmt.Sprintf(`{"host":"127.0.0.1","port":%d,"weight":%d}`, port, weight))
	if err != nil {
		return 0, err
	}
	return res.Header.Revision, nil
}

func (s *store) remove(ctx context.Context, service, instance string) (revision int64, err error) {
	res, err := s.client.Delete(ctx, key(service, instance))
	if err != nil {
		return 0, err
	}
	return res.Header.Revision, nil
}

// announced waits for a record that somebody else writes.
func (s *store) announced(ctx context.Context, service, instance string) (revision int64, err error) {
	err = poll(ctx, instance+" is announced", func() error {
		res, err := s.client.Get(ctx, key(service, instance))
		if err == nil && len(res.Kvs) == 0 {
			err = errors.New("there is no record")
		}
		if err == nil {
			revision = res.Kvs[0].ModRevision
		}
		return err
	})
	return revision, err
}

// instances lists the whole catalog, sorted by service and name.
func (s *store) instances(ctx context.Context) (list []*discovery.Instance, revision int64, err error) {
	prefix := discovery.DefaultPrefix + "/"
	res, err := s.client.Get(ctx, prefix, clientv3.WithPrefix())
	if err != nil {
		return nil, 0, err
	}
	for _, kv := range res.Kvs {
		service, name, err := discovery.ParseID(string(kv.Key[len(prefix):]))
		if err != nil {
			return nil, 0, err
		}
		i, err := discovery.DecodeRecord(service, name, kv.Value)
		if err != nil {
			return nil, 0, err
		}
		list = append(list, i)
	}
	return list, res.Header.Revision, nil
}

// directory is one that a server's unprivileged workers may enter.
func directory(tb testing.TB) (string, error) {
	dir, err := os.MkdirTemp("", "rollcall-loss-")
	if err != nil {
		return "", err
	}
	tb.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			tb.Error(err)
		}
	})
	return dir, os.Chmod(dir, 0o755)
}
