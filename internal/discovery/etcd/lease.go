package etcd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// errLeaseLost says that etcd no longer knows a lease: it expired or was revoked,
// and every key under it is gone.
var errLeaseLost = errors.New("lease is gone")

// A lease is what this process's keys hang on. It is renewed one request at a
// time: the client library's own keepalive gives up for good during an outage
// that the lease itself would survive.
type lease struct {
	client *Client
	id     clientv3.LeaseID
	ttl    time.Duration // as granted, which may be more than was asked for

	revision int64 // of etcd when it was granted
}

func grantLease(ctx context.Context, c *Client, ttl time.Duration) (*lease, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	seconds := int64((ttl + time.Second - 1) / time.Second)
	res, err := c.c.Grant(ctx, seconds)
	if err != nil {
		return nil, fmt.Errorf("grant a lease: %w", err)
	}
	return &lease{client: c, id: res.ID, ttl: time.Duration(res.TTL) * time.Second, revision: res.Revision}, nil
}

// resumeLease takes up a lease that an earlier process left alive.
func resumeLease(ctx context.Context, c *Client, id clientv3.LeaseID) (*lease, error) {
	l := &lease{client: c, id: id, ttl: requestTimeout}
	if err := l.renew(ctx); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	res, err := c.c.TimeToLive(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("resume lease %x: %w", id, err)
	}
	if res.TTL <= 0 {
		return nil, errLeaseLost
	}
	l.ttl = time.Duration(res.GrantedTTL) * time.Second
	return l, nil
}

// keep renews the lease three times in each TTL until it is lost or ctx is done.
// Other errors are told to report and tried again.
func (l *lease) keep(ctx context.Context, report func(error)) error {
	wait := l.ttl / 3
	for pause(ctx, wait) {
		err := l.renew(ctx)
		switch {
		case ctx.Err() != nil:
		case errors.Is(err, errLeaseLost):
			return err
		case err != nil:
			report(err)
			wait = min(l.ttl/3, retryMax/2)
		default:
			report(nil)
			wait = l.ttl / 3
		}
	}
	return ctx.Err()
}

func (l *lease) renew(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, min(requestTimeout, max(l.ttl/3, retryMax)))
	defer cancel()
	_, err := l.client.c.KeepAliveOnce(ctx, l.id)
	if errors.Is(err, rpctypes.ErrLeaseNotFound) {
		return errLeaseLost
	}
	if err != nil {
		return fmt.Errorf("renew lease %x: %w", l.id, err)
	}
	return nil
}

// revoke ends the lease at once; a lease that is gone already is no error.
func (l *lease) revoke(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	if _, err := l.client.c.Revoke(ctx, l.id); err != nil && !errors.Is(err, rpctypes.ErrLeaseNotFound) {
		return fmt.Errorf("revoke lease %x: %w", l.id, err)
	}
	return nil
}
