package etcd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"rollcall/internal/discovery"
)

const (
	// rendererTTL is how long a renderer that died without a word is still waited for.
	rendererTTL = 10 * time.Second
	// acknowledgeInterval bounds acknowledgements to ten a second.
	acknowledgeInterval = 100 * time.Millisecond
)

// An Acknowledger keeps one renderer's acknowledgement in etcd under a lease of
// its own. Only the latest counts; what is overtaken is never written.
type Acknowledger struct {
	client *Client
	health *health
	logger *slog.Logger

	mu      sync.Mutex
	latest  *discovery.Acknowledgement
	changed chan struct{}
}

// NewAcknowledger prepares to acknowledge.
func NewAcknowledger(c *Client, logger *slog.Logger) *Acknowledger {
	return &Acknowledger{client: c, health: newHealth(logger, "acknowledgements"), logger: logger, changed: make(chan struct{}, 1)}
}

// Set says what is to be acknowledged from now on.
func (a *Acknowledger) Set(ack discovery.Acknowledgement) {
	a.mu.Lock()
	a.latest = &ack
	a.mu.Unlock()
	select {
	case a.changed <- struct{}{}:
	default:
	}
}

// Run writes acknowledgements until ctx is done, then takes the renderer off the
// list so that nobody waits for it, and returns ctx's error.
func (a *Acknowledger) Run(ctx context.Context) error {
	b := newBackoff()
	for {
		err := a.session(ctx, b.Reset)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !errors.Is(err, errLeaseLost) {
			a.health.set(err)
		}
		if !pause(ctx, b.NextBackOff()) {
			return ctx.Err()
		}
	}
}

func (a *Acknowledger) session(ctx context.Context, granted func()) error {
	l, err := grantLease(ctx, a.client, rendererTTL)
	if err != nil {
		return err
	}
	defer func() {
		// ctx may be done already; the lease is to go all the same.
		_ = l.revoke(context.WithoutCancel(ctx))
	}()
	granted()
	a.health.set(nil)
	keepCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	lost := make(chan error, 1)
	go func() { lost <- l.keep(keepCtx, a.health.set) }()

	written := ""
	for {
		a.mu.Lock()
		latest := a.latest
		a.mu.Unlock()
		if latest != nil {
			value, err := latest.Encode()
			if err != nil {
				return err
			}
			if value != written {
				if err := a.put(ctx, l, latest.Key(), value); err != nil {
					return err
				}
				written = value
				if !pause(ctx, acknowledgeInterval) {
					return ctx.Err()
				}
			}
		}
		select {
		case <-a.changed:
		case err := <-lost:
			return err
		}
	}
}

func (a *Acknowledger) put(ctx context.Context, l *lease, key, value string) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	if _, err := a.client.c.Put(ctx, key, value, clientv3.WithLease(l.id)); err != nil {
		return fmt.Errorf("acknowledge: %w", err)
	}
	return nil
}

// ListRenderers reads the live renderers' acknowledgements once, sorted by id.
func ListRenderers(ctx context.Context, c *Client, logger *slog.Logger) ([]*discovery.Acknowledgement, error) {
	var list []*discovery.Acknowledgement
	res, err := newFollower(c, discovery.RenderersPrefix+"/", "renderers", logger).list(ctx)
	if err != nil {
		return nil, err
	}
	for _, kv := range res.Kvs {
		ack, err := discovery.DecodeAcknowledgement(string(kv.Key), kv.Value)
		if err != nil {
			logger.Warn("acknowledgement refused", "err", err)
			continue
		}
		list = append(list, ack)
	}
	return list, nil
}

// WatchRenderers hands over all live renderers' acknowledgements, sorted by id, at
// first and after every change, until ctx is done, whose error it returns.
func WatchRenderers(ctx context.Context, c *Client, logger *slog.Logger, handle func([]*discovery.Acknowledgement)) error {
	acks := map[string]*discovery.Acknowledgement{}
	put := func(key string, value []byte) {
		ack, err := discovery.DecodeAcknowledgement(key, value)
		if err != nil {
			logger.Warn("acknowledgement refused", "err", err)
			delete(acks, key)
			return
		}
		acks[key] = ack
	}
	return newFollower(c, discovery.RenderersPrefix+"/", "renderers", logger).run(ctx, func(u update) {
		if u.listed {
			clear(acks)
			for _, kv := range u.kvs {
				put(string(kv.Key), kv.Value)
			}
		}
		for _, ev := range u.events {
			if ev.Type == clientv3.EventTypeDelete {
				delete(acks, string(ev.Kv.Key))
			} else {
				put(string(ev.Kv.Key), ev.Kv.Value)
			}
		}
		list := make([]*discovery.Acknowledgement, 0, len(acks))
		for _, k := range slices.Sorted(maps.Keys(acks)) {
			list = append(list, acks[k])
		}
		handle(list)
	})
}
