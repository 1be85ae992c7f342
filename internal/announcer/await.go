package announcer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"rollcall/internal/discovery"
)

// Proof is what is asked of the renderers.
type Proof int

// Applied: the revision is served by every worker that accepts. Drained: besides,
// no request of an older configuration is running.
const (
	Applied Proof = iota
	Drained
)

// Renderers follows the live renderers' acknowledgements.
type Renderers func(ctx context.Context, handle func([]*discovery.Acknowledgement)) error

// Service follows one service's instances and the revision they were seen at.
type Service func(ctx context.Context, service string, handle func([]*discovery.Instance, int64)) error

// Await waits until every live renderer that covers a service has acknowledged
// the service's revision. It gives the number of renderers that did. A renderer
// whose lease ends is not waited for. At ctx's end the error names those that had not.
func Await(ctx context.Context, renderers Renderers, prefix string, revisions map[string]int64, proof Proof) (int, error) {
	if len(revisions) == 0 {
		return 0, nil
	}
	ctx, done := context.WithCancelCause(ctx)
	defer done(nil)
	errProven := errors.New("proven")
	var covering int
	pending := []string{"no acknowledgement has been read from etcd"}
	err := renderers(ctx, func(acks []*discovery.Acknowledgement) {
		covering, pending = 0, nil
		for _, a := range acks {
			covers, behind := judge(a, prefix, revisions, proof)
			if covers {
				covering++
			}
			if behind != "" {
				pending = append(pending, behind)
			}
		}
		if len(pending) == 0 {
			done(errProven)
		}
	})
	if errors.Is(context.Cause(ctx), errProven) {
		return covering, nil
	}
	return covering, fmt.Errorf("not confirmed by %s: %w", strings.Join(pending, "; "), err)
}

// judge says whether a renderer covers one of the services, and how it is behind.
func judge(a *discovery.Acknowledgement, prefix string, revisions map[string]int64, proof Proof) (covers bool, behind string) {
	reached, what := a.Applied, "applied"
	if proof == Drained {
		reached, what = a.Drained, "drained"
	}
	var want int64
	for service, revision := range revisions {
		if a.Covers(prefix, service) {
			covers = true
			want = max(want, revision)
		}
	}
	if reached >= want {
		return covers, ""
	}
	behind = fmt.Sprintf("%s on %s (%s revision %d of %d)", a.ID, a.Node, what, reached, want)
	if a.LastError != "" {
		behind += ": " + a.LastError
	}
	return covers, behind
}

// AwaitRouted waits until the instances (all of the service, or the one named) are
// in etcd and every live renderer that covers the service routes to them.
func AwaitRouted(ctx context.Context, services Service, renderers Renderers, prefix, service, instance string) (int, error) {
	revision, err := observe(ctx, services, service, func(instances []*discovery.Instance, _ int64) (int64, bool) {
		var newest int64
		for _, i := range instances {
			if instance == "" || i.Name == instance {
				newest = max(newest, i.Revision)
			}
		}
		return newest, newest > 0
	})
	if err != nil {
		return 0, fmt.Errorf("%s is not announced: %w", name(service, instance), err)
	}
	return Await(ctx, renderers, prefix, map[string]int64{service: revision}, Applied)
}

// Gone is what is known of an instance's end beyond what etcd tells.
type Gone struct {
	// Since is the revision at which it went, for one that is gone at the first look;
	// 0 if nobody knows, which proves nothing about what balancers do.
	Since int64
	// Seen, if not nil, is told the revision when the end is seen.
	Seen func(revision int64) error
}

// ErrNotAnnounced says that there is nothing to wait for, and so nothing proven.
var ErrNotAnnounced = errors.New("it is not announced")

// AwaitGone waits until the instances (all of the service, or the one named) have
// left etcd and every live renderer that covers the service has drained them.
// ErrNotAnnounced says that they were not there, and nobody knows since when.
func AwaitGone(ctx context.Context, services Service, renderers Renderers, prefix, service, instance string, gone Gone) (int, error) {
	seen := false
	revision, err := observe(ctx, services, service, func(instances []*discovery.Instance, revision int64) (int64, bool) {
		there := slices.ContainsFunc(instances, func(i *discovery.Instance) bool { return instance == "" || i.Name == instance })
		if !there && !seen {
			return gone.Since, true
		}
		seen = true
		return revision, !there
	})
	if err != nil {
		return 0, fmt.Errorf("%s is still announced: %w", name(service, instance), err)
	}
	if !seen && gone.Since == 0 {
		return 0, fmt.Errorf("%s: %w", name(service, instance), ErrNotAnnounced)
	}
	if seen && gone.Seen != nil {
		if err := gone.Seen(revision); err != nil {
			return 0, err
		}
	}
	return Await(ctx, renderers, prefix, map[string]int64{service: revision}, Drained)
}

// observe follows a service until ok, and gives the revision that was found.
func observe(ctx context.Context, services Service, service string, ok func([]*discovery.Instance, int64) (int64, bool)) (int64, error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var found int64
	reached := false
	err := services(ctx, service, func(instances []*discovery.Instance, revision int64) {
		if !reached {
			if found, reached = ok(instances, revision); reached {
				stop()
			}
		}
	})
	if reached {
		return found, nil
	}
	return 0, err
}

func name(service, instance string) string {
	if instance == "" {
		return service
	}
	return service + "/" + instance
}
