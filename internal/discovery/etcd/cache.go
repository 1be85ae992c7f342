package etcd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"

	"rollcall/internal/discovery"
)

// cacheInterval is how long at least passes between two writes of the cache, and
// cacheShare how many times as long as a write takes.
const (
	cacheInterval = time.Second
	cacheShare    = 20
)

// A cache remembers the last catalog in a file, for a start while etcd is away. It is
// never in anybody's way: a file that cannot be read or written is said, no more.
type cache struct {
	path   string // "" remembers nothing
	prefix string
	logger *slog.Logger
	failed func()

	latest chan *discovery.Catalog // holds the one to be written, if any
}

func newCache(path, prefix string, logger *slog.Logger, failed func()) *cache {
	return &cache{path: path, prefix: prefix, logger: logger, failed: failed, latest: make(chan *discovery.Catalog, 1)}
}

// read gives what the file remembers and since when; nil if there is nothing of use.
func (c *cache) read() (*discovery.Catalog, time.Time) {
	if c.path == "" {
		return nil, time.Time{}
	}
	f, err := os.Open(c.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, time.Time{}
	}
	var catalog *discovery.Catalog
	var written time.Time
	if err == nil {
		defer f.Close()
		catalog, written, err = discovery.ReadCache(f, c.prefix)
	}
	if err != nil {
		c.logger.Warn("cache is of no use", "cache", c.path, "err", err)
	}
	return catalog, written
}

// keep has a catalog written soon, instead of any that was to be written before. Not
// for concurrent use.
func (c *cache) keep(catalog *discovery.Catalog) {
	if c.path == "" {
		return
	}
	select {
	case <-c.latest:
	default:
	}
	c.latest <- catalog
}

// run writes until ctx is done, and then once more.
func (c *cache) run(ctx context.Context) {
	var last *discovery.Catalog
	failing := false
	write := func() (took time.Duration) {
		began := time.Now()
		err := c.write(last)
		if err != nil {
			c.failed()
		}
		switch {
		case err != nil && !failing:
			c.logger.Warn("catalog cannot be cached; retrying with the next change", "err", err)
		case err == nil && failing:
			c.logger.Info("catalog is cached again", "cache", c.path)
		}
		failing = err != nil
		return time.Since(began)
	}
	for {
		select {
		case last = <-c.latest:
			// The work of writing ten thousands of instances must not grow with the changes.
			pause(ctx, max(cacheInterval, cacheShare*write()))
		case <-ctx.Done():
			select {
			case last = <-c.latest:
			default:
			}
			// Again, though it may be the same: it was true until now.
			if last != nil {
				write()
			}
			return
		}
	}
}

func (c *cache) write(catalog *discovery.Catalog) error {
	fail := func(err error) error { return fmt.Errorf("write cache %s: %w", c.path, err) }
	dir := filepath.Dir(c.path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fail(err)
	}
	f, err := renameio.NewPendingFile(c.path, renameio.WithTempDir(dir), renameio.WithStaticPermissions(0o600))
	if err != nil {
		return fail(err)
	}
	defer f.Cleanup() //nolint:errcheck // it does nothing once the file is in its place
	w := bufio.NewWriter(f)
	if err := discovery.WriteCache(w, c.prefix, catalog, time.Now()); err != nil {
		return fail(err)
	}
	if err := w.Flush(); err != nil {
		return fail(err)
	}
	if err := f.CloseAtomicallyReplace(); err != nil {
		return fail(err)
	}
	return nil
}
