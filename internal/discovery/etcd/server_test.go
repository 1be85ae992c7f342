package etcd

import (
	"context"
	"errors"
	"os/exec"
	"strings"
	"testing"
)

func TestServerOnPortZeroTellsItsPort(t *testing.T) {
	t.Parallel()
	endpoints := shared.Endpoints()
	if len(endpoints) != 1 || strings.HasSuffix(endpoints[0], ":0") {
		t.Fatalf("endpoints are %v, want one with a real port", endpoints)
	}
	put(t, open(t, shared), "/TestServer/key", "there")
	out, err := exec.Command("etcdctl", "--endpoints", endpoints[0], "get", "--print-value-only", "/TestServer/key").CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "there" {
		t.Errorf("etcdctl says %q, %v", out, err)
	}
}

func TestServerKeepsItsData(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	revision := put(t, open(t, n.Server), "/key", "kept")
	n.stop()
	n.start()
	res, err := open(t, n.Server).c.Get(testContext(t), "/key")
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Kvs) != 1 || string(res.Kvs[0].Value) != "kept" || res.Header.Revision != revision {
		t.Errorf("after a restart: %v at revision %d, want the value kept at revision %d", res.Kvs, res.Header.Revision, revision)
	}
}

func TestServerRefusesWhatItCannotListenAt(t *testing.T) {
	t.Parallel()
	for _, endpoint := range []string{"https://127.0.0.1:0", "127.0.0.1:2379", "http://", "http://:x", shared.Endpoints()[0]} {
		s, err := StartServer(testContext(t), t.TempDir(), []string{endpoint})
		if err == nil {
			s.Close()
			t.Errorf("StartServer(%q) works, want an error", endpoint)
		} else if !strings.HasPrefix(err.Error(), "embedded etcd: ") {
			t.Errorf("StartServer(%q): %v, want it to say who failed", endpoint, err)
		}
	}
}

func TestServerGivesUpWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	s, err := StartServer(ctx, t.TempDir(), []string{"http://127.0.0.1:0"})
	if err == nil {
		s.Close() // it was ready before anybody looked at the context
	} else if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the context's error", err)
	}
}
