package etcd

import (
	"context"
	"maps"
	"slices"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"rollcall/internal/discovery"
)

const (
	// maxQuestions is how many leases are asked about at a time.
	maxQuestions = 32
	// questionTimeout bounds one question.
	questionTimeout = time.Second
)

// An answer says why instances vanished.
type answer struct {
	instances []*discovery.Instance
	lives     bool // their lease does, so they were deleted
}

// inquire finds out why instances vanished, with one question for each lease. What has
// no answer within a second counts as lost, but the question stays.
func (r *serving) inquire(ctx context.Context, suspects []*discovery.Instance) {
	byLease := map[int64][]*discovery.Instance{}
	for _, i := range suspects {
		byLease[i.Lease] = append(byLease[i.Lease], i)
	}
	r.questions.Add(float64(len(byLease)))
	tell := func(a answer) {
		select {
		case r.answers <- a:
		case <-ctx.Done():
		}
	}
	answered := make(chan struct{})
	r.tasks.Go(func() {
		late := time.NewTimer(questionTimeout)
		defer late.Stop()
		select {
		case <-answered:
		case <-late.C:
			tell(answer{instances: suspects})
		case <-ctx.Done():
		}
	})
	r.tasks.Go(func() {
		defer close(answered)
		// When nothing is held any more nobody wants to know.
		ctx, cancel := context.WithTimeout(ctx, r.cfg.Hold)
		defer cancel()
		var asking errgroup.Group
		asking.SetLimit(maxQuestions)
		for _, lease := range slices.Sorted(maps.Keys(byLease)) {
			asking.Go(func() error {
				if lives, ok := r.client.lives(ctx, clientv3.LeaseID(lease)); ok {
					tell(answer{byLease[lease], lives})
				}
				return nil
			})
		}
		_ = asking.Wait()
	})
}

// lives asks again and again whether etcd knows a lease, until it answers or, which is
// not ok, ctx is done.
func (c *Client) lives(ctx context.Context, id clientv3.LeaseID) (lives, ok bool) {
	b := newBackoff()
	for {
		asked, cancel := context.WithTimeout(ctx, questionTimeout)
		res, err := c.c.TimeToLive(asked, id)
		cancel()
		if err == nil {
			return res.TTL > 0, true
		}
		if !c.pause(ctx, b.NextBackOff()) {
			return false, false
		}
	}
}
