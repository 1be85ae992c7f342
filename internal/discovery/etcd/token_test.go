package etcd

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/metadata"

	"rollcall/internal/discovery"
)

// startLocked starts an etcd that asks for a password, and forgets who has given
// one after a second.
func startLocked(t *testing.T) *process {
	t.Helper()
	p := startProcess(t, "--auth-token-ttl", "1", "--bcrypt-cost", "4")
	lock(t, openURL(t, p.url))
	return p
}

// expiry waits until a token that nobody uses, given now, is worth nothing.
func expiry(t *testing.T, url string) {
	t.Helper()
	plain := openURL(t, url)
	given, err := plain.c.Authenticate(testContext(t), announcer, secret)
	if err != nil {
		t.Fatal(err)
	}
	var again []time.Duration // each use would give it another second
	for wait := 2 * time.Second; ; wait += time.Second {
		again = append(again, wait)
		if !pause(testContext(t), wait) {
			t.Fatal(testContext(t).Err())
		}
		ctx := metadata.AppendToOutgoingContext(testContext(t), rpctypes.TokenFieldNameGRPC, given.Token)
		_, err := etcdserverpb.NewKVClient(plain.c.ActiveConnection()).Range(ctx, &etcdserverpb.RangeRequest{Key: []byte("/services/x")})
		if errors.Is(rpctypes.Error(err), rpctypes.ErrInvalidAuthToken) {
			return
		}
		if len(again) > 5 {
			t.Fatalf("after waits of %v the token is still good: %v", again, err)
		}
	}
}

func TestEverythingOutlivesItsToken(t *testing.T) {
	t.Parallel()
	const prefix = "/services"
	p := startLocked(t)
	root := openAs(t, p.url, "root", "root")
	// Each with a connection of its own: no one's requests renew another's token.
	as := func() *Client { return openAs(t, p.url, announcer, secret) }
	k := keep(t, as(), RegistryConfig{Prefix: prefix, TTL: 2 * time.Second})
	idle := keep(t, as(), RegistryConfig{Prefix: prefix, TTL: time.Hour}) // asks nothing for twenty minutes
	w := watchChecking(t, as(), prefix, time.Hour)
	renderers := &logbook{}
	var mu sync.Mutex
	drained, acked := 0, 0
	ctx, cancel := context.WithCancel(context.Background())
	var followers sync.WaitGroup
	dc, rc := as(), as()
	followers.Go(func() {
		_ = NewDrains(dc, renderers.logger()).Run(ctx, func(d map[string]bool) { mu.Lock(); drained = len(d); mu.Unlock() })
	})
	followers.Go(func() {
		_ = WatchRenderers(ctx, rc, renderers.logger(), func(l []*discovery.Acknowledgement) { mu.Lock(); acked = len(l); mu.Unlock() })
	})
	t.Cleanup(func() { cancel(); followers.Wait() })
	a, _, _ := acknowledge(t, as())

	one := record(t, prefix, discovery.LayoutHostPort, "a", 80, "")
	k.settle(t, one)
	idle.settle(t)
	w.sees(t, "web/a=10.0.0.5:80")
	before := revision(t, root)
	expiry(t, p.url)
	if diff := cmp.Diff([]string(nil), events(t, root, prefix, before)); diff != "" {
		t.Errorf("what a watcher sees of the tokens' end (-want +got):\n%s", diff)
	}

	k.change(t, records(record(t, prefix, discovery.LayoutHostPort, "b", 81, "")))
	idle.change(t, records(record(t, prefix, discovery.LayoutHostPort, "c", 82, "")))
	w.sees(t, "web/a=10.0.0.5:80 web/b=10.0.0.5:81 web/c=10.0.0.5:82")
	if err := Drain(testContext(t), root, "web", "x", &discovery.Drain{}); err != nil {
		t.Fatal(err)
	}
	a.Set(ack("r1", 1, 1))
	eventually(t, "drain and acknowledgement are seen", func() bool { mu.Lock(); defer mu.Unlock(); return drained == 1 && acked == 1 })
	for name, err := range map[string]error{"registry": k.Healthy(), "idle registry": idle.Healthy(), "source": w.Healthy(), "acknowledger": a.Healthy()} {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := metric(t, k.losses) + metric(t, idle.losses); got != 0 {
		t.Errorf("%v leases were lost, want none", got)
	}
}

// Whoever is locked out says so, does not lose its place, and goes on where it was
// when it is let in again.
func TestRegistryIsLockedOutAndLetInAgain(t *testing.T) {
	t.Parallel()
	const prefix = "/services"
	for name, tt := range map[string]struct {
		out, in func(ctx context.Context, root *clientv3.Client) error
		want    error
	}{
		"password changed": {
			out: func(ctx context.Context, root *clientv3.Client) error {
				_, err := root.UserChangePassword(ctx, announcer, "another")
				return err
			},
			in: func(ctx context.Context, root *clientv3.Client) error {
				_, err := root.UserChangePassword(ctx, announcer, secret)
				return err
			},
		},
		"user deleted": {
			out: func(ctx context.Context, root *clientv3.Client) error {
				_, err := root.UserDelete(ctx, announcer)
				return err
			},
			in: func(ctx context.Context, root *clientv3.Client) error {
				if _, err := root.UserAdd(ctx, announcer, secret); err != nil {
					return err
				}
				_, err := root.UserGrantRole(ctx, announcer, announcer)
				return err
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := startLocked(t)
			root := openAs(t, p.url, "root", "root")
			k := keep(t, openAs(t, p.url, announcer, secret), RegistryConfig{Prefix: prefix, TTL: 20 * time.Second})
			w := watch(t, openAs(t, p.url, announcer, secret), prefix)
			a, b := record(t, prefix, discovery.LayoutHostPort, "a", 80, ""), record(t, prefix, discovery.LayoutHostPort, "b", 81, "")
			k.settle(t, a)
			w.sees(t, "web/a=10.0.0.5:80")
			before := revision(t, root)
			if err := tt.out(testContext(t), root.c); err != nil {
				t.Fatal(err)
			}
			k.Change(records(b), nil)
			eventually(t, "both say that they are locked out", func() bool { return k.Healthy() != nil && w.Healthy() != nil })
			t.Logf("registry: %v; source: %v", k.Healthy(), w.Healthy())
			if err := tt.in(testContext(t), root.c); err != nil {
				t.Fatal(err)
			}
			if err := k.Settled(testContext(t)); err != nil {
				t.Fatalf("Settled() = %v, Healthy() = %v\n%s", err, k.Healthy(), k.log.buf.String())
			}
			w.sees(t, "web/a=10.0.0.5:80 web/b=10.0.0.5:81")
			eventually(t, "healthy again", func() bool { return k.Healthy() == nil && w.Healthy() == nil })
			if diff := cmp.Diff([]string{"PUT " + prefix + "/web/b"}, events(t, root, prefix, before)); diff != "" {
				t.Errorf("what a watcher sees (-want +got):\n%s", diff)
			}
		})
	}
}
