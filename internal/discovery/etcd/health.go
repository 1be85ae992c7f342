package etcd

import (
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
)

// errNotYet is the state before the first answer.
var errNotYet = errors.New("etcd has not answered yet")

// health remembers whether etcd answers, and says each change once. It is told of
// each kind of request by itself: a lease that is renewed does not make up for
// records that etcd refuses.
type health struct {
	logger *slog.Logger
	what   string

	mu      sync.Mutex
	err     error
	known   bool
	failing map[string]error // kind of request → its last error
}

func newHealth(logger *slog.Logger, what string) *health {
	return &health{logger: logger, what: what, err: errNotYet, failing: map[string]error{}}
}

// set tells how the last request of this kind went.
func (h *health) set(kind string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err != nil {
		h.failing[kind] = err
	} else {
		delete(h.failing, kind)
	}
	was, known := h.err, h.known
	h.err, h.known = nil, true
	if kinds := slices.Sorted(maps.Keys(h.failing)); len(kinds) > 0 {
		h.err = h.failing[kinds[0]]
	}
	switch {
	case h.err != nil && (!known || was == nil):
		h.logger.Warn("etcd does not answer; retrying", "for", h.what, "err", h.err)
	case h.err == nil && known && was != nil:
		h.logger.Info("etcd answers again", "for", h.what)
	}
}

// Healthy gives nil while etcd answers, and what is wrong otherwise.
func (h *health) Healthy() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.err
}
