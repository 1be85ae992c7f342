package renderer

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"rollcall/internal/discovery"
	"rollcall/internal/reload"
)

func answers(addrs ...string) Lookup {
	return func(context.Context, string, string) ([]netip.Addr, error) {
		var list []netip.Addr
		for _, a := range addrs {
			list = append(list, netip.MustParseAddr(a))
		}
		return list, nil
	}
}

func fails(context.Context, string, string) ([]netip.Addr, error) {
	return nil, errors.New("server misbehaving")
}

func TestNamesAreResolvedBesideTheRendering(t *testing.T) {
	running(t, func(t *testing.T, g *rig) {
		serves := func(when, want string) {
			t.Helper()
			if got := g.content(); !strings.Contains(got, want+"\n") {
				t.Errorf("%s: got %q, want %q", when, got, want)
			}
		}
		g.set(func(g *rig) {
			g.lookup = func(context.Context, string, string) ([]netip.Addr, error) {
				<-time.After(time.Second)
				return answers("10.9.9.9", "10.9.9.1")(t.Context(), "", "")
			}
		})
		g.offer(catalog(1, member("web/1", "some.host", 80), member("web/2", "10.0.0.2", 80)))
		after(0)
		serves("while it is looked up", "web: 10.0.0.2:80")
		if a := g.ack(); a.Applied != 1 || len(a.Skipped) != 1 || a.Skipped[0] != "web/1" {
			t.Errorf("acknowledged %+v, want web/1 skipped", a)
		}
		after(1100 * time.Millisecond)
		serves("looked up", "web: 10.9.9.1:80 10.0.0.2:80")
		if a := g.ack(); len(a.Skipped) != 0 {
			t.Errorf("acknowledged %+v, want nothing skipped", a)
		}
		g.set(func(g *rig) { g.lookup = answers("10.9.9.1", "10.0.0.7") })
		after(time.Minute)
		serves("an address that still stands", "web: 10.9.9.1:80 10.0.0.2:80")
		g.set(func(g *rig) { g.lookup = answers("10.9.9.2") })
		after(resolveAgain + 2*time.Second)
		serves("another address", "web: 10.9.9.2:80 10.0.0.2:80")

		g.set(func(g *rig) { g.lookup = fails })
		after(10 * time.Minute)
		serves("the name server is away", "web: 10.9.9.2:80 10.0.0.2:80")
		if got := g.Status().Unresolved["some.host"]; !strings.Contains(got, "server misbehaving") {
			t.Errorf("status says %q, want the reason", got)
		}
		if got := g.logged("host name does not resolve"); got != 1 {
			t.Errorf("logged %d times, want once", got)
		}

		g.offer(catalog(2, member("web/2", "10.0.0.2", 80)))
		after(0)
		if got := g.Status().Unresolved; len(got) != 0 {
			t.Errorf("status names %v, which nobody uses", got)
		}
		after(resolveForget + 2*checkInterval)
		g.resolver.mu.Lock()
		defer g.resolver.mu.Unlock()
		if got := len(g.resolver.names); got != 0 {
			t.Errorf("%d names are kept, want none", got)
		}
	})
}

// A transaction may take longer than a name is kept; the rendering after it must
// not find the name unknown, and take the server out.
func TestNamesOutliveALongTransaction(t *testing.T) {
	var contents []string
	slow := func(cfg *Config) {
		cfg.Applier = applier{apply: func(_ context.Context, c reload.Candidate) (reload.Outcome, error) {
			contents = append(contents, string(c.Files[0].Content))
			<-time.After(3 * time.Minute)
			return reload.Outcome{Old: gone()}, nil
		}}
	}
	running(t, func(t *testing.T, g *rig) {
		g.set(func(g *rig) { g.lookup = answers("10.9.9.1") })
		g.offer(catalog(1, member("web/1", "some.host", 80)))
		after(20 * time.Minute)
		for n, text := range contents {
			if n > 0 && !strings.Contains(text, "10.9.9.1:80") {
				t.Errorf("configuration %d is %q, without the server", n, text)
			}
		}
		if len(contents) < 3 {
			t.Errorf("%d configurations, want several", len(contents))
		}
	}, slow)
}

func TestLookupsAreBounded(t *testing.T) {
	running(t, func(t *testing.T, g *rig) {
		var now, most atomic.Int32
		g.set(func(g *rig) {
			g.lookup = func(ctx context.Context, _, host string) ([]netip.Addr, error) {
				if most.Load() < now.Add(1) {
					most.Store(now.Load())
				}
				defer now.Add(-1)
				if strings.HasPrefix(host, "slow") {
					<-ctx.Done()
					return nil, ctx.Err()
				}
				return answers("10.9.9.1")(ctx, "", "")
			}
		})
		var members []*discovery.Instance
		for n := range 40 {
			members = append(members, member(fmt.Sprintf("slow/%d", n), fmt.Sprintf("slow%d.host", n), 80))
		}
		g.offer(catalog(1, members...))
		after(500 * time.Millisecond)
		g.offer(catalog(2, append(members, member("web/1", "quick.host", 80))...))
		after(resolveTimeout)
		if !strings.Contains(g.content(), "web: 10.9.9.1:80") {
			t.Errorf("got %q: a quick name waits for all the slow ones", g.content())
		}
		if got := most.Load(); got != resolveAtOnce {
			t.Errorf("%d look-ups at once, want %d", got, resolveAtOnce)
		}
	})
}

func TestUsableAddresses(t *testing.T) {
	for _, test := range []struct{ found, want string }{
		{"10.0.0.2 10.0.0.1", "10.0.0.1 10.0.0.2"},
		{"::ffff:10.0.0.1", "10.0.0.1"},
		{"fe80::1%eth0 2001:db8::1", "2001:db8::1"},
		{"0.0.0.0 :: 224.0.0.1", ""},
	} {
		found, _ := answers(strings.Fields(test.found)...)(t.Context(), "", "")
		var got []string
		for _, a := range usable(found) {
			got = append(got, a.String())
		}
		if strings.Join(got, " ") != test.want {
			t.Errorf("%s: got %q, want %q", test.found, got, test.want)
		}
	}
}

func TestEndOfTheProgramIsNoFailedLookup(t *testing.T) {
	running(t, func(t *testing.T, g *rig) {
		g.set(func(g *rig) {
			g.lookup = func(ctx context.Context, _, _ string) ([]netip.Addr, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			}
		})
		t.Cleanup(func() {
			if g.logged("does not resolve") > 0 {
				t.Error("the end of the program is logged as a name that does not resolve")
			}
		})
		g.offer(catalog(1, member("web/1", "some.host", 80)))
		after(time.Second)
	})
}
