package etcd

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"rollcall/internal/discovery"
)

// A watcher is a running source and what it handed over.
type watcher struct {
	*Source
	log   *logbook
	stop  context.CancelFunc
	ended chan struct{}

	mu       sync.Mutex
	catalogs []*discovery.Catalog
}

func watch(t *testing.T, c *Client, prefix string) *watcher {
	t.Helper()
	return watchChecking(t, c, prefix, 100*time.Millisecond)
}

func watchChecking(t *testing.T, c *Client, prefix string, check time.Duration) *watcher {
	t.Helper()
	return watchAs(t, c, SourceConfig{Prefix: prefix, MaxLoss: 1}, check)
}

// guarded gives a source that holds what more than half of a service loses at once.
func guarded(t *testing.T, c *Client, prefix string) *watcher {
	t.Helper()
	return watchAs(t, c, SourceConfig{Prefix: prefix, MaxLoss: 0.5, Hold: time.Hour}, 100*time.Millisecond)
}

func watchAs(t *testing.T, c *Client, cfg SourceConfig, check time.Duration, tune ...func(*Source)) *watcher {
	t.Helper()
	w := &watcher{log: &logbook{}}
	cfg.Logger, cfg.Registerer = w.log.logger(), prometheus.NewRegistry()
	w.Source = NewSource(c, cfg)
	w.follower.check = check
	w.patience = patience // a busy machine is no reason to hold anything
	for _, f := range tune {
		f(w.Source)
	}
	ctx, cancel := context.WithCancel(context.Background())
	w.stop = cancel
	done := make(chan error, 1)
	w.ended = make(chan struct{})
	go func() {
		defer close(w.ended)
		done <- w.Run(ctx, func(c *discovery.Catalog) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.catalogs = append(w.catalogs, c)
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run ended with %v", err)
		}
	})
	return w
}

// all gives every catalog so far.
func (w *watcher) all() []*discovery.Catalog {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.catalogs[:len(w.catalogs):len(w.catalogs)]
}

// last gives the newest catalog; an empty one before the first.
func (w *watcher) last() *discovery.Catalog {
	if all := w.all(); len(all) > 0 {
		return all[len(all)-1]
	}
	return &discovery.Catalog{}
}

// sees waits until the newest catalog is exactly this, as show gives it.
func (w *watcher) sees(t *testing.T, want string) {
	t.Helper()
	eventually(t, fmt.Sprintf("catalog %q (it is %q)", want, show(w.last())), func() bool { return show(w.last()) == want })
}

// show gives a catalog as "web/a=10.0.0.5:80 web/b=…", with a star at what is held.
func show(c *discovery.Catalog) string {
	s, sep := "", ""
	for _, service := range c.Services {
		for _, i := range service.Instances {
			s += sep + i.ID() + "=" + i.Endpoint()
			if i.Held {
				s += "*"
			}
			sep = " "
		}
	}
	return s
}
