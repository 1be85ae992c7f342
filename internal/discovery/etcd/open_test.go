package etcd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"

	"rollcall/internal/discovery"
)

const (
	announcer = "announcer" // user
	secret    = "s3cret"    // and password
)

// newLockedNode gives a server on which only root, and the announcer below
// /services and /rollcall, may do anything.
func newLockedNode(t *testing.T) *node {
	t.Helper()
	n := newTunedNode(t, func(cfg *embed.Config) { cfg.BcryptCost = 4 }) // the least there is
	lock(t, open(t, n.Server))
	return n
}

// lock lets nobody do anything any more but those two.
func lock(t *testing.T, client *Client) {
	t.Helper()
	c, ctx := client.c, testContext(t)
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(c.RoleAdd(ctx, "root"))
	must(c.UserAdd(ctx, "root", "root"))
	must(c.UserGrantRole(ctx, "root", "root"))
	must(c.RoleAdd(ctx, announcer))
	for _, prefix := range []string{"/services/", "/rollcall/"} {
		must(c.RoleGrantPermission(ctx, announcer, prefix, clientv3.GetPrefixRangeEnd(prefix), clientv3.PermissionType(clientv3.PermReadWrite)))
	}
	must(c.UserAdd(ctx, announcer, secret))
	must(c.UserGrantRole(ctx, announcer, announcer))
	must(c.AuthEnable(ctx))
}

// openAs gives a client that logs in.
func openAs(t *testing.T, url, user, password string) *Client {
	t.Helper()
	c, err := Open(testContext(t), Config{Endpoints: []string{url}, User: user, Password: password}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestOpenWithUserAndPassword(t *testing.T) {
	t.Parallel()
	const prefix = "/services"
	n := newLockedNode(t)
	var log logbook
	c, err := Open(testContext(t), Config{Endpoints: []string{n.url}, User: announcer, Password: secret}, log.logger())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	k := keepVerifying(t, c, RegistryConfig{Prefix: prefix, TTL: 2 * time.Second}, 100*time.Millisecond)
	a := record(t, prefix, discovery.LayoutHostPort, "a", 80, "")
	k.settle(t, a)
	w := watch(t, c, prefix)
	w.sees(t, "web/a=10.0.0.5:80")

	// After a restart of etcd the token of before is worth nothing.
	n.stop()
	n.start()
	b := record(t, prefix, discovery.LayoutHostPort, "b", 81, "")
	k.settle(t, a, b)
	w.sees(t, "web/a=10.0.0.5:80 web/b=10.0.0.5:81")
	lasting(t, "the lease is kept", 3*time.Second, func() bool { return w.last().Len() == 2 })
	if strings.Contains(log.buf.String()+k.log.buf.String()+w.log.buf.String(), secret) {
		t.Error("the password was logged")
	}
}

func TestOpenWithWrongPasswordFailsAtOnce(t *testing.T) {
	t.Parallel()
	n := newLockedNode(t)
	for _, cfg := range []Config{
		{Endpoints: []string{n.url}, User: announcer, Password: "wrong"},
		{Endpoints: []string{n.url}, User: "nobody", Password: secret},
	} {
		var log logbook
		_, err := Open(testContext(t), cfg, log.logger())
		if !errors.Is(err, rpctypes.ErrAuthFailed) || !strings.HasPrefix(err.Error(), "open etcd at ["+n.url+"]: ") {
			t.Errorf("user %s: %v, want the login to fail", cfg.User, err)
		}
		if strings.Contains(err.Error(), cfg.Password) {
			t.Errorf("the error tells the password: %v", err)
		}
		if got := log.count(""); got != 0 {
			t.Errorf("user %s: %d lines were logged, want none: the error is returned", cfg.User, got)
		}
	}
}

// Nobody waits at the start for an etcd that is away: there may be a cache to serve.
// The client logs in as soon as there is a server.
func TestOpenWithUserDoesNotWaitForTheServer(t *testing.T) {
	t.Parallel()
	n := newLockedNode(t)
	n.stop()
	file := filepath.Join(t.TempDir(), "cache")
	if err := os.WriteFile(file, []byte(`{"format":"rollcall catalog 1","prefix":"/services","revision":1,"written":"2026-01-02T03:04:05Z","instances":0}`), 0o600); err != nil {
		t.Fatal(err)
	}
	c := openAs(t, n.url, announcer, secret)
	w := watchAs(t, c, cached("/services", file), time.Hour)
	eventually(t, "what is remembered", func() bool { return w.last().Stale })
	k := keep(t, openAs(t, n.url, announcer, secret), RegistryConfig{Prefix: "/services", TTL: time.Minute})
	wrong := watch(t, openAs(t, n.url, announcer, "wrong"), "/services")
	n.start()
	k.settle(t, record(t, "/services", discovery.LayoutHostPort, "a", 80, ""))
	w.sees(t, "web/a=10.0.0.5:80")
	eventually(t, "the wrong password is told", func() bool { return errors.Is(wrong.Healthy(), rpctypes.ErrAuthFailed) })
}

// What a client was opened with may end without ending the client.
func TestOpenedClientOutlivesItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(context.Background())
	c, err := Open(ctx, Config{Endpoints: shared.Endpoints()}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	cancel()
	if _, err := c.c.Get(testContext(t), "/TestOutlives"); err != nil {
		t.Error(err)
	}
}

// Who is refused is told so, and does not call it an answer when only the lease is renewed.
func TestRegistrySaysThatItIsRefused(t *testing.T) {
	t.Parallel()
	const prefix = "/elsewhere" // where the announcer may do nothing
	n := newLockedNode(t)
	c, err := Open(testContext(t), Config{Endpoints: []string{n.url}, User: announcer, Password: secret}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	k := keep(t, c, RegistryConfig{Prefix: prefix, TTL: 2 * time.Second})
	k.Set(records(record(t, prefix, discovery.LayoutJSON, "a", 80, "1")), nil)
	eventually(t, "refusal", func() bool { return errors.Is(k.Current(), rpctypes.ErrPermissionDenied) })
	lasting(t, "unhealthy although the lease is renewed", 2*time.Second, func() bool { return k.Healthy() != nil })
	if got := fmt.Sprint(k.log.count("level=WARN"), k.log.count("answers again")); got != "1 0" {
		t.Errorf("warnings and all-clears: %s, want 1 0", got)
	}
}
