package etcd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
)

// errLeaseLost says that etcd no longer knows a lease: it expired or was revoked,
// and every key under it is gone.
var errLeaseLost = errors.New("lease is gone")

// A lease is what this process's keys hang on. It is renewed over a stream of its
// own: the client library's keepalive gives up for good during an outage that the
// lease itself would survive, and its single requests open a stream each, which
// for a user with a password means to log in each time.
type lease struct {
	client *Client
	id     clientv3.LeaseID
	ttl    time.Duration // as granted, which may be more than was asked for

	stream etcdserverpb.Lease_LeaseKeepAliveClient // nil until needed, and after an error
	cancel context.CancelFunc                      // ends the stream
}

func grantLease(ctx context.Context, c *Client, ttl time.Duration) (*lease, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	seconds := int64((ttl + time.Second - 1) / time.Second)
	res, err := c.c.Grant(ctx, seconds)
	if err != nil {
		return nil, fmt.Errorf("grant a lease: %w", err)
	}
	return &lease{client: c, id: res.ID, ttl: time.Duration(res.TTL) * time.Second}, nil
}

// resumeLease takes up a lease that an earlier process left alive.
func resumeLease(ctx context.Context, c *Client, id clientv3.LeaseID) (*lease, error) {
	l := &lease{client: c, id: id, ttl: requestTimeout}
	defer l.hangUp()
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
	defer l.hangUp()
	wait := l.ttl / 3
	for l.client.pause(ctx, wait) {
		err := l.renew(ctx)
		switch {
		case ctx.Err() != nil:
		case errors.Is(err, errLeaseLost):
			return err
		case err != nil:
			report(err)
			wait = min(l.ttl/3, retryMax)
		default:
			report(nil)
			wait = l.ttl / 3
		}
	}
	return ctx.Err()
}

// renew asks for another TTL and waits for the answer. Not for concurrent use.
func (l *lease) renew(ctx context.Context) error {
	streamCtx, reused := ctx, l.stream != nil
	if !reused {
		streamCtx, l.cancel = context.WithCancel(ctx)
	}
	timer := time.AfterFunc(min(requestTimeout, max(l.ttl/3, connectTimeout)), l.cancel)
	res, err := l.ask(streamCtx)
	late := !timer.Stop()
	if err != nil || late {
		l.hangUp()
	}
	switch {
	case err == nil && res.TTL <= 0:
		return errLeaseLost
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case late:
		err = context.DeadlineExceeded
	case reused:
		return l.renew(ctx) // the stream broke since the last time; that need not mean anything now
	}
	return fmt.Errorf("renew lease %x: %w", l.id, rpctypes.Error(err))
}

func (l *lease) ask(ctx context.Context) (res *etcdserverpb.LeaseKeepAliveResponse, err error) {
	if l.stream == nil {
		leases := etcdserverpb.NewLeaseClient(l.client.c.ActiveConnection())
		if l.stream, err = leases.LeaseKeepAlive(ctx, grpc.WaitForReady(true)); err != nil {
			return nil, err
		}
	}
	if err := l.stream.Send(&etcdserverpb.LeaseKeepAliveRequest{ID: int64(l.id)}); err != nil {
		return nil, err
	}
	return l.stream.Recv()
}

// hangUp ends the stream; the next renewal opens another.
func (l *lease) hangUp() {
	if l.cancel != nil {
		l.cancel()
	}
	l.stream, l.cancel = nil, nil
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
