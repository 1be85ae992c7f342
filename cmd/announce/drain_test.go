package main

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"rollcall/internal/cli"
	"rollcall/internal/discovery"
	"rollcall/internal/discovery/etcd"
)

// A name that nobody knows must not become an order that stays for ever, not even where
// a balancer cannot say of everybody whether it holds them.
func TestDrainRefusesWhatNobodyKnows(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	logger := slog.New(slog.DiscardHandler)
	server, err := etcd.StartServer(ctx, t.TempDir(), []string{"http://127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	client, err := etcd.Open(ctx, etcd.Config{Endpoints: server.Endpoints()}, logger)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	acks := etcd.NewAcknowledger(client, logger)
	acks.Set(discovery.Acknowledgement{ID: "edge-1", Node: "n1", Prefix: "/services", Held: []string{"web/a"}, MoreHeld: true})
	var running sync.WaitGroup
	defer running.Wait()
	run, stop := context.WithCancel(ctx)
	defer stop()
	running.Go(func() { _ = acks.Run(run) })
	for there := false; !there; {
		list, err := etcd.ListRenderers(ctx, client, logger)
		if err != nil {
			t.Fatal(err)
		}
		there = len(list) > 0
	}

	for id, want := range map[string]struct {
		said    string
		ordered bool
	}{
		"web/typo": {"web/typo is not announced, and no balancer is known to hold it; not all that are held are named by edge-1 on n1", false},
		"web/a":    {"edge-1 on n1", true}, // it holds on to it, since it is only this test
	} {
		c := called(nil, "drain", id, "--timeout", "2s", "--endpoints", strings.Join(server.Endpoints(), ","))
		drains, err := etcd.ListDrains(ctx, client)
		if err != nil {
			t.Fatal(err)
		}
		if _, ordered := drains[id]; c.code == cli.ExitOK || !strings.Contains(c.stderr, want.said) || ordered != want.ordered {
			t.Errorf("%s: exit code %d, ordered: %t, %q; want %t, %q", id, c.code, ordered, c.stderr, want.ordered, want.said)
		}
	}
}
