package etcd

import (
	"errors"
	"log/slog"
	"sync"
)

// errNotYet is the state before the first answer.
var errNotYet = errors.New("etcd has not answered yet")

// health remembers whether etcd answers, and says each change once.
type health struct {
	logger *slog.Logger
	what   string

	mu    sync.Mutex
	err   error
	known bool
}

func newHealth(logger *slog.Logger, what string) *health {
	return &health{logger: logger, what: what, err: errNotYet}
}

func (h *health) set(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	was, known := h.err, h.known
	h.err, h.known = err, true
	switch {
	case err != nil && (!known || was == nil):
		h.logger.Warn("etcd does not answer; retrying", "for", h.what, "err", err)
	case err == nil && known && was != nil:
		h.logger.Info("etcd answers again", "for", h.what)
	}
}

// Healthy gives nil while etcd answers, and what is wrong otherwise.
func (h *health) Healthy() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.err
}
