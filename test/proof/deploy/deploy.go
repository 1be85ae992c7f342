// Package deploy replaces the containers of a service one by one, on machines that are run as
// their users run them: the version is edited in the application's settings, and its units
// are restarted. It knows the machines and their units, and nothing of who counts what
// is lost meanwhile.
package deploy

import (
	"context"
	"fmt"
	"strings"
	"time"

	"rollcall/test/machines"
)

// A Rolling deploy goes through all applications of a cluster again and again, and gives each
// the other version: v1 → v2 → v1 …
type Rolling struct {
	cluster  *machines.Cluster
	replaced int
}

// New begins with the first application, which is expected to run v1 as all others.
func New(c *machines.Cluster) *Rolling { return &Rolling{cluster: c} }

// Replaced counts the replacements so far.
func (r *Rolling) Replaced() int { return r.replaced }

// Next replaces the container whose turn it is by two commands, and returns when systemctl
// does: when every balancer routes to the new one. It gives how long systemctl took.
func (r *Rolling) Next(ctx context.Context) (took time.Duration, err error) {
	return r.replace(ctx, func(a int) error {
		_, err := r.cluster.Home(a).Systemctl(ctx, "restart", machines.Web(a), machines.Sidekick(a))
		return err
	})
}

// NextAbruptly replaces it as it is done where nobody waits: the container is removed while it is
// routed, and comes back with the new version. It gives how long it took until that one is routed.
func (r *Rolling) NextAbruptly(ctx context.Context) (took time.Duration, err error) {
	return r.replace(ctx, func(a int) error {
		m := r.cluster.Home(a)
		before, err := started(ctx, m, a)
		if err != nil {
			return err
		}
		if _, err := m.Run(ctx, "docker", "rm", "--force", machines.Container(a)); err != nil {
			return err
		}
		return machines.Poll(ctx, machines.Sidekick(a)+" is ready again", func() error {
			now, err := started(ctx, m, a)
			if err == nil && (now == before || now == "0") {
				err = fmt.Errorf("it was last ready at %s µs, which it was before", before)
			}
			return err
		})
	})
}

// started says when an application's sidekick was last ready, in µs since the boot; 0 if it is not.
func started(ctx context.Context, m *machines.Machine, a int) (string, error) {
	out, err := m.Systemctl(ctx, "show", "--value", "--property=ActiveEnterTimestampMonotonic", machines.Sidekick(a))
	return strings.TrimSpace(out), err
}

// replace lets the next application run the next version, and looks that it does.
func (r *Rolling) replace(ctx context.Context, how func(a int) error) (time.Duration, error) {
	n := r.cluster.Applications()
	a, image := r.replaced%n+1, fmt.Sprintf("hello:v%d", 2-r.replaced/n%2)
	m := r.cluster.Home(a)
	fail := func(err error) (time.Duration, error) {
		return 0, fmt.Errorf("replacement %d, of %s by %s: %w", r.replaced+1, r.cluster.Instance(a), image, err)
	}
	if err := m.Write(ctx, "/etc/default/web", "644", "IMAGE="+image+"\n"); err != nil {
		return fail(err)
	}
	began := time.Now()
	if err := how(a); err != nil {
		return fail(err)
	}
	took := time.Since(began)
	runs, err := m.Run(ctx, "docker", "inspect", "--format", "{{.Config.Image}}", machines.Container(a))
	if err != nil {
		return fail(err)
	}
	if runs = strings.TrimSpace(runs); runs != image {
		return fail(fmt.Errorf("it runs %s", runs))
	}
	r.replaced++
	return took, nil
}
