package etcd

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rollcall/internal/discovery"
)

func TestDrains(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	c := open(t, n.Server)
	since := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	drain := func(service, instance string, d *discovery.Drain) {
		t.Helper()
		if err := Drain(testContext(t), c, service, instance, d); err != nil {
			t.Fatal(err)
		}
	}
	drain("web", "a", &discovery.Drain{Since: since, By: "somebody", Revision: 7})

	var log logbook
	d := NewDrains(c, log.logger())
	if d.Healthy() == nil {
		t.Error("Healthy() = nil before the first answer")
	}
	var mu sync.Mutex
	latest := "nothing yet"
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- d.Run(ctx, func(drained map[string]bool) {
			mu.Lock()
			defer mu.Unlock()
			latest = strings.Join(slices.Sorted(maps.Keys(drained)), " ")
			clear(drained) // it is the caller's to keep, or to spoil
		})
	}()
	sees := func(want string) {
		t.Helper()
		eventually(t, "drains "+want, func() bool { mu.Lock(); defer mu.Unlock(); return latest == want })
	}
	sees("web/a")
	put(t, c, discovery.DrainsPrefix+"/web/by-hand", "")
	sees("web/a web/by-hand")
	put(t, c, discovery.DrainsPrefix+"/no-instance", "")
	put(t, c, discovery.DrainsPrefix+"/UPPER/case", "")
	drain("web", "b", &discovery.Drain{})
	sees("web/a web/b web/by-hand")
	if err := d.Healthy(); err != nil {
		t.Errorf("Healthy() = %v", err)
	}

	list, err := ListDrains(testContext(t), c)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]discovery.Drain{"web/a": {Since: since, By: "somebody", Revision: 7}, "web/b": {}, "web/by-hand": {}}
	if diff := cmp.Diff(want, list); diff != "" {
		t.Errorf("ListDrains() (-want +got):\n%s", diff)
	}

	drain("web", "a", nil)
	sees("web/b web/by-hand")
	drain("web", "a", nil) // lifted already
	n.stop()               // an order outlives everything
	n.start()
	drain("web", "z", &discovery.Drain{})
	sees("web/b web/by-hand web/z")
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Run ended with %v", err)
	}
}

func TestDrainSaysWhatFailed(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	c := open(t, n.Server)
	n.stop()
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	for what, err := range map[string]error{
		"put /rollcall/drains/web/a":    Drain(ctx, c, "web", "a", &discovery.Drain{}),
		"delete /rollcall/drains/web/a": Drain(ctx, c, "web", "a", nil),
		"list drains":                   func() error { _, err := ListDrains(ctx, c); return err }(),
		"list /rollcall/renderers/":     func() error { _, err := ListRenderers(ctx, c, nil); return err }(),
		"list /services/":               func() error { _, err := List(ctx, c, "/services", (&logbook{}).logger()); return err }(),
		"list the keys below /services": func() error { _, err := TTLs(ctx, c, "/services"); return err }(),
	} {
		if err == nil || !strings.HasPrefix(err.Error(), what+": ") {
			t.Errorf("got %v, want it to begin with %q", err, what)
		}
	}
}
