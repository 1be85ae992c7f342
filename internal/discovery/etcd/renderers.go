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

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/time/rate"

	"rollcall/internal/discovery"
)

const (
	// rendererTTL is how long a renderer that died without a word is still waited for.
	rendererTTL = 10 * time.Second
	// acknowledgeInterval bounds acknowledgements to ten a second in the long run.
	acknowledgeInterval = 100 * time.Millisecond
	// acknowledgeBurst is how many may follow each other at once after a quiet time:
	// whoever waits for a change sees it applied, then drained, without delay.
	acknowledgeBurst = 3
)

// An Acknowledger keeps one renderer's acknowledgement in etcd under a lease of
// its own. Only the latest counts; what is overtaken is never written.
type Acknowledger struct {
	client *Client
	health *health
	limit  *rate.Limiter

	mu      sync.Mutex
	latest  *discovery.Acknowledgement
	changed chan struct{}
}

// NewAcknowledger prepares to acknowledge.
func NewAcknowledger(c *Client, logger *slog.Logger) *Acknowledger {
	return &Acknowledger{
		client: c, health: newHealth(logger, "acknowledgements"), changed: make(chan struct{}, 1),
		limit: rate.NewLimiter(rate.Every(acknowledgeInterval), acknowledgeBurst),
	}
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
			a.health.set("lease", err)
		}
		if !a.client.pause(ctx, b.NextBackOff()) {
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
		// Only at the end: to be off the list for a moment means "wait for me no longer".
		if ctx.Err() != nil {
			_ = l.revoke(context.WithoutCancel(ctx))
		}
	}()
	granted()
	renewed := func(err error) { a.health.set("lease", err) }
	renewed(nil)
	keepCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	lost := make(chan error, 1)
	go func() { lost <- l.keep(keepCtx, renewed) }()

	b := newBackoff()
	verify := time.NewTicker(l.ttl / 3)
	defer verify.Stop()
	written := ""
	for {
		var retry <-chan time.Time
		value, err := a.write(ctx, l, written)
		switch {
		case errors.Is(err, errLeaseLost):
			return err
		case err != nil && ctx.Err() == nil:
			a.health.set("acknowledgement", err)
			retry = time.After(b.NextBackOff())
		case err == nil:
			a.health.set("acknowledgement", nil)
			written = value
			b.Reset()
		}
		select {
		case <-a.changed:
		case <-retry:
		case <-verify.C:
			if there, err := a.there(ctx, l); err == nil && !there {
				written = ""
			}
		case err := <-lost:
			return err
		}
	}
}

// there says whether the acknowledgement still hangs on the lease. A renderer that
// is alive but not on the list would be waited for by nobody.
func (a *Acknowledger) there(ctx context.Context, l *lease) (bool, error) {
	key, _, err := a.encoded()
	if err != nil || key == "" {
		return true, err
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	res, err := a.client.c.Get(ctx, key)
	return err == nil && len(res.Kvs) == 1 && res.Kvs[0].Lease == int64(l.id), err
}

// put writes the acknowledgement over nothing, over its own (which is what again
// expects), or over what an earlier run for the same file on this node left; never over
// that of another renderer.
func (a *Acknowledger) put(ctx context.Context, l *lease, key, value string, own *discovery.Acknowledgement, again bool) error {
	free := clientv3.Compare(clientv3.CreateRevision(key), "=", 0)
	if again {
		free = clientv3.Compare(clientv3.LeaseValue(key), "=", l.id)
	}
	for {
		res, err := a.client.c.Txn(ctx).
			If(free).
			Then(clientv3.OpPut(key, value, clientv3.WithLease(l.id))).
			Else(clientv3.OpGet(key)).
			Commit()
		if err != nil || res.Succeeded {
			return err
		}
		free = clientv3.Compare(clientv3.CreateRevision(key), "=", 0)
		for _, kv := range res.Responses[0].GetResponseRange().Kvs {
			free = clientv3.Compare(clientv3.ModRevision(key), "=", kv.ModRevision)
			if kv.Lease == int64(l.id) {
				continue
			}
			other, err := discovery.DecodeAcknowledgement(key, kv.Value)
			switch {
			case err != nil:
			case other.Node != own.Node:
				return fmt.Errorf("%s is the id of a renderer on %s; choose another with --id", other.ID, other.Node)
			case other.Output != own.Output && other.Output != "":
				return fmt.Errorf("%s is the id of the renderer of %s; choose another with --id", other.ID, other.Output)
			}
		}
	}
}

// Healthy gives nil while the acknowledgement can be kept, and what is wrong otherwise.
func (a *Acknowledger) Healthy() error { return a.health.Healthy() }

// encoded gives the key and value that should be in etcd; "" before the first Set.
func (a *Acknowledger) encoded() (key, value string, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.latest == nil {
		return "", "", nil
	}
	value, err = a.latest.Encode()
	return a.latest.Key(), value, err
}

// write puts the latest acknowledgement, unless it is the one written before, and
// gives what is written now.
func (a *Acknowledger) write(ctx context.Context, l *lease, written string) (string, error) {
	if _, value, err := a.encoded(); err != nil || value == written {
		return written, err
	}
	if !pause(ctx, a.limit.Reserve().Delay()) {
		return written, ctx.Err()
	}
	key, value, err := a.encoded()
	if err != nil {
		return written, err
	}
	a.mu.Lock()
	own := *a.latest
	a.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	err = a.put(ctx, l, key, value, &own, written != "")
	switch {
	case errors.Is(err, rpctypes.ErrLeaseNotFound):
		return written, errLeaseLost
	case err != nil:
		return written, fmt.Errorf("acknowledge: %w", err)
	}
	return value, nil
}

// ListRenderers reads the live renderers' acknowledgements once, sorted by id.
func ListRenderers(ctx context.Context, c *Client, logger *slog.Logger) ([]*discovery.Acknowledgement, error) {
	var list []*discovery.Acknowledgement
	_, err := newFollower(c, discovery.RenderersPrefix+"/", "renderers", logger).list(ctx, func(u update) {
		for _, kv := range u.kvs {
			ack, err := discovery.DecodeAcknowledgement(string(kv.Key), kv.Value)
			if err != nil {
				logger.Warn("acknowledgement refused", "err", err)
				continue
			}
			list = append(list, ack)
		}
	})
	return list, err
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
